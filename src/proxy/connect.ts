/**
 * CONNECT: who asks, for which target, and what to do with the tunnel.
 *
 * Rules of this file: the request-target of CONNECT is the tunnel's one canonical authority (threat-model.md A1); a refused CONNECT
 * closes the connection and whatever was sent after it is discarded unread (A13). An intercepted tunnel is answered 200 before
 * the upstream is dialled, so that errors are told inside TLS; a blind one only after.
 */
import { unreachable } from '../base/assert.ts'
import { CloakroomError } from '../base/errors.ts'
import type { ConnectionDecision } from '../model/decision.ts'
import { parseAuthority, type Target, targetOf } from '../model/target.ts'
import { accept, type PlannedTunnel } from './accept.ts'
import type { ExchangeDeps } from './exchange-deps.ts'
import type { CallerConnection } from './http1-options.ts'
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
  connection: CallerConnection,
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
  // grpc-go leaves the port out; 443 is what it means.
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
