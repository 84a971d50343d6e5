/**
 * CONNECT: who asks, for which target, and what to do with the tunnel.
 *
 * Rules of this file: the request-target of CONNECT is the tunnel's one canonical authority (security.md A1); a refused CONNECT
 * closes the connection and whatever was sent after it is discarded unread (A13). An intercepted tunnel is answered 200 before
 * the upstream is dialled, so that errors are told inside TLS; a blind one only after.
 */
import type { Socket } from 'node:net'
import { unreachable } from '../base/assert.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Caller, Presented } from '../model/caller.ts'
import type { ConnectionDecision } from '../model/decision.ts'
import { parseAuthority, type Target, targetOf } from '../model/target.ts'
import type { ExchangeDeps } from './exchange.ts'
import type { Http1Connection } from './http1.ts'
import type { Inbound } from './inbound.ts'
import { type InterceptDeps, intercept } from './intercept.ts'
import type { CallerPlaces } from './limits.ts'
import { OpenExchange } from './open-exchange.ts'
import { runTunnel, type TunnelDeps } from './tunnel.ts'
import { checkHost } from './validate.ts'

export type ConnectDeps = InterceptDeps &
  TunnelDeps & {
    readonly exchange: ExchangeDeps
    readonly callerTunnels: CallerPlaces
    /** Tells metrics how a CONNECT ended up. */
    readonly onTunnel: (mode: 'intercept' | 'passthrough', result: 'opened' | 'refused' | 'failed') => void
  }

/** A tunnel before its first byte says which protocol it carries. */
export type PlannedTunnel = {
  readonly presented: Presented
  readonly caller: Caller
  readonly https: Target
  readonly http: Target
}

/** `target` is the one of the two schemes that the decision was made for. */
type Plan = {
  readonly tunnel: PlannedTunnel
  readonly decision: ConnectionDecision
  readonly target: Target
}

/** Carries one CONNECT request; never throws. */
export async function handleConnect(
  deps: ConnectDeps,
  inbound: Inbound,
  connection: Http1Connection,
): Promise<void> {
  const exchange = new OpenExchange(deps.exchange, inbound)
  exchange.record.entrance = 'tunnel'
  exchange.mustClose = true
  let isIntercepted = false
  try {
    const { tunnel, decision, target } = plan(deps, inbound, exchange)
    connection.socket.once('close', deps.callerTunnels.take(tunnel.caller.id))
    switch (decision.kind) {
      case 'deny':
        exchange.denied({ ...decision, as: 'denied', tenant: undefined })
        throw new CloakroomError('POLICY_DENIED', { rule: decision.rule, reason: decision.reason })
      case 'tunnel':
        exchange.record.rule = decision.rule
        await runTunnel(deps, {
          exchange,
          connection,
          target,
          // The policy may have changed while the upstream took its time to accept (B9, rulings.md 12).
          check: () => recheck(deps, tunnel, target),
        })
        break
      case 'intercept':
        isIntercepted = true
        exchange.abandon() // the requests inside have records of their own
        deps.onTunnel('intercept', 'opened')
        await intercept(deps, tunnel, accept(connection))
        break
      default:
        unreachable(decision)
    }
  } catch (cause) {
    if (isIntercepted) return connection.reset()
    deps.onTunnel('passthrough', exchange.record.sent ? 'failed' : 'refused')
    await exchange.failed(cause)
  } finally {
    if (!isIntercepted) await exchange.close()
  }
}

function recheck(deps: ConnectDeps, tunnel: PlannedTunnel, target: Target): void {
  const policy = deps.exchange.policy()
  if (policy.identify(tunnel.presented).kind !== 'caller') throw new CloakroomError('IDENTITY_REVOKED', {})
  const decision = policy.connection(tunnel.caller, target)
  if (decision.kind === 'tunnel') return
  const reason = decision.kind === 'deny' ? decision.reason : 'no_rule'
  throw new CloakroomError('POLICY_DENIED', { rule: 'default', reason })
}

function plan(deps: ConnectDeps, inbound: Inbound, exchange: OpenExchange): Plan {
  if (inbound.refused !== undefined) throw inbound.refused
  exchange.sawReceived(inbound.head)
  checkHost(inbound.head)
  const authority = parseAuthority(inbound.head.rawTarget)
  if (authority === undefined) throw new CloakroomError('REQUEST_TARGET', { what: 'CONNECT wants host:port' })
  // grpc-go leaves the port out; 443 is what it means (data-path.md 1.1).
  const port = authority.port ?? 443
  const https = targetOf('https', { host: authority.host, port })
  const http = targetOf('http', { host: authority.host, port })
  exchange.sawTarget(https)
  const policy = deps.exchange.policy()
  exchange.record.policy = policy.hash
  const presented = deps.exchange.presented(inbound)
  const identified = policy.identify(presented)
  if (identified.kind !== 'caller')
    throw new CloakroomError(identified.kind === 'none' ? 'IDENTITY_REQUIRED' : 'IDENTITY_REJECTED', {})
  const { caller } = identified
  exchange.sawCaller(caller.id, presented)
  deps.exchange.halt.check(exchange.open)
  const tunnel = { presented, caller, https, http }
  // CONNECT does not say whether TLS or plain HTTP will follow; what fits neither is denied with the reason for TLS.
  const forHttps = policy.connection(caller, https)
  const forHttp = policy.connection(caller, http)
  const isForHttp = forHttps.kind === 'deny' && forHttp.kind !== 'deny'
  return isForHttp
    ? { tunnel, decision: forHttp, target: http }
    : { tunnel, decision: forHttps, target: https }
}

const ESTABLISHED = Buffer.from('HTTP/1.1 200 Connection Established\r\n\r\n', 'latin1')

/** Answers 200 and takes the socket; bytes that came with CONNECT are put back, so that none is lost (peers.md 7). */
export function accept(connection: Http1Connection): Socket {
  const { socket, early } = acceptEarly(connection)
  if (early.length > 0) socket.unshift(early)
  return socket
}

/** As accept; bytes that came with CONNECT are given apart, as nothing can be put back once the caller has half-closed. */
export function acceptEarly(connection: Http1Connection): {
  readonly socket: Socket
  readonly early: Buffer
} {
  const { socket, rest } = connection.detach()
  socket.write(ESTABLISHED)
  return { socket: socket as Socket, early: rest } // real sockets only: in a tunnel CONNECT is refused by its method
}
