/**
 * The small parts of the data path, each by itself: deadlines, what is open, headers of one hop, bodies on their way.
 */
import fc from 'fast-check'
import t from 'tap'
import { CloakroomError } from '../../src/base/errors.ts'
import { createReplacer } from '../../src/base/replacer.ts'
import { Permit } from '../../src/model/decision.ts'
import type { BodySink, BodySource, HeaderList } from '../../src/model/message.ts'
import { SecretValue } from '../../src/model/secret.ts'
import { guardBody, replaceInBody } from '../../src/proxy/body.ts'
import { CallerProbe } from '../../src/proxy/caller-probe.ts'
import { stripRequest, stripResponse } from '../../src/proxy/hop-by-hop.ts'
import { Live, type Open } from '../../src/proxy/live.ts'
import { swapRecords } from '../../src/proxy/record.ts'
import { Watchdog } from '../../src/proxy/watchdog.ts'
import { createBodyGuard } from '../../src/swap/guard.ts'
import { mintPlaceholder } from '../../src/swap/placeholder.ts'
import { manualClock } from '../support/clock.ts'
import { ref, tenant } from '../support/store.ts'

t.test('a watchdog expires once, at its delay after the last touch', async t => {
  const clock = manualClock()
  const watchdog = new Watchdog(clock)
  let expired = 0

  watchdog.arm(100, () => expired++)
  clock.advance(90)
  watchdog.touch()
  clock.advance(99)
  t.equal(expired, 0)
  clock.advance(1)
  t.equal(expired, 1)
  clock.advance(1000)
  t.equal(expired, 1)
})

t.test('a watchdog’s new phase replaces the one before, be it shorter or longer', async t => {
  for (const [first, second] of [
    [1000, 10],
    [10, 1000],
  ] as const) {
    const clock = manualClock()
    const watchdog = new Watchdog(clock)
    const expired: string[] = []

    watchdog.arm(first, () => expired.push('first'))
    watchdog.arm(second, () => expired.push('second'))
    clock.advance(second - 1)
    t.same(expired, [])
    clock.advance(1)
    t.same(expired, ['second'])
    clock.advance(5000)
    t.same(expired, ['second'])
  }
})

t.test('a watchdog that is disarmed or closed expires no more, and closed has no timer', async t => {
  const clock = manualClock()
  const watchdog = new Watchdog(clock)

  watchdog.arm(10, () => t.fail('expired'))
  watchdog.disarm()
  clock.advance(20)
  watchdog.arm(10, () => t.fail('expired'))
  watchdog.close()

  t.equal(clock.pendingTimers(), 0)
  clock.advance(20)
})

t.test('a watchdog that is touched for each of many chunks has one timer', async t => {
  const clock = manualClock()
  const watchdog = new Watchdog(clock)
  watchdog.arm(100, () => t.fail('expired'))

  for (let i = 0; i < 1000; i++) {
    clock.advance(1)
    watchdog.touch()
  }

  t.equal(clock.pendingTimers(), 1)
  watchdog.close()
})

t.test('a caller is probed at most four times, further and further apart, and not after a stop', async t => {
  const clock = manualClock()
  const sent: number[] = []
  const start = clock.monotonic()
  const probe = new CallerProbe(clock, () => sent.push(clock.monotonic() - start))
  const stopped = new CallerProbe(clock, () => t.fail('probed after a stop'))

  probe.start()
  probe.start()
  stopped.start()
  stopped.stop()
  clock.advance(60_000)

  t.same(sent, [250, 750, 1750, 3750])
})

t.test(
  'live things are counted by kind, ended by what they match, and waited for but for tunnels',
  async t => {
    const live = new Live()
    const ended: string[] = []
    const open = (kind: Open['kind'], caller: string): Open => ({
      kind,
      caller,
      secrets: [],
      cancel: () => ended.push(caller),
    })
    const [exchange, other, tunnel] = [open('exchange', 'a'), open('exchange', 'b'), open('tunnel', 'c')]
    for (const one of [exchange, exchange, other, tunnel]) live.add(one)
    let isIdle = false
    const idle = live.whenIdle().then(() => {
      isIdle = true
    })

    t.same([live.count('exchange'), live.count('tunnel')], [2, 1])
    t.equal(
      live.cancel(one => one.caller !== 'b', new Error('x')),
      2,
    )
    t.same(ended, ['a', 'c'])
    live.remove(exchange)
    live.remove(exchange)
    t.same([live.count('exchange'), isIdle], [1, false])
    live.remove(other)
    await idle
    t.same([live.count('exchange'), live.count('tunnel')], [0, 1])
    await live.whenIdle()
  },
)

