/**
 * A sidecar that stops, whose policy changes, and whose secrets change, while requests run.
 */
import t from 'tap'
import { openTcp } from '../support/caller.ts'
import { headerOf, Peer } from '../support/peer.ts'
import { policyFor, USUAL_RULE } from '../support/sidecar.ts'
import { answering, aWire, get, ok, WIRE_POLICY } from '../support/wire.ts'

const turn = () => new Promise(resolve => setImmediate(resolve))

t.test(
  'a stop refuses what is new, lets what runs finish, closes what is idle, and does not wait for tunnels',
  async t => {
    const wire = await aWire(t)
    let finish = (): unknown => undefined
    const slow = wire.host(async peer => {
      await peer.message()
      peer.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst')
      finish = () => peer.write(' last')
    })
    const blind = wire.host(() => undefined)
    const quick = wire.host(answering(() => ok()))
    const running = await wire.open(slow)
    const idle = await wire.open(quick)
    const tunnel = await wire.blind(blind)
    idle.write(get(quick))
    await idle.answer()
    running.write(get(slow))
    await running.until('first')
    const port = wire.sidecar.port

    const stopped = wire.sidecar.stop()
    t.equal((await idle.rest()).ending, 'end', 'the idle connection is closed in order')
    await t.rejects(openTcp(port), { code: 'ECONNREFUSED' })
    finish()
    t.equal(await running.until('last'), ' last')
    t.equal((await running.rest()).ending, 'end')
    await stopped

    t.not((await tunnel.over()) as string, undefined)
  },
)

t.test('a stop waits for an answer that its slow caller has not taken yet', async t => {
  const wire = await aWire(t)
  const size = 4 * 1024 * 1024
  const host = wire.host(
    answering(() => Buffer.concat([Buffer.from(ok().replace(': 0', `: ${size}`)), Buffer.alloc(size)])),
  )
  const caller = await wire.open(host)
  caller.write(get(host))
  await caller.head()
  caller.socket.pause()

  const stopped = wire.sidecar.stop()
  await turn()
  caller.socket.resume()
  const body = await caller.bytes(size)
  await stopped

  t.equal(body.length, size)
})

t.test('a stop cuts what is stuck at its deadline', async t => {
  const wire = await aWire(t, { config: { limits: { drain: '200ms' } } })
  const host = wire.host(async peer => {
    await peer.message()
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst')
  })
  const caller = await wire.open(host)
  caller.write(get(host))
  await caller.until('first')

  await wire.sidecar.stop()

  t.equal((await caller.rest()).ending, 'reset')
  await host.peers[0]?.over()
})

t.test('an answer that is made during a stop says that the connection ends', async t => {
  const wire = await aWire(t)
  let answer: (() => void) | undefined
  const host = wire.host(async peer => {
    await peer.message()
    answer = () => peer.write(ok('in time'))
  })
  const caller = await wire.open(host)
  caller.write(get(host))
  while (host.peers[0] === undefined) await turn()
  while (answer === undefined) await turn()

  const stopped = wire.sidecar.stop()
  answer()
  const message = await caller.answer()
  await stopped

  t.equal(headerOf(message, 'connection'), 'close')
})

t.test('each request is judged by the one policy that its record names, while policies change', async t => {
  const wire = await aWire(t)
  const host = wire.host(answering(({ start }) => ok(start)))
  const allowed = wire.sidecar.sidecar
  const denied = policyFor(USUAL_RULE)
  const statuses: number[] = []
  let isOver = false
  const load = async () => {
    while (!isOver) {
      const caller = await wire.open(host).catch(() => undefined) // refused by the second policy
      if (caller === undefined) continue
      for (let i = 0; i < 10 && !isOver; i++) {
        caller.write(get(host, `/${i}`))
        statuses.push((await caller.answer()).status)
      }
      caller.destroy()
    }
  }

  const running = [load(), load(), load()]
  const hashes = new Map<string, number>()
  for (let i = 0; i < 10; i++) {
    wire.sidecar.writePolicy(i % 2 === 0 ? denied : WIRE_POLICY)
    await allowed.reload()
    const before = statuses.length
    for (let turns = 0; turns < 200 && statuses.length < before + 5; turns++) await turn()
  }
  isOver = true
  await Promise.all(running)

  const records = (await wire.sidecar.audit()).filter(record => 'outcome' in record)
  for (const record of records) {
    const policy = String(record.policy)
    const expected = hashes.get(policy) ?? Number(record.status)
    hashes.set(policy, expected)
    if (expected !== record.status) t.fail('two outcomes under one policy')
  }
  t.same(new Set(hashes.values()), new Set([200, 403]))
  t.ok(statuses.includes(200))
})

t.test('a new version of a secret is what the next request on the same connections carries', async t => {
  const wire = await aWire(t)
  const heads: string[] = []
  const host = wire.host(
    answering(({ text }) => {
      heads.push(text)
      return ok()
    }),
  )
  const target = `https://${host.name}.example.test`
  const placeholder = await wire.sidecar.put('acme/token', 'the-first-credential', { target })
  const caller = await wire.open(host)
  const send = async () => {
    caller.write(get(host, '/', `Authorization: Bearer ${placeholder}`))
    return (await caller.answer()).status
  }

  await send()
  await wire.sidecar.put('acme/token', 'the-second-credential', { target })
  await send()
  await wire.sidecar.call('secret.disable', { secret: 'acme/token' })
  const refused = await send()

  t.match(heads[0], 'Bearer the-first-credential')
  t.match(heads[1], 'Bearer the-second-credential')
  t.equal(refused, 403)
  t.equal(heads.length, 2)
  t.equal(host.connections, 2, 'another credential, another upstream connection')
  caller.destroy()
})

t.test('a stopped sidecar holds no connection, not even in the middle of a handshake', async t => {
  const wire = await aWire(t, {
    config: { limits: { handshake: '1h', requestHeadTimeout: '1h', drain: '2s' } },
  })
  const half = new Peer(await openTcp(wire.sidecar.port))
  const begun = await wire.tcp()
  half.write('GET http://h1.plain.test/ HTTP/1.1\r\nHo')
  begun.write('CONNECT h1.example.test:443 HTTP/1.1\r\nHost: h1.example.test:443\r\n\r\n\x16\x03\x01')
  await begun.head()

  await wire.sidecar.stop()

  await half.over()
  await begun.over()
  t.pass('both ended')
})
