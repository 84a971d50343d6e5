/**
 * An IPv6 literal as a target, end to end (acceptance.md 9).
 */
import { createServer } from 'node:tls'
import t from 'tap'
import { ask, openTunnel } from '../support/caller.ts'
import { aSidecar, policyFor } from '../support/sidecar.ts'
import { certificateFor } from '../support/third-party.ts'

t.test(
  'an IPv6 literal that the operator allows keeps its brackets, its certificate and its credential',
  async t => {
    let got = ''
    const server = createServer(certificateFor('[::1]'), socket => {
      socket.on('error', () => undefined)
      socket.on('data', chunk => {
        got += chunk
        if (got.includes('\r\n\r\n')) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      })
    })
    const isThere = await new Promise<boolean>(resolve => {
      server.once('error', () => resolve(false))
      server.listen(0, '::1', () => resolve(true))
    })
    if (!isThere) return void t.comment('this machine has no IPv6 loopback')
    t.teardown(() => server.close())
    const address = server.address()
    const port = address !== null && typeof address === 'object' ? address.port : 0
    const target = `https://[::1]:${port}`
    const rule = `  - id: six
    callers: [app]
    target: '${target}'
    methods: [GET]
    paths: ['/**']
    swap:
      - secrets: ['*/token']
        in: [header.authorization]
`
    const sidecar = await aSidecar(t, {
      policy: policyFor(rule),
      config: { upstream: { allowAddresses: ['::1/128'] } },
    })
    const placeholder = await sidecar.put('acme/token', 'a-real-credential-001', { target })
    const socket = await openTunnel(sidecar, `[::1]:${port}`)

    const answer = await ask(socket, `[::1]:${port}`, { headers: { Authorization: `Bearer ${placeholder}` } })

    t.equal(answer.body.toString(), 'ok', answer.error ?? 'answered')
    t.match(got, `Host: [::1]:${port}\r\n`)
    t.match(got, 'Bearer a-real-credential-001')
    socket.destroy()
  },
)
