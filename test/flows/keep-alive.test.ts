/**
 * Connections that serve more than one request, on both sides.
 */
import t from 'tap'
import { answering, aWire, get, ok, post } from '../support/wire.ts'

const wire = await aWire(t)

t.test('two requests on one tunnel use one upstream connection', async t => {
  const host = wire.host(answering((_, number) => ok(`answer ${number}`)))
  const caller = await wire.open(host)

  caller.write(get(host))
  const first = await caller.answer()
  caller.write(get(host))
  const second = await caller.answer()

  t.same([first.body.toString(), second.body.toString()], ['answer 1', 'answer 2'])
  t.equal(host.connections, 1)
  caller.destroy()
})

t.test('pipelined requests are answered in order, one at a time', async t => {
  let inFlight = 0
  const host = wire.host(async peer => {
    for (;;) {
      const request = await peer.message()
      t.equal(++inFlight, 1)
      await new Promise(resolve => setImmediate(resolve))
      inFlight--
      peer.write(ok(request.start))
    }
  })
  const caller = await wire.open(host)

  caller.write(get(host, '/1') + get(host, '/2') + post(host, 'body') + get(host, '/3'))
  const bodies: string[] = []
  for (let i = 0; i < 4; i++) bodies.push((await caller.answer()).body.toString())

  t.same(bodies, ['GET /1 HTTP/1.1', 'GET /2 HTTP/1.1', 'POST / HTTP/1.1', 'GET /3 HTTP/1.1'])
  caller.destroy()
})
