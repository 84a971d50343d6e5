/**
 * Upstreams on loopback that a test drives by hand, many hosts on one port each for TLS and plain TCP, behind one sidecar.
 *
 * Every test takes a host of its own, so that no connection in the sidecar's pool is left from another.
 */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createSecureContext, createServer as createTlsServer, TLSSocket } from 'node:tls'
import { openTcp, openTunnel } from './caller.ts'
import { Peer } from './peer.ts'
import { aSidecar, policyFor, type SidecarOptions, type TestSidecar } from './sidecar.ts'
import { certificateFor, type Teardown } from './third-party.ts'

/** What a host does with a connection; `number` counts its connections from 1. */
export type Behaviour = (peer: Peer, number: number) => void | Promise<void>

export type Host = { readonly name: string; connections: number; readonly peers: Peer[] }

export type Wire = {
  readonly sidecar: TestSidecar
  /** A new host, reached by https on 443 and 8443, by http on 80, and blind as `tunnel` name. */
  host(behaviour: Behaviour): Host
  /** The plain twin of a host's name. */
  open(host: Host): Promise<Peer>
  /** A connection to the proxy itself. */
  tcp(): Promise<Peer>
  /** A blind tunnel to a host: its TCP connection after the 200. */
  blind(host: Host): Promise<Peer>
}

const HOSTS = 150

const METHODS = '[GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]'

const RULES = `  - id: secure
    callers: [app]
    target: https://*.example.test
    methods: ${METHODS}
    paths: ['/**']
    swap:
      - secrets: ['*/token']
        in: [header.authorization]
  - id: plain
    callers: [app]
    target: http://*.plain.test
    methods: ${METHODS}
    paths: ['/**']
  - id: blind
    callers: [app]
    target: https://*.tunnel.test
    mode: tunnel
`

export const WIRE_POLICY = policyFor(RULES)

/** Starts upstreams and a sidecar in front of them. */
export async function aWire(t: Teardown, options: SidecarOptions = {}): Promise<Wire> {
  const hosts = new Map<string, { host: Host; behaviour: Behaviour }>()
  const names = Array.from({ length: HOSTS }, (_, i) => `h${i}`)
  const serve = (name: string, socket: Socket) => {
    const found = hosts.get(name)
    if (found === undefined) return void socket.destroy()
    found.host.connections++
    const peer = new Peer(socket)
    found.host.peers.push(peer)
    void Promise.resolve(found.behaviour(peer, found.host.connections)).catch(() => undefined) // told by what the caller gets
  }
  const secure = await listening(
    t,
    tlsServer((name, socket) => serve(name, socket)),
  )
  // A plain connection does not say its host: each has a server of its own, made when it is first wanted.
  const plain = new Map<string, number>()
  for (const name of names.slice(0, 40)) {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => serve(name, socket))
    plain.set(name, await listening(t, server))
  }
  const sidecar = await aSidecar(t, {
    policy: WIRE_POLICY,
    ...options,
    upstreams: [
      ...names.map(name => ({ host: `${name}.example.test`, port: secure, as: 443 })),
      ...[...plain].flatMap(([name, port]) => [
        { host: `${name}.plain.test`, port, as: 80 },
        { host: `${name}.tunnel.test`, port, as: 443 },
      ]),
    ],
    config: {
      ...options.config,
      limits: { drain: '2s', leafMints: 1000, ...options.config?.limits },
    },
  })
  let next = 0
  return {
    sidecar,
    host(behaviour) {
      const name = names[next++]
      if (name === undefined) throw new Error('no host is left')
      const host = { name, connections: 0, peers: [] }
      hosts.set(name, { host, behaviour })
      return host
    },
    open: async host => new Peer(await openTunnel(sidecar, `${host.name}.example.test:443`)),
    tcp: async () => new Peer(await openTcp(sidecar.port)),
    async blind(host) {
      const peer = new Peer(await openTcp(sidecar.port))
      const authority = `${host.name}.tunnel.test:443`
      peer.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`)
      const { start } = await peer.head()
      if (!start.startsWith('HTTP/1.1 200')) throw new Error(start)
      return peer
    },
  }
}

function tlsServer(serve: (name: string, socket: Socket) => void): Server {
  const contexts = new Map<string, ReturnType<typeof createSecureContext>>()
  return createTlsServer(
    {
      allowHalfOpen: true,
      noDelay: true,
      ALPNProtocols: ['http/1.1'],
      SNICallback(servername, done) {
        const context = contexts.get(servername) ?? createSecureContext(certificateFor(servername))
        contexts.set(servername, context)
        done(null, context)
      },
    },
    socket => serve(nameOf(socket), socket),
  )
}

function nameOf(socket: Socket): string {
  const servername = socket instanceof TLSSocket ? socket.servername : ''
  return typeof servername === 'string' ? servername.replace(/\..*$/, '') : ''
}

async function listening(t: Teardown, server: Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', socket => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('tlsClientError', () => undefined)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** A behaviour that answers each request by `answer`, one after the other. */
export function answering(
  answer: (request: Awaited<ReturnType<Peer['message']>>, number: number) => string | Buffer,
): Behaviour {
  return async peer => {
    for (let number = 1; ; number++) peer.write(answer(await peer.message(), number))
  }
}

/** An answer with a length. */
export function ok(body = '', ...headers: readonly string[]): string {
  return [`HTTP/1.1 200 OK`, `Content-Length: ${body.length}`, ...headers, '', body].join('\r\n')
}

/** A request head inside a tunnel to a host. */
export function get(host: Host, path = '/', ...headers: readonly string[]): string {
  return [`GET ${path} HTTP/1.1`, `Host: ${host.name}.example.test`, ...headers, '', ''].join('\r\n')
}

/** A request with a body of a length, inside a tunnel to a host. */
export function post(host: Host, body: string, ...headers: readonly string[]): string {
  return [
    'POST / HTTP/1.1',
    `Host: ${host.name}.example.test`,
    `Content-Length: ${body.length}`,
    ...headers,
    '',
    body,
  ].join('\r\n')
}
