/**
 * The third party of the demo: an HTTPS API on loopback with a certificate of a CA of its own, which remembers what it was sent.
 */
import { once } from 'node:events'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createSecureContext } from 'node:tls'
import { systemClock } from '../../src/base/clock.ts'
import { createAuthority, loadAuthority } from '../../src/tls/authority.ts'

export type Call = {
  readonly host: string
  readonly path: string
  readonly authorization: string
  readonly body: string
  /** What it was answered with. */
  readonly answer: string
}

export type ThirdParty = {
  readonly port: number
  /** PEM of the CA that vouches for it. */
  readonly caPem: string
  readonly calls: readonly Call[]
  close(): Promise<void>
}

/** Starts it for these hosts; it accepts one credential and, as careless APIs do, shows it in its answer. */
export async function startThirdParty(hosts: readonly string[], credential: string): Promise<ThirdParty> {
  const made = createAuthority({ commonName: 'Demo third party CA', clock: systemClock })
  const authority = loadAuthority({ ...made, clock: systemClock, file: 'demo CA' })
  const contexts = new Map(hosts.map(host => [host, contextFor(authority.mint(host))]))
  const calls: Call[] = []
  const server: Server = createServer({
    SNICallback: (name, done) => done(null, contexts.get(name)),
  })
  server.on('request', (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', chunk => chunks.push(chunk))
    request.on('end', () => {
      const { authorization = '', host = '' } = request.headers
      const isPaid = authorization === `Bearer ${credential}`
      const answer = JSON.stringify({ id: 'ch_1', paid: isPaid, you_sent: authorization })
      const body = Buffer.concat(chunks).toString()
      calls.push({ host, path: request.url ?? '', authorization, body, answer })
      response.statusCode = isPaid ? 200 : 401
      response.setHeader('Content-Type', 'application/json')
      response.end(answer)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    caPem: made.certificatePem,
    calls,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

function contextFor(leaf: ReturnType<ReturnType<typeof loadAuthority>['mint']>) {
  const key = leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  return createSecureContext({ cert: leaf.certificatePem, key })
}
