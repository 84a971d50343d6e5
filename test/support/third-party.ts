/**
 * A third party on loopback: TLS with a certificate of a test CA, and a ledger of every byte that it was sent.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { systemClock } from '../../src/base/clock.ts'
import { createAuthority, loadAuthority } from '../../src/tls/authority.ts'

const clock = systemClock
const made = createAuthority({ commonName: 'Cloakroom test upstreams', clock })
const authority = loadAuthority({ ...made, clock, file: 'test CA' })

/** PEM of the CA that upstream certificates of the tests are signed by. */
export const testCaPem = made.certificatePem

/** The CA itself, for certificates with a fault. */
export const testAuthority = { certificatePem: made.certificatePem, privateKey: made.privateKey }

/** A certificate of the test CA for a host, for servers that a test starts itself. */
export function certificateFor(host: string): { cert: string; key: string } {
  const leaf = authority.mint(host)
  return {
    cert: leaf.certificatePem,
    key: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

export type Received = {
  readonly method: string
  readonly url: string
  readonly rawHeaders: readonly string[]
  readonly headers: IncomingMessage['headers']
  readonly trailers: IncomingMessage['trailers']
  readonly body: Buffer
}

export type Upstream = {
  readonly host: string
  readonly port: number
  /** Requests that came whole. */
  readonly requests: Received[]
  /** Everything that came, decrypted, over all connections. */
  bytes(): Buffer
  readonly sockets: Set<Socket>
  connections: number
  close(): Promise<void>
}

export type Teardown = { teardown(run: () => unknown): void }
export type Handler = (request: Received, response: ServerResponse) => void

const echo: Handler = (request, response) => {
  response.setHeader('Content-Type', 'application/json')
  const { method, url, headers, body } = request
  response.end(JSON.stringify({ method, url, headers, body: body.toString('latin1') }))
}

export type UpstreamOptions = {
  readonly host?: string
  readonly handler?: Handler
  readonly plain?: boolean
  /** Instead of a good one of the test CA. */
  readonly certificate?: { readonly cert: string; readonly key: string }
}

/** Starts an HTTPS upstream that by default answers with what it got. */
export async function anUpstream(t: Teardown, options: UpstreamOptions = {}): Promise<Upstream> {
  const requests: Received[] = []
  const handler = options.handler ?? echo
  const http: Server = createServer({ maxHeaderSize: 256 * 1024 }, (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', chunk => chunks.push(chunk))
    request.on('error', () => undefined)
    request.on('end', () => {
      const { method = '', url = '', rawHeaders, headers, trailers } = request
      const received = { method, url, rawHeaders, headers, trailers, body: Buffer.concat(chunks) }
      requests.push(received)
      handler(received, response)
    })
  })
  http.keepAliveTimeout = 60_000
  const onSocket = (socket: Socket) => {
    http.emit('connection', socket)
    // Node's server reads the handle itself until somebody listens; the ledger would stay empty.
    socket.on('data', () => undefined)
  }
  return serve(t, options, { onSocket, requests })
}

/** Starts an upstream that is driven by hand: `onSocket` gets each connection after its TLS handshake. */
export function aRawUpstream(
  t: Teardown,
  options: Omit<UpstreamOptions, 'handler'> & { readonly onSocket: (socket: Socket) => void },
): Promise<Upstream> {
  return serve(t, options, { onSocket: options.onSocket, requests: [] })
}

type Serving = { readonly onSocket: (socket: Socket) => void; readonly requests: Received[] }

async function serve(t: Teardown, options: UpstreamOptions, serving: Serving): Promise<Upstream> {
  const host = options.host ?? 'api.example.test'
  const chunks: Buffer[] = []
  const sockets = new Set<Socket>()
  const onSocket = (socket: Socket | TLSSocket) => {
    upstream.connections++
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    copyTo(socket, chunks)
    serving.onSocket(socket)
  }
  const { cert, key } = options.certificate ?? certificateFor(host)
  const tls = { cert, key, allowHalfOpen: true, ALPNProtocols: ['http/1.1'] }
  const server =
    options.plain === true
      ? createTcpServer({ allowHalfOpen: true, noDelay: true }, onSocket)
      : createTlsServer(tls, onSocket)
  server.on('tlsClientError', () => undefined)
  // Also those whose handshake never ended: they would keep the server open.
  const accepted = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    accepted.add(socket)
    socket.on('error', () => undefined).on('close', () => accepted.delete(socket))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const upstream: Upstream = {
    host,
    port: (server.address() as AddressInfo).port,
    requests: serving.requests,
    bytes: () => Buffer.concat(chunks),
    sockets,
    connections: 0,
    close: () =>
      new Promise(resolve => {
        for (const socket of [...sockets, ...accepted]) socket.destroy()
        server.close(() => resolve())
      }),
  }
  t.teardown(() => upstream.close())
  return upstream
}

// Copies what a socket receives without taking it from its reader.
function copyTo(socket: Socket, chunks: Buffer[]): void {
  const push = socket.push.bind(socket)
  socket.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (Buffer.isBuffer(chunk)) chunks.push(Buffer.from(chunk))
    return push(chunk, encoding)
  }
}