t.test('headers of one hop end here, in both directions', async t => {
  const headers: HeaderList = [
    ['Connection', 'X-Once, keep-alive'],
    ['x-once', 'gone'],
    ['Keep-Alive', 'timeout=5'],
    ['Proxy-Connection', 'keep-alive'],
    ['Proxy-Authorization', 'Basic x'],
    ['Transfer-Encoding', 'chunked'],
    ['Upgrade', 'h2c'],
    ['HTTP2-Settings', 'x'],
    ['Trailer', 'x'],
    ['Cloakroom-Tenant', 'acme'],
    ['X-Kept', '1'],
    ['x-kept', '2'],
  ]

  const kept = [
    ['X-Kept', '1'],
    ['x-kept', '2'],
  ]
  t.same(stripRequest([...headers, ['Host', 'a'], ['Content-Length', '1'], ['Expect', '100-continue']]), kept)
  t.same(stripResponse([...headers, ['Alt-Svc', 'h3=":443"'], ['Proxy-Status', 'forged']]), kept)
})

t.test('TE goes on as trailers or not at all', async t => {
  t.same(stripRequest([['TE', 'gzip, trailers;q=0.5']]), [['TE', 'trailers']])
  t.same(stripRequest([['TE', 'gzip, x-trailers']]), [])
})

for (const name of ['Host', 'content-length', 'Authorization', 'Cookie', 'Cloakroom-Tenant']) {
  t.test(`a request that nominates ${name} for removal is refused`, async t => {
    t.throws(() => stripRequest([['Connection', `close, ${name}`]]), { code: 'REQUEST_MALFORMED' })
  })
}

/** A source that is driven by hand. */
function aSource(length: number | undefined = undefined) {
  const seen = { resumed: 0, cancelled: [] as unknown[] }
  let sink: BodySink | undefined
  const source: BodySource = {
    length,
    start: given => {
      sink = given
    },
    resume: () => void seen.resumed++,
    cancel: cause => void seen.cancelled.push(cause),
  }
  const given = (): BodySink => {
    if (sink === undefined) throw new Error('not started')
    return sink
  }
  return { source, seen, given }
}

function aSink(isOpen = true) {
  const seen = {
    bytes: Buffer.alloc(0) as Buffer,
    ended: undefined as HeaderList | undefined,
    failed: undefined as unknown,
  }
  const sink: BodySink = {
    write: chunk => {
      seen.bytes = Buffer.concat([seen.bytes, chunk])
      return isOpen
    },
    end: trailers => {
      if (seen.ended !== undefined || seen.failed !== undefined) throw new Error('ended twice')
      seen.ended = trailers
    },
    fail: cause => {
      if (seen.ended !== undefined || seen.failed !== undefined) throw new Error('ended twice')
      seen.failed = cause
    },
  }
  return { sink, seen }
}

const text = (value: string) => Buffer.from(value, 'latin1')

t.test(
  'a guarded body is the same bytes however it is cut, with its length and its backpressure',
  async t => {
    const body = text('xclk_ almost, xclk_r too, and the end xcl')
    for (let cut = 0; cut <= body.length; cut++) {
      const { source, seen: of, given } = aSource(body.length)
      const { sink, seen } = aSink(false)
      const guarded = guardBody(source, createBodyGuard())
      guarded.start(sink)
      const wantsMore = given().write(body.subarray(0, body.length))
      given().end([])
      guarded.resume()
      t.equal(seen.bytes.toString(), body.toString())
      t.same([guarded.length, wantsMore, of.resumed, seen.ended], [body.length, false, 1, []])
      if (cut === 0) continue
      const again = aSource()
      const out = aSink()
      guardBody(again.source, createBodyGuard()).start(out.sink)
      again.given().write(body.subarray(0, cut))
      again.given().write(body.subarray(cut))
      again.given().end([])
      if (!out.seen.bytes.equals(body)) t.fail(`cut at ${cut}`)
    }
  },
)

