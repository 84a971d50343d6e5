/**
 * Connections to upstreams: resolve, check, connect to the very address checked, verify the certificate.
 *
 * Rules of this file: nothing else in this program opens a connection to an upstream (SECURITY I5); the name that policy
 * decided on is the name in SNI and the name that the certificate must carry (threat-model.md A1, H3); a certificate that is not
 * acceptable ends the connection before a byte of a request.
 */
import type { Socket } from 'node:net'
import { connect as connectTls, type SecureContext, type TLSSocket } from 'node:tls'
import { type Clock, type Milliseconds, seconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { bareHost, formatTarget, isIpHost, type Target } from '../model/target.ts'
import { connectFirst } from './attempt.ts'
import { errorFrom, type UpstreamHandshakeResult, upstreamHandshakeResult } from './failure.ts'
import { type CheckedEndpoint, createResolver, type ResolverOptions } from './resolve.ts'

export const DIAL_TIMEOUTS = { dns: seconds(5), connect: seconds(10), tls: seconds(10) } as const

export type DialPhase = 'dns' | 'tcp' | 'tls'

export type DialerOptions = Omit<ResolverOptions, 'timeout'> & {
  /** What upstream certificates are checked against: tls/trust.ts. */
  readonly trust: { readonly secureContext: SecureContext }
  readonly timeouts?: {
    readonly dns?: Milliseconds
    readonly connect?: Milliseconds
    readonly tls?: Milliseconds
  }
  readonly onTiming?: (phase: DialPhase, duration: Milliseconds) => void
  readonly onHandshake?: (result: UpstreamHandshakeResult) => void
}

export type Connected = { readonly socket: Socket; readonly endpoint: CheckedEndpoint }

export type ConnectedTls = {
  readonly socket: TLSSocket
  readonly endpoint: CheckedEndpoint
  /** A TLS session was resumed; its certificate was verified when the session began. */
  readonly resumed: boolean
}

export type TlsDial = {
  readonly signal: AbortSignal
  /** From an earlier connection with the same pool key, and no other: a session skips the check of the name. */
  readonly session?: Buffer
  /** Called with sessions for later connections, also after the handshake. */
  readonly onSession?: (session: Buffer) => void
}

export type Dialer = {
  /** @throws NET_*, UPSTREAM_REFUSED, UPSTREAM_UNREACHABLE, UPSTREAM_CONNECT_TIMEOUT; the signal's reason. */
  dialTcp(target: Target, signal: AbortSignal): Promise<Connected>
  /** As dialTcp, then TLS. @throws UPSTREAM_CERTIFICATE, UPSTREAM_TLS, UPSTREAM_CLOSED, UPSTREAM_CONNECT_TIMEOUT */
  dialTls(target: Target, options: TlsDial): Promise<ConnectedTls>
}

/** @throws CONFIG_INVALID when an override of a name is malformed. */
export function createDialer(options: DialerOptions): Dialer {
  const { clock } = options
  const timeouts = { ...DIAL_TIMEOUTS, ...options.timeouts }
  const resolver = createResolver({ ...options, timeout: timeouts.dns })

  const timed = async <T>(phase: DialPhase, wait: () => Promise<T>): Promise<T> => {
    const started = clock.monotonic()
    try {
      return await wait()
    } finally {
      options.onTiming?.(phase, clock.monotonic() - started)
    }
  }

  const dialTcp = async (target: Target, signal: AbortSignal): Promise<Connected> => {
    const endpoints = await timed('dns', () => resolver.resolve(target, signal))
    const attempt = { target, clock, timeout: timeouts.connect, signal }
    return timed('tcp', () => connectFirst(endpoints, attempt))
  }

  const dialTls = async (target: Target, dial: TlsDial): Promise<ConnectedTls> => {
    const { socket: raw, endpoint } = await dialTcp(target, dial.signal)
    try {
      const handshake = {
        target,
        clock,
        timeout: timeouts.tls,
        context: options.trust.secureContext,
        ...dial,
      }
      const socket = await timed('tls', () => shakeHands(raw, handshake))
      options.onHandshake?.('ok')
      return { socket, endpoint, resumed: socket.isSessionReused() }
    } catch (cause) {
      raw.destroy()
      if (!dial.signal.aborted) options.onHandshake?.(upstreamHandshakeResult(cause))
      throw dial.signal.aborted ? dial.signal.reason : errorFrom(cause, target, 'tls')
    }
  }

  return { dialTcp, dialTls }
}

type Handshake = TlsDial & {
  readonly target: Target
  readonly clock: Clock
  readonly timeout: Milliseconds
  readonly context: SecureContext
}

function shakeHands(raw: Socket, handshake: Handshake): Promise<TLSSocket> {
  const { target, signal, onSession } = handshake
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const socket = connectTls(tlsOptions(raw, handshake))
    const tooLate = () =>
      stop(
        new CloakroomError('UPSTREAM_CONNECT_TIMEOUT', {
          target: formatTarget(target),
          waited: handshake.timeout,
        }),
      )
    const timer = handshake.clock.after(handshake.timeout, tooLate)
    const onAbort = () => stop(signal.reason)
    const onClose = () => stop(Object.assign(new Error('closed in the handshake'), { code: 'ECONNRESET' }))
    const settle = () => {
      timer.cancel()
      signal.removeEventListener('abort', onAbort)
      socket.off('close', onClose)
    }
    const stop = (cause: unknown) => {
      settle()
      socket.destroy()
      reject(cause)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    socket.on('error', stop) // stays: an error after the handshake comes out as `close`, and stop does nothing more then
    socket.once('close', onClose)
    if (onSession !== undefined) socket.on('session', onSession)
    socket.once('secureConnect', () => {
      settle()
      resolve(socket)
    })
  })
}

function tlsOptions(raw: Socket, handshake: Handshake) {
  const { target, session } = handshake
  const host = bareHost(target.host)
  return {
    socket: raw,
    secureContext: handshake.context,
    rejectUnauthorized: true, // stated, so that NODE_TLS_REJECT_UNAUTHORIZED has no say (threat-model.md H3)
    ALPNProtocols: ['http/1.1'],
    // `host` is what the certificate must be for. An address never goes into SNI (RFC 6066 3), and is checked as an address.
    host,
    ...(isIpHost(target.host) ? {} : { servername: host }),
    ...(session === undefined ? {} : { session }),
  }
}
