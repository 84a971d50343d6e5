/**
 * Blind tunnels: bytes both ways, counted and not read.
 *
 * Rules of this file: a tunnel never carries a secret; the address dialled is checked; where the first bytes are TLS, the name they
 * ask for must be the CONNECT host (threat-model.md A2), so that a tunnel for one host does not front for another. Server-first
 * protocols work: nothing waits for the caller to speak.
 */
import type { Socket } from 'node:net'
import type { Clock, Milliseconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { isIpHost, parseHost, type Target } from '../model/target.ts'
import { MAX_CLIENT_HELLO, parseClientHello } from '../tls/client-hello.ts'
import { acceptEarly } from './accept.ts'
import type { CallerConnection } from './http1-options.ts'
import type { OpenExchange } from './open-exchange.ts'
import { resetSocket } from './reset.ts'
import { Watchdog } from './watchdog.ts'

export type TunnelDeps = {
  readonly clock: Clock
  /** A TCP connection to a checked address of the target. */
  readonly dialTcp: (target: Target, signal: AbortSignal) => Promise<Socket>
  readonly tunnelIdle: Milliseconds
  readonly tunnelAge: Milliseconds
  /** Takes a place among the open tunnels; the result gives it back. @throws SIDECAR_OVERLOADED */
  readonly takeTunnel: () => () => void
  readonly onTunnel: (mode: 'passthrough', result: 'opened') => void
}

type Tunnel = {
  readonly exchange: OpenExchange
  readonly connection: CallerConnection
  readonly target: Target
  /** Called after the dial: throws when the tunnel is no longer allowed. */
  readonly check: () => void
}

/** Opens the tunnel and resolves when both directions have ended. @throws NET_*, UPSTREAM_*, AUDIT_UNAVAILABLE, REQUEST_* */
export async function runTunnel(deps: TunnelDeps, tunnel: Tunnel): Promise<void> {
  const { exchange, connection, target } = tunnel
  exchange.releaseLater(deps.takeTunnel())
  await exchange.intend() // a tunnel carries no credential, but where nothing can be written down nothing passes
  const upstream = await deps.dialTcp(target, exchange.signal)
  if (exchange.signal.aborted) {
    upstream.destroy()
    throw exchange.signal.reason
  }
  try {
    tunnel.check()
  } catch (cause) {
    upstream.destroy()
    throw cause
  }
  exchange.becomesTunnel(target)
  exchange.sending()
  const { socket: caller, early } = acceptEarly(connection)
  deps.onTunnel('passthrough', 'opened')
  await pump(deps, tunnel, { caller, upstream, early })
  exchange.succeeded(200)
}

type Ends = {
  readonly caller: Socket
  readonly upstream: Socket
  /** What the caller had sent before the tunnel stood. */
  readonly early: Buffer
}

function pump(deps: TunnelDeps, { exchange, target }: Tunnel, ends: Ends): Promise<void> {
  const { caller, upstream } = ends
  return new Promise((resolve, reject) => {
    const idle = new Watchdog(deps.clock)
    const age = deps.clock.after(deps.tunnelAge, () => over())
    let open = 2
    const over = (cause?: unknown) => {
      idle.close()
      age.cancel()
      // What was cut must not look like an end: with both directions over these do nothing that either side sees.
      for (const socket of [caller, upstream]) resetSocket(socket)
      if (cause === undefined) resolve()
      else reject(cause)
    }
    const half = () => {
      if (--open > 0) return
      caller.destroy()
      upstream.destroy()
      over()
    }
    idle.arm(deps.tunnelIdle, () => over())
    exchange.onCancel(over)
    const count = (direction: 'bytesToUpstream' | 'bytesToCaller') => (bytes: number) => {
      idle.touch()
      exchange.record[direction] += bytes
    }
    const onError = () => over()
    const onBytesUp = count('bytesToUpstream')
    copy(
      caller,
      upstream,
      { onBytes: onBytesUp, onEnd: half, onError, admit: firstFlight(target, over) },
      ends.early,
    )
    copy(upstream, caller, { onBytes: count('bytesToCaller'), onEnd: half, onError })
  })
}

type CopyOptions = {
  /** Called with the number of bytes passed on. */
  readonly onBytes: (bytes: number) => void
  /** Called when this direction has ended and its last byte has left us. */
  readonly onEnd: () => void
  readonly onError: () => void
  /** Gives the bytes that may pass now; undefined while it holds them back. */
  readonly admit?: (chunk: Buffer) => Buffer | undefined
}

// Half-close is kept: the end of one direction is passed on and the other goes on.
function copy(from: Socket, to: Socket, options: CopyOptions, early?: Buffer): void {
  const pass = (chunk: Buffer) => {
    const bytes = options.admit === undefined ? chunk : options.admit(chunk)
    if (bytes === undefined) return
    options.onBytes(bytes.length)
    if (!to.write(bytes)) from.pause()
  }
  const end = () => to.end(options.onEnd)
  from.on('data', pass)
  to.on('drain', () => from.resume())
  from.on('end', end)
  from.on('error', options.onError)
  from.on('close', () => {
    if (!from.readableEnded) options.onError()
  })
  if (early !== undefined && early.length > 0) pass(early)
  if (from.readableEnded)
    end() // it half-closed while we dialled
  else from.resume()
}

/** Holds back the caller's first bytes until they are a whole ClientHello for the tunnel's host, or no TLS at all. */
function firstFlight(
  target: Target,
  refuse: (cause: unknown) => void,
): (chunk: Buffer) => Buffer | undefined {
  let held: Buffer | undefined = Buffer.alloc(0)
  return chunk => {
    if (held === undefined) return chunk
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk])
    const parsed = parseClientHello(held)
    if (parsed.kind === 'incomplete' && held.length < MAX_CLIENT_HELLO) return undefined
    const isAdmitted =
      parsed.kind === 'not_tls' || (parsed.kind === 'hello' && isFor(parsed.serverName, target))
    if (!isAdmitted) {
      refuse(new CloakroomError('REQUEST_MISDIRECTED', {}))
      return undefined
    }
    const bytes = held
    held = undefined
    return bytes
  }
}

function isFor(serverName: string | undefined, target: Target): boolean {
  if (serverName === undefined) return isIpHost(target.host) // an address has no name to send; a host has
  return parseHost(serverName) === target.host
}
