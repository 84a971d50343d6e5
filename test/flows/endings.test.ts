/**
 * Callers that go away, in whole or in half, and what the upstream and the record see of it.
 */

import { once } from 'node:events'
import t from 'tap'
import { answering, aWire, get, type Host, ok, post } from '../support/wire.ts'

const wire = await aWire(t)

async function outcomeOf(host: Host): Promise<Record<string, unknown>> {
  for (;;) {
    const records = await wire.sidecar.audit()
    const found = records.find(
      record => String(record.target).includes(`//${host.name}.`) && 'outcome' in record,
    )
    if (found !== undefined) return found
    await new Promise(resolve => setImmediate(resolve))
  }
}

t.test('a caller that half-closes after its request still gets the answer', async t => {
  const host = wire.host(async peer => {
    const { start } = await peer.message()
    await new Promise(resolve => setTimeout(resolve, 50)) // longer than the half-close needs to arrive
    peer.write(ok(start))
  })
  const caller = await wire.open(host)

  caller.end(get(host))
  const answer = await caller.message()

  t.equal(answer.status, 200)
  t.equal((await caller.rest()).ending, 'end')
})

t.test('a caller that half-closes gets its answer however long that takes', async t => {
  const host = wire.host(async peer => {
    await peer.message()
    await new Promise(resolve => setTimeout(resolve, 1200)) // longer than two probes
    peer.write(ok('late'))
  })
  const caller = await wire.open(host)

  caller.end(post(host, 'body'))
  const answer = await caller.answer()

  t.equal(answer.body.toString(), 'late')
})

t.test('a caller that pipelines and half-closes gets all its answers', async t => {
  const host = wire.host(answering(({ start }) => ok(start)))
  const caller = await wire.open(host)

  caller.end(get(host, '/1') + get(host, '/2') + get(host, '/3'))
  const bodies = [1, 2, 3].map(async () => (await caller.answer()).body.toString())

  t.same(await Promise.all(bodies), ['GET /1 HTTP/1.1', 'GET /2 HTTP/1.1', 'GET /3 HTTP/1.1'])
  t.equal((await caller.rest()).ending, 'end')
})

t.test('a caller that half-closes in the middle of its upload has sent no request', async t => {
  const host = wire.host(answering(() => ok()))
  const caller = await wire.open(host)

  caller.end(post(host, 'x'.repeat(10)).slice(0, -5))
  await caller.over()

  t.match(await outcomeOf(host), { outcome: 'client_abort' })
})

t.test('a caller that goes away before the answer is seen by the upstream', async t => {
  const host = wire.host(() => undefined)
  const caller = await wire.open(host)
  caller.write(get(host))
  while (host.peers[0] === undefined) await new Promise(resolve => setImmediate(resolve))
  await host.peers[0].head()

  caller.destroy()
  await host.peers[0].over()

  t.match(await outcomeOf(host), { outcome: 'client_abort', error: 'REQUEST_ABORTED' })
})

t.test('a caller that goes away in the middle of its upload is seen by the upstream', async t => {
  const host = wire.host(() => undefined)
  const caller = await wire.open(host)
  caller.write(post(host, 'x'.repeat(1000)).slice(0, -500))
  while (host.peers[0] === undefined) await new Promise(resolve => setImmediate(resolve))
  await host.peers[0].head()

  caller.destroy()
  await host.peers[0].over()

  t.match(await outcomeOf(host), { outcome: 'client_abort' })
})

t.test('a caller that goes away in the middle of its download is seen by the upstream', async t => {
  const host = wire.host(async peer => {
    await peer.message()
    peer.write('HTTP/1.1 200 OK\r\n\r\n')
    while (peer.socket.writable) {
      peer.write(Buffer.alloc(64 * 1024))
      await Promise.race([once(peer.socket, 'drain'), once(peer.socket, 'close')])
    }
  })
  const caller = await wire.open(host)
  caller.write(get(host))
  await caller.bytes(200_000)

  caller.destroy()
  await host.peers[0]?.over()

  t.match(await outcomeOf(host), { outcome: 'client_abort' })
})

t.test('a caller that resets is seen at once', async t => {
  const host = wire.host(() => undefined)
  const caller = await wire.open(host)
  caller.write(get(host))
  while (host.peers[0] === undefined) await new Promise(resolve => setImmediate(resolve))
  await host.peers[0].head()
  const { _parent: tcp } = caller.socket as unknown as { _parent: import('node:net').Socket }

  tcp.resetAndDestroy()
  await host.peers[0].over()

  t.match(await outcomeOf(host), { outcome: 'client_abort' })
})
