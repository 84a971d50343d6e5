/**
 * Time and size limits of the data path: each ends what passes it, says so, and leaves the rest working.
 */
import t from 'tap'
import { connectTo } from '../support/caller.ts'
import { headerOf, Peer } from '../support/peer.ts'
import { answering, aWire, get, ok, post } from '../support/wire.ts'

const wire = await aWire(t, {
  config: {
    limits: {
      upstreamHead: '300ms',
      idle: '300ms',
      requestHeadTimeout: '300ms',
      keepAlive: '600ms',
      clientHello: '300ms',
      tunnelIdle: '300ms',
      tunnelAge: '900ms',
      tunnels: 2,
      inFlight: 3,
    },
  },
})

async function outcomeOf(host: { name: string }): Promise<Record<string, unknown>> {
  for (;;) {
    const records = await wire.sidecar.audit()
    const found = records.find(
      record => String(record.target).includes(`//${host.name}.`) && 'outcome' in record,
    )
    if (found !== undefined) return found
    await new Promise(resolve => setImmediate(resolve))
  }
}

t.test('an upstream that never answers is 504, and the pool recovers', async t => {
  const host = wire.host(async (peer, number) => {
    await peer.message()
    if (number > 1) peer.write(ok('well'))
  })
  const caller = await wire.open(host)

  caller.write(get(host))
  const first = await caller.answer()
  caller.write(get(host))
  const second = await caller.answer()

  t.equal(first.status, 504)
  t.equal(headerOf(first, 'cloakroom-error'), 'UPSTREAM_HEAD_TIMEOUT')
  t.equal(second.body.toString(), 'well')
  await host.peers[0]?.over()
  caller.destroy()
})

t.test('as many upstreams that never answer as may be in flight do not stop others for good', async t => {
  const silent = wire.host(() => undefined)
  const host = wire.host(answering(() => ok('well')))
  const stuck = await Promise.all([1, 2, 3].map(() => wire.open(silent)))
  for (const caller of stuck) caller.write(get(silent))
  while (silent.connections < 3) await new Promise(resolve => setImmediate(resolve))
  const caller = await wire.open(host)

  caller.write(get(host))
  const refused = await caller.answer()
  for (const one of stuck) t.equal((await one.answer()).status, 504)
  caller.write(get(host))
  const served = await caller.answer()

  t.equal(refused.status, 503)
  t.equal(headerOf(refused, 'cloakroom-error'), 'SIDECAR_OVERLOADED')
  t.ok(headerOf(refused, 'retry-after'))
  t.equal(served.status, 200)
  for (const one of [caller, ...stuck]) one.destroy()
})

t.test('a body that the upstream stops sending ends in a reset and not in an end', async t => {
  const host = wire.host(async peer => {
    await peer.message()
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello')
  })
  const caller = await wire.open(host)

  caller.write(get(host))
  await caller.until('hello')

  t.equal((await caller.rest()).ending, 'reset')
  t.match(await outcomeOf(host), { outcome: 'upstream_error', error: 'UPSTREAM_IDLE_TIMEOUT' })
})

t.test('a stream that goes on within the idle limit lives longer than it', async t => {
  const host = wire.host(async peer => {
    await peer.message()
    peer.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n')
    for (let i = 0; i < 8; i++) {
      await new Promise(resolve => setTimeout(resolve, 60)) // an upstream that takes its time
      peer.write(`data: ${i}\n\n`)
    }
    peer.end()
  })
  const caller = await wire.open(host)

  caller.write(get(host))
  const answer = await caller.answer()

  t.match(answer.body.toString(), 'data: 7')
  caller.destroy()
})

t.test('a caller that stops reading does not hold its upstream for ever', async t => {
  const host = wire.host(async peer => {
    await peer.message()
    peer.write('HTTP/1.1 200 OK\r\n\r\n')
    const chunk = Buffer.alloc(256 * 1024)
    while (peer.socket.writable) {
      if (!peer.socket.write(chunk))
        await new Promise(resolve => peer.socket.once('drain', resolve).once('close', resolve))
    }
  })
  const caller = await wire.open(host)

  caller.write(get(host))
  await caller.head()
  caller.socket.pause()
  await host.peers[0]?.over()

  t.match(await outcomeOf(host), { outcome: 'client_abort' })
  caller.destroy()
})

