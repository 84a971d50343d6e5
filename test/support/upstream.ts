/**
 * TLS and TCP servers on loopback that tests dial, and a dialer that may reach them.
 */
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls'
import type { Test } from 'tap'
import { systemClock } from '../../src/base/clock.ts'
import { createAddressGuard } from '../../src/net/address.ts'
import { createDialer, type Dialer, type DialerOptions } from '../../src/net/dial.ts'
import { loadUpstreamTrust } from '../../src/tls/trust.ts'
import { anAuthority, type TestAuthority } from './certificates.ts'

export type TestServer = {
  readonly port: number
  readonly sockets: Socket[]
  /** Application bytes that came, of all connections. */
  received(): string
}

function observe(t: Test, server: Server): Omit<TestServer, 'port'> & { watch(socket: Socket): void } {
  const sockets: Socket[] = []
  let received = ''
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  server.on('connection', socket => socket.on('error', () => undefined))
  return {
    sockets,
    received: () => received,
    watch(socket) {
      sockets.push(socket)
      socket
        .on('error', () => undefined)
        .on('data', chunk => {
          received += chunk
        })
    },
  }
}

async function listening(server: Server, host = '127.0.0.1'): Promise<number> {
  server.listen(0, host)
  await once(server, 'listening')
  const address = server.address()
  return address !== null && typeof address === 'object' ? address.port : 0
}

/** A TLS server; `serve` gets each socket after its handshake. */
export async function aTlsServer(
  t: Test,
  options: TlsOptions,
  serve: (socket: TLSSocket) => void = () => undefined,
): Promise<TestServer> {
  const server = createTlsServer(options)
  const { watch, ...seen } = observe(t, server)
  server.on('tlsClientError', () => undefined)
  server.on('secureConnection', socket => {
    watch(socket)
    serve(socket)
  })
  return { port: await listening(server), ...seen }
}

/** A TCP server; `serve` gets each socket. */
export async function aTcpServer(
  t: Test,
  serve: (socket: Socket) => void = () => undefined,
): Promise<TestServer> {
  const server = createServer({ allowHalfOpen: true })
  const { watch, ...seen } = observe(t, server)
  server.on('connection', socket => {
    watch(socket)
    serve(socket)
  })
  return { port: await listening(server), ...seen }
}

/** A port of loopback on which nobody listens. */
export async function aClosedPort(): Promise<number> {
  const server = createServer()
  const port = await listening(server)
  server.close()
  await once(server, 'close')
  return port
}

/** A dialer that may dial loopback and trusts one CA besides the public ones. */
export function aDialer(options: Partial<DialerOptions> & { readonly trusts?: TestAuthority } = {}): Dialer {
  const trusts = options.trusts === undefined ? [] : [{ file: 'ca.pem', pem: options.trusts.certificatePem }]
  return createDialer({
    guard: createAddressGuard({
      allowAddresses: ['127.0.0.0/8'],
      ownListeners: () => [],
      localAddresses: () => [],
    }),
    trust: loadUpstreamTrust({
      certificateAuthorities: trusts,
      ownCertificatePem: anAuthority().certificatePem,
    }),
    clock: systemClock,
    lookup: async () => ['127.0.0.1'],
    ...options,
  })
}
