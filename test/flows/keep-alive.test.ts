/**
 * Connections that serve more than one request, on both sides.
 */
import t from 'tap'
import { policyFor } from '../support/sidecar.ts'
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

// threat-model.md A11: what one rule allows may not ride on a connection that another one opened.
t.test('two rules for one host do not share an upstream connection', async t => {
  const ruleOf = (id: string, method: string) =>
    `  - { id: ${id}, callers: [app], target: 'https://*.example.test', methods: [${method}], paths: ['/**'] }\n`
  const apart = await aWire(t, { policy: policyFor(ruleOf('read', 'GET') + ruleOf('write', 'POST')) })
  const host = apart.host(answering(() => ok()))
  const caller = await apart.open(host)

  const counts: number[] = []
  for (const request of [get(host), post(host, 'body'), get(host), post(host, 'body')]) {
    caller.write(request)
    await caller.answer()
    counts.push(host.connections)
  }

  t.same(counts, [1, 2, 2, 2])
  caller.destroy()
})