t.test('a head that does not come in time is 408 and the end of the connection', async t => {
  const host = wire.host(answering(() => ok()))
  const caller = await wire.open(host)

  caller.write('GET / HTTP/1.1\r\nHost: ')
  const answer = await caller.answer()

  t.equal(answer.status, 408)
  t.equal(headerOf(answer, 'connection'), 'close')
  t.equal((await caller.rest()).ending, 'end')
})

t.test('a head that comes in crumbs is not given its time again by each', async t => {
  const host = wire.host(answering(() => ok()))
  const caller = await wire.open(host)
  const timer = setInterval(() => caller.write('A'), 20)
  t.teardown(() => clearInterval(timer))

  caller.write('GET / HTTP/1.1\r\nHost: ')
  const answer = await caller.answer()

  t.equal(answer.status, 408)
  caller.destroy()
})

t.test('a connection that sends nothing is closed without a word', async t => {
  const caller = await wire.tcp()

  const { bytes, ending } = await caller.rest()

  t.equal(bytes.length, 0)
  t.equal(ending, 'end')
  caller.destroy()
})

t.test('a tunnel that sends nothing after its 200 is closed', async t => {
  const { socket } = await connectTo(wire.sidecar, 'h1.example.test:443')
  const caller = new Peer(socket)

  await caller.over()

  t.equal(caller.pending.length, 0)
  caller.destroy()
})

t.test('an idle connection is closed after keepAlive, in order', async t => {
  const host = wire.host(answering(() => ok()))
  const caller = await wire.open(host)

  caller.write(get(host))
  await caller.answer()
  const { bytes, ending } = await caller.rest()

  t.equal(bytes.length, 0)
  t.equal(ending, 'end')
})

for (const [what, head] of [
  ['too many bytes', `A: ${'a'.repeat(40_000)}`],
  ['too many lines', Array.from({ length: 201 }, (_, i) => `A${i}: b`).join('\r\n')],
] as const) {
  t.test(`a request head with ${what} is 431 and the end of the connection`, async t => {
    const host = wire.host(answering(() => ok()))
    const caller = await wire.open(host)

    caller.write(get(host, '/', head))
    const answer = await caller.answer()

    t.equal(answer.status, 431)
    t.equal(headerOf(answer, 'connection'), 'close')
    t.equal(host.connections, 0)
    caller.destroy()
  })
}

t.test('a silent blind tunnel is closed, one that is too old, too', async t => {
  const silent = wire.host(() => undefined)
  const chatty = wire.host(peer => {
    const timer = setInterval(() => peer.write('x'), 50)
    peer.socket.on('close', () => clearInterval(timer))
  })
  const first = await wire.blind(silent)
  const second = await wire.blind(chatty)

  await first.over()
  await second.over()

  t.ok(second.pending.length > 6, 'bytes keep a tunnel open, up to its age')
  await silent.peers[0]?.over()
  await chatty.peers[0]?.over()
})

t.test('tunnels are counted, refused above their limit, and their places given back', async t => {
  const host = wire.host(async peer => {
    peer.write('hello')
    await peer.over()
    peer.end()
  })
  const open = [await wire.blind(host), await wire.blind(host)]

  const refused = await connectTo(wire.sidecar, `${host.name}.tunnel.test:443`)
  open[0]?.destroy()
  while ((wire.sidecar.sidecar.status().counts?.tunnels ?? 0) > 1)
    await new Promise(resolve => setImmediate(resolve))
  const again = await wire.blind(host)

  t.match(refused.head, /^HTTP\/1\.1 503 /)
  t.match(refused.head, 'SIDECAR_OVERLOADED')
  t.match(await again.until('hello'), 'hello')
  for (const peer of [...open, again]) peer.destroy()
})

t.test('an upload is not cut for being longer than any wait', async t => {
  const host = wire.host(answering(request => ok(String(request.body.length))))
  const caller = await wire.open(host)

  caller.write(post(host, 'x'.repeat(8)).slice(0, -8))
  for (let i = 0; i < 8; i++) {
    await new Promise(resolve => setTimeout(resolve, 60)) // a caller that takes its time
    caller.write('y')
  }
  const answer = await caller.answer()

  t.equal(answer.body.toString(), '8')
  caller.destroy()
})
