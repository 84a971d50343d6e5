/**
 * Ends the caller's TLS in a tunnel and serves the requests inside; plain HTTP inside CONNECT is served for http targets only.
 *
 * Rule of this file: whatever protocol comes, the target is CONNECT's, and its policy is judged again with the scheme that the
 * first byte revealed (rulings.md 5).
 */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock, Milliseconds } from '../base/clock.ts'
import type { Target } from '../model/target.ts'
import type { PlannedTunnel } from './accept.ts'
import { handleExchange } from './exchange.ts'
import type { ExchangeDeps } from './exchange-deps.ts'
import { Http1Connection, type Http1Limits } from './http1.ts'
import { resetSocket } from './reset.ts'

/** Does the server's side of a handshake as exactly one host; see tls/terminate.ts. */
export type Terminate = (socket: Socket, host: string) => Promise<Duplex>

export type InterceptDeps = {
  readonly clock: Clock
  readonly terminate: Terminate
  readonly http1: Http1Limits
  readonly exchange: ExchangeDeps
  /** From our 200 to the first byte in the tunnel (threat-model.md G1). */
  readonly firstByte: Milliseconds
  /** Keeps an inner connection known, for drain. */
  readonly adopt: (connection: Http1Connection) => void
}

const TLS_HANDSHAKE = 0x16 // RFC 8446 5.1: the content type of a ClientHello's record

/** Takes the socket over; it is closed when this throws or the connection ends. */
export async function intercept(deps: InterceptDeps, tunnel: PlannedTunnel, socket: Socket): Promise<void> {
  const first = await firstByte(deps, socket)
  if (first === undefined) return void socket.destroy()
  if (first === TLS_HANDSHAKE) {
    const secured = await deps.terminate(socket, tunnel.https.host).catch(() => undefined) // counted where it failed
    if (secured !== undefined) serve(deps, secured, { tunnel, target: tunnel.https, socket })
    return
  }
  // Letters start an HTTP method; anything else is no protocol of ours (acceptance.md 10).
  if (first >= 0x41 && first <= 0x5a) return serve(deps, socket, { tunnel, target: tunnel.http, socket })
  socket.destroy()
}

type Inner = { readonly tunnel: PlannedTunnel; readonly target: Target; readonly socket: Socket }

function serve(deps: InterceptDeps, stream: Duplex, inner: Inner): void {
  const connection = new Http1Connection(stream, {
    clock: deps.clock,
    limits: deps.http1,
    facts: { entrance: 'connect', presented: inner.tunnel.presented, tunnel: inner.target },
    serve: inbound => handleExchange(deps.exchange, inbound),
    resetTransport: () => resetSocket(inner.socket),
  })
  deps.adopt(connection)
}

/** Waits for the tunnel's first byte and leaves it unread; undefined when the caller goes, or is silent for too long. */
function firstByte(deps: InterceptDeps, socket: Socket): Promise<number | undefined> {
  return new Promise(resolve => {
    const stop = (byte: number | undefined) => {
      timer.cancel()
      socket.off('readable', onReadable).off('end', onGone).off('close', onGone).off('error', onGone)
      resolve(byte)
    }
    const onGone = () => stop(undefined)
    const onReadable = () => {
      const chunk: Buffer | null = socket.read()
      if (chunk === null) return
      socket.unshift(chunk)
      stop(chunk[0])
    }
    const timer = deps.clock.after(deps.firstByte, onGone)
    socket.on('error', ignore)
    socket.on('readable', onReadable).on('end', onGone).on('close', onGone).on('error', onGone)
    if (socket.destroyed || socket.readableEnded) return onGone()
    onReadable()
  })
}

// A reset is told by `close`; without a listener it would end the process.
function ignore(): void {
  return
}
