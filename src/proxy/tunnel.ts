/**
 * Blind tunnels: bytes both ways, counted and not read.
 *
 * Rules of this file: a tunnel never carries a secret; the address dialled is checked; where the first bytes are TLS, the name they
 * ask for must be the CONNECT host (security.md A2), so that a tunnel for one host does not front for another. Server-first
 * protocols work: nothing waits for the caller to speak.
 */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock, Milliseconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { isIpHost, parseHost, type Target } from '../model/target.ts'
import { MAX_CLIENT_HELLO, parseClientHello } from '../tls/client-hello.ts'
import { accept } from './connect.ts'
import type { Http1Connection } from './http1.ts'
import type { OpenExchange } from './open-exchange.ts'
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
  readonly connection: Http1Connection
  readonly target: Target
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
  exchange.becomesTunnel(target)
  exchange.sending()
  const caller = accept(connection)
  deps.onTunnel('passthrough', 'opened')
  await pump(deps, tunnel, { caller, upstream })
  exchange.succeeded(200)
}

type Ends = { readonly caller: Socket; readonly upstream: Socket }

function pump(deps: TunnelDeps, { exchange, target }: Tunnel, { caller, upstream }: Ends): Promise<void> {
  return new Promise((resolve, reject) => {
    const idle = new Watchdog(deps.clock)
    const age = deps.clock.after(deps.tunnelAge, () => over())
    let open = 2
    const over = (cause?: unknown) => {
      idle.close()
      age.cancel()
      caller.destroy()
      upstream.destroy()
      if (cause === undefined) resolve()
      else reject(cause)
    }
    const half = () => {
      if (--open === 0) over()
    }
    idle.arm(deps.tunnelIdle, () => over())
    exchange.onCancel(over)
    const count = (direction: 'bytesToUpstream' | 'bytesToCaller') => (bytes: number) => {
      idle.touch()
      exchange.record[direction] += bytes
    }
    const admit = firstFlight(target, over)
    copy(caller, upstream, { onBytes: count('bytesToUpstream'), onEnd: half, onError: () => over(), admit })
    copy(upstream, caller, { onBytes: count('bytesToCaller'), onEnd: half, onError: () => over() })
  })
}

type CopyOptions = {
  readonly onBytes: (bytes: number) => void
  readonly onEnd: () => void
  readonly onError: () => void
  /** Gives the bytes that may pass now; undefined while it holds them back. */
  readonly admit?: (chunk: Buffer) => Buffer | undefined
}

// Half-close is kept: the end of one direction is passed on and the other goes on (data-path.md 2.5).
function copy(from: Duplex, to: Duplex, options: CopyOptions): void {
  from.on('data', (chunk: Buffer) => {
    options.onBytes(chunk.length)
    const bytes = options.admit === undefined ? chunk : options.admit(chunk)
    if (bytes !== undefined && !to.write(bytes)) from.pause()
  })
  to.on('drain', () => from.resume())
  from.on('end', () => {
    to.end()
    options.onEnd()
  })
  from.on('error', options.onError)
  from.on('close', () => {
    if (!from.readableEnded) options.onError()
  })
  from.resume()
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
