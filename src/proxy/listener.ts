/**
 * The proxy's front door: TCP for callers, and a private unix socket for our own relay.
 *
 * Rules of this file: connections are bounded and closed at once above the bound, never queued (threat-model.md G4); a stop lets running
 * exchanges finish until the deadline and then ends everything.
 */
import { createServer, type Server, type Socket } from 'node:net'
import type { Clock, Milliseconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Part } from '../base/lifecycle.ts'
import type { Presented } from '../model/caller.ts'
import type { Entrance } from '../model/exchange.ts'
import { type ConnectDeps, handleConnect } from './connect.ts'
import { handleExchange } from './exchange.ts'
import type { ExchangeDeps } from './exchange-deps.ts'
import { Http1Connection, type Http1Limits } from './http1.ts'
import type { CallerConnection } from './http1-options.ts'
import type { Inbound } from './inbound.ts'
import type { Live } from './live.ts'
import { isLoopbackPeer } from './presented.ts'
import { resetSocket } from './reset.ts'

export type ListenAt =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string }

export type ListenerDeps = {
  readonly name: string
  readonly listen: ListenAt
  readonly clock: Clock
  readonly http1: Http1Limits
  readonly maxConnections: number
  /** All connections of callers, inner ones included; shared by the listeners. */
  readonly connections: Connections
  readonly exchange: ExchangeDeps
  /** Undefined on the relay's private listener, which serves no CONNECT. */
  readonly connect: ConnectDeps | undefined
}

/** Every caller's connection that is open, inner ones of tunnels included. */
export class Connections {
  readonly #open = new Set<Http1Connection>()
  /** Those with something still to send. */
  readonly #unflushed = new Set<Http1Connection>()
  readonly #flushed: (() => void)[] = []
  /** The transports below them, those in the middle of a handshake included. */
  readonly #sockets = new Set<Socket>()
  #isDraining = false

  get size(): number {
    return this.#open.size
  }

  add(connection: Http1Connection): void {
    this.#open.add(connection)
    this.#unflushed.add(connection)
    connection.onClosed(() => this.#open.delete(connection))
    connection.onFlushed(() => this.#onFlushed(connection))
    if (this.#isDraining) connection.drain()
  }

  /** Remembers a transport, to be ended by reset. */
  addSocket(socket: Socket): void {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
  }

  drain(): void {
    this.#isDraining = true
    for (const connection of [...this.#open]) connection.drain()
  }

  /** Resolves when every connection has ended its side and its last byte has left our memory; call drain before. */
  whenFlushed(): Promise<void> {
    if (this.#unflushed.size === 0) return Promise.resolve()
    return new Promise(resolve => this.#flushed.push(resolve))
  }

  reset(): void {
    for (const connection of [...this.#open]) connection.reset()
    for (const socket of [...this.#sockets]) socket.destroy()
  }

  #onFlushed(connection: Http1Connection): void {
    this.#unflushed.delete(connection)
    if (this.#unflushed.size > 0) return
    for (const run of this.#flushed.splice(0)) run()
  }
}

export type Listener = Part & {
  /** Where it listens, once started. */
  address(): { readonly host: string; readonly port: number } | undefined
}

export function createListener(deps: ListenerDeps): Listener {
  const server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, socket =>
    onConnection(deps, socket),
  )
  server.maxConnections = deps.maxConnections
  return {
    name: deps.name,
    start: () => listen(server, deps.listen),
    stop: () => closeServer(server),
    address() {
      const address = server.address()
      return address === null || typeof address === 'string'
        ? undefined
        : { host: address.address, port: address.port }
    },
  }
}

/**
 * Lets running exchanges finish and their answers leave, ends what is left at the deadline. The listeners must have stopped
 * accepting. Tunnels are not waited for.
 */
export async function drain(
  parts: { live: Live; connections: Connections; clock: Clock },
  deadline: Milliseconds,
): Promise<void> {
  const { live, connections, clock } = parts
  connections.drain()
  const timer = new AbortController()
  // An exchange is over when its last byte was given to a socket; a slow caller has it later.
  const isDone = Promise.all([live.whenIdle(), connections.whenFlushed()])
  await Promise.race([isDone, clock.sleep(deadline, timer.signal).catch(() => undefined)])
  timer.abort()
  live.cancel(() => true, new CloakroomError('SIDECAR_DRAINING', {}))
  await live.whenIdle()
  connections.reset()
}

function onConnection(deps: ListenerDeps, socket: Socket): void {
  deps.connections.addSocket(socket)
  const isLoopback = deps.listen.kind === 'unix' || isLoopbackPeer(socket)
  const presented: Presented = { isLoopback }
  const entrance: Entrance = deps.listen.kind === 'unix' ? 'relay' : 'absolute'
  const connection = new Http1Connection(socket, {
    clock: deps.clock,
    limits: deps.http1,
    facts: { entrance, presented },
    serve: (inbound, own) => serveFront(deps, inbound, own),
    resetTransport: () => resetSocket(socket),
  })
  deps.connections.add(connection)
}

function serveFront(deps: ListenerDeps, inbound: Inbound, connection: CallerConnection): Promise<void> {
  const isConnect = inbound.head.method === 'CONNECT' && deps.connect !== undefined
  return isConnect ? handleConnect(deps.connect, inbound, connection) : handleExchange(deps.exchange, inbound)
}

function listen(server: Server, at: ListenAt): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.once('listening', () => {
      server.off('error', reject)
      server.on('error', () => undefined) // EMFILE while accepting: the connection is lost, the listener is not
      resolve()
    })
    if (at.kind === 'tcp') server.listen({ host: at.host, port: at.port })
    else server.listen({ path: at.path })
  })
}

function closeServer(server: Server): Promise<void> {
  return new Promise(resolve => {
    server.close(() => resolve())
    resolve() // open connections are ended by drain, not waited for here
  })
}
