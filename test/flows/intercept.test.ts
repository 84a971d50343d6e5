/**
 * The main way: CONNECT, TLS that we end, a placeholder swapped, the answer given back.
 */
import t from 'tap'
import { askThrough } from '../support/caller.ts'
import { aSidecar } from '../support/sidecar.ts'
import { anUpstream } from '../support/third-party.ts'

t.test('swaps a placeholder in Authorization and gives the answer back redacted', async t => {
  const upstream = await anUpstream(t)
  const sidecar = await aSidecar(t, { upstreams: [upstream] })
  const placeholder = await sidecar.put('acme/token', 'real-credential-0123456789')

  const answer = await askThrough(sidecar, 'api.example.test', {
    path: '/v1/things?x=1',
    headers: { Authorization: `Bearer ${placeholder}` },
  })

  t.equal(answer.status, 200, sidecar.log())
  t.equal(upstream.requests[0]?.headers.authorization, 'Bearer real-credential-0123456789')
  t.match(JSON.parse(answer.body.toString()), {
    url: '/v1/things?x=1',
    headers: { authorization: `Bearer ${placeholder}` },
  })
  t.notMatch(answer.body.toString(), 'real-credential')
})
