/**
 * Look-ups that never answer, and what they may not do to the others.
 */
import t from 'tap'
import { seconds } from '../../src/base/clock.ts'
import { parseTarget } from '../../src/model/target.ts'
import { createAddressGuard } from '../../src/net/address.ts'
import { createResolver } from '../../src/net/resolve.ts'
import { manualClock } from '../support/clock.ts'

const ADDRESS = '127.0.0.1'

/** A resolver whose look-ups are answered by hand, but for those of victims, which are answered at once. */
function aResolver() {
  const clock = manualClock()
  const asked: string[] = []
  const answers = new Map<string, () => void>()
  const lookup = (name: string) => {
    asked.push(name.slice(0, -1))
    if (name.startsWith('victim.')) return Promise.resolve([ADDRESS])
    const { promise, resolve } = Promise.withResolvers<readonly string[]>()
    answers.set(name.slice(0, -1), () => resolve([ADDRESS]))
    return promise
  }
  const guard = createAddressGuard({
    allowAddresses: ['127.0.0.0/8'],
    ownListeners: () => [],
    localAddresses: () => [],
  })
  const resolver = createResolver({ guard, lookup, clock, timeout: seconds(5) })
  const resolve = (host: string, signal = new AbortController().signal) => {
    const target = parseTarget(`https://${host}`)
    if (target === undefined) throw new Error(`not a target: ${host}`)
    return resolver.resolve(target, signal).then(
      ([endpoint]) => endpoint?.address ?? '',
      cause => String(cause.code ?? cause),
    )
  }
  const answer = async (host: string) => {
    answers.get(host)?.()
    await settled()
  }
  return { clock, asked, resolve, answer }
}

const settled = () => new Promise<void>(done => setImmediate(done))

t.test('forty names of one domain that never answer do not hold up a name of another', async t => {
  const { asked, resolve } = aResolver()
  for (let i = 0; i < 40; i++) void resolve(`h${i}.slow.test`)

  t.equal(await resolve('victim.test'), ADDRESS)
  t.equal(await resolve('victim.example'), ADDRESS)

  t.same(asked, ['h0.slow.test', 'victim.test', 'victim.example'], 'and one of them is asked for at a time')
})

t.test('look-ups whose callers have gone are never begun, and nobody shares them', async t => {
  const { asked, resolve, answer } = aResolver()
  const gone = new AbortController()
  void resolve('h0.slow.test', gone.signal)
  const left = [1, 2, 3].map(i => resolve(`h${i}.slow.test`, gone.signal))
  const stays = resolve('h2.slow.test')
  gone.abort(new Error('gone'))
  t.same(await Promise.all(left), ['Error: gone', 'Error: gone', 'Error: gone'])
  const again = resolve('h3.slow.test')

  await answer('h0.slow.test')
  await answer('h2.slow.test')
  await answer('h3.slow.test')

  t.same(asked, ['h0.slow.test', 'h2.slow.test', 'h3.slow.test'])
  t.same([await stays, await again], [ADDRESS, ADDRESS])
})

t.test('a wait ends in time also in the queue, and then the look-up is not begun', async t => {
  const { asked, clock, resolve, answer } = aResolver()
  const first = resolve('h0.slow.test')
  const second = resolve('h1.slow.test')
  await settled()

  clock.advance(seconds(5))
  t.same([await first, await second], ['NET_NAME_TIMEOUT', 'NET_NAME_TIMEOUT'])
  await answer('h0.slow.test')

  t.same(asked, ['h0.slow.test'])
  t.equal(clock.pendingTimers(), 0)
})

t.test('domains that were slow have one place together, until they answer in time', async t => {
  const { asked, clock, resolve, answer } = aResolver()
  for (const domain of ['a.test', 'b.test']) {
    void resolve(`h0.${domain}`)
    void resolve(`h1.${domain}`)
  }
  await settled()
  clock.advance(seconds(4))
  t.same(asked, ['h0.a.test', 'h0.b.test'])

  await answer('h0.a.test')
  await answer('h0.b.test')
  t.same(asked.slice(2), ['h1.a.test'], 'b.test waits, though a place is free')
  t.equal(await resolve('victim.test'), ADDRESS, 'it is for others')

  await answer('h1.a.test')
  t.same(asked.slice(4), ['h1.b.test'])
  void resolve('h2.a.test')
  t.same(asked.slice(5), ['h2.a.test'], 'a.test has answered in time and is like the others again')
})

t.test('domains take turns, however many names one of them has', async t => {
  const { asked, resolve, answer } = aResolver()
  void resolve('x.one.test')
  void resolve('x.two.test')
  for (let i = 0; i < 5; i++) void resolve(`h${i}.busy.test`)
  void resolve('x.three.test')

  await answer('x.one.test')
  await answer('x.two.test')

  t.same(asked.slice(2), ['h0.busy.test', 'x.three.test'])
})

t.test('the queue is bounded, and who fills it is refused; the name may be asked for again', async t => {
  const { asked, clock, resolve, answer } = aResolver()
  void resolve('x.one.test')
  void resolve('x.two.test')
  const many = Array.from({ length: 256 }, (_, i) => resolve(`h${i}.slow.test`))
  const late = resolve('x.three.test')

  t.equal(await many[255], 'SIDECAR_OVERLOADED')
  await answer('x.one.test')
  await answer('x.two.test')
  await answer('x.three.test')
  t.equal(await late, ADDRESS)
  t.same(asked, ['x.one.test', 'x.two.test', 'h0.slow.test', 'x.three.test'])
  const again = resolve('h255.slow.test')
  await settled()
  clock.advance(seconds(5))
  t.equal(await again, 'NET_NAME_TIMEOUT', 'the refusal was not kept')
  t.same(new Set((await Promise.all(many)).slice(0, 255)), new Set(['NET_NAME_TIMEOUT']))
})