t.test(
  'a guarded body with a placeholder fails before its first byte is passed, however it is cut',
  async t => {
    const placeholder = mintPlaceholder()
    const body = text(`{"k":"${placeholder}"}`)
    for (let cut = 1; cut < body.length; cut++) {
      const { source, seen: of, given } = aSource(body.length)
      const { sink, seen } = aSink()
      guardBody(source, createBodyGuard()).start(sink)

      given().write(body.subarray(0, cut))
      given().write(body.subarray(cut))
      given().write(text('more'))
      given().end([])

      if (!'{"k":"'.startsWith(seen.bytes.toString())) t.fail(`passed ${seen.bytes}`)
      if (!(seen.failed instanceof CloakroomError) || seen.failed.code !== 'SWAP_REFUSED_IN_BODY')
        t.fail(`cut at ${cut}`)
      if (of.cancelled.length !== 1) t.fail('the source goes on')
    }
    t.pass('at every cut')
  },
)

t.test('a guarded body’s trailers are judged, too', async t => {
  const refused = aSource()
  const passed = aSource()
  const one = aSink()
  const two = aSink()
  guardBody(refused.source, createBodyGuard()).start(one.sink)
  guardBody(passed.source, createBodyGuard()).start(two.sink)

  refused.given().end([['X-Sum', mintPlaceholder()]])
  passed.given().end([
    ['X-Sum', '1'],
    ['Authorization', 'x'],
  ])

  t.match(one.seen.failed, { code: 'SWAP_REFUSED_IN_BODY' })
  t.same(two.seen.ended, [['X-Sum', '1']])
})

t.test('a body without a byte is not looked at', async t => {
  const { source } = aSource(0)

  t.equal(guardBody(source, createBodyGuard()), source)
})

t.test('a replaced body has no length, and is replaced however it is cut', async () => {
  const replacer = createReplacer([{ pattern: text('secret'), by: text('[placeholder]') }])
  const body = text('a secret, a secre, secretsecret')
  const expected = 'a [placeholder], a secre, [placeholder][placeholder]'
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: body.length }), { maxLength: 5 }), async cuts => {
      const { source, given } = aSource(body.length)
      const { sink, seen } = aSink()
      const stream = replacer.stream()
      const replaced = replaceInBody(source, stream, trailers => trailers)
      replaced.start(sink)
      let at = 0
      for (const cut of [...cuts.sort((a, b) => a - b), body.length]) {
        given().write(body.subarray(at, cut))
        at = cut
      }
      given().end([['X-A', 'b']])
      return replaced.length === undefined && seen.bytes.toString() === expected && seen.ended?.length === 1
    }),
    { numRuns: 200 },
  )
})

t.test('a body that fails fails its sink once, and nothing comes after', async t => {
  const { source, given } = aSource()
  const { sink, seen } = aSink()
  guardBody(source, createBodyGuard()).start(sink)
  const cause = new Error('cut')

  given().fail(cause)
  given().write(text('late'))
  given().end([])

  t.equal(seen.failed, cause)
  t.equal(seen.bytes.length, 0)
})

t.test('the record of a swap says that its credential came from a store that could not be asked', async t => {
  const placeholder = mintPlaceholder()
  const secret = { ...ref('acme/token'), version: 1 }
  const terms = { rule: 'r', redact: true, limits: undefined, observed: undefined }
  const permit = Permit.grant(terms, tenant('acme'), [{ placeholder, secret, location: { in: 'path' } }])
  const opened = { value: new SecretValue(Buffer.from('long enough')), placeholder, shape: '' }
  const marks = (values: typeof opened & { stale?: true }) =>
    swapRecords(permit, new Map([[placeholder, values]]), () => 'hmac:').map(swap => swap.stale)

  t.same(marks(opened), [undefined])
  t.same(marks({ ...opened, stale: true }), [true])
})
