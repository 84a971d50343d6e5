/**
 * THE REQUEST: carries one request to its upstream and its response back.
 *
 * The order of the lines of handleExchange is the security model: identify, decide, resolve, arm, write down, send, redact, close.
 * Nothing fetches a secret without a permit (SECURITY I2), nothing leaves before it is written down (I3), one record an exchange
 * (I8). CONNECT, absolute-form and relay are adapters to this function: there is no second way out.
 */
import { CloakroomError, isError } from '../base/errors.ts'
import type { Caller } from '../model/caller.ts'
import type { Found, Permit } from '../model/decision.ts'
import type { RequestHead } from '../model/message.ts'
import { headerValues } from '../model/message.ts'
import { formatTarget, type Target } from '../model/target.ts'
import { parseTenantId, type TenantId } from '../model/tenant.ts'
import { findInHead } from '../swap/find.ts'
import { createBodyGuard } from '../swap/guard.ts'
import type { SentForm } from '../swap/head.ts'
import { arm, isRedacted } from './arm.ts'
import { guardBody } from './body.ts'
import type { ExchangeDeps, OpenedSecret, PolicySnapshot } from './exchange-deps.ts'
import { forward, type UpstreamAnswer } from './forward.ts'
import type { Inbound } from './inbound.ts'
import { OpenExchange } from './open-exchange.ts'
import { protect } from './protect.ts'
import { validate } from './validate.ts'

export async function handleExchange(deps: ExchangeDeps, inbound: Inbound): Promise<void> {
  const exchange = new OpenExchange(deps, inbound) // 1. the record exists before anything can fail
  try {
    const policy = deps.policy()
    const head = read(inbound, exchange) // 2. one reading of the bytes: target, path, framing
    const asker = identify(deps, policy, exchange, head) // 2a. who asks, anew for every request
    const found = await find(deps, exchange, { head, caller: asker.caller }) // 2b. which secrets are meant: metadata, never values
    const permit = decide(deps, policy, exchange, { head, asker, found }) // 3. deny unless a rule says otherwise
    const values = await resolve(deps, exchange, permit) // 4. no permit, no secret
    const armed = exchange.timed('swap_request', () => arm(head, permit, values, inbound.body.length)) // 5. strip, swap
    exchange.disposeLater({ dispose: () => wipe(armed.forms) })
    await exchange.intend() // 6. written down before a credential leaves; fails closed
    const answer = await send(deps, exchange, { permit, outbound: armed.outbound }) // 7. the only outbound socket
    const safe = protect(answer, { redact: isRedacted(permit), values, forms: armed.forms, exchange }) // 8.
    await inbound.respond(safe.head, safe.body, { close: exchange.mustClose })
    exchange.succeeded(safe.head.status)
  } catch (cause) {
    await exchange.failed(cause)
  } finally {
    await exchange.close() // 9. dispose of values, conclude the audit record, count: exactly once
  }
}

function read(inbound: Inbound, exchange: OpenExchange): RequestHead {
  exchange.sawReceived(inbound.head)
  if (inbound.refused !== undefined) throw inbound.refused
  const head = validate(inbound.head, inbound.facts.tunnel)
  exchange.sawHead(head)
  return head
}

const MOST_LOOKED_UP = 5

type Asker = { readonly caller: Caller; readonly tenant: TenantId | undefined }

function identify(
  deps: ExchangeDeps,
  policy: PolicySnapshot,
  exchange: OpenExchange,
  head: RequestHead,
): Asker {
  exchange.record.policy = policy.hash
  const presented = deps.presented(exchange.inbound)
  const identified = policy.identify(presented)
  if (identified.kind !== 'caller') {
    if (exchange.inbound.facts.entrance === 'relay') throw new CloakroomError('IDENTITY_UNKNOWN_TO_RELAY', {})
    const wasIdentified = exchange.inbound.facts.tunnel !== undefined
    exchange.mustClose = true
    if (wasIdentified) throw new CloakroomError('IDENTITY_REVOKED', {}) // rulings.md 12
    throw new CloakroomError(identified.kind === 'none' ? 'IDENTITY_REQUIRED' : 'IDENTITY_REJECTED', {})
  }
  exchange.sawCaller(identified.caller.id, presented)
  return { caller: identified.caller, tenant: saidTenant(head, identified.tenant) }
}

// rulings.md 10: the header once, or the proxy user; where both say something they must agree.
function saidTenant(head: RequestHead, ofProxyUser: TenantId | undefined): TenantId | undefined {
  const values = headerValues(head.headers, 'cloakroom-tenant')
  if (values.length === 0) return ofProxyUser
  const tenant = values.length === 1 ? parseTenantId(values[0] ?? '') : undefined
  if (tenant === undefined) throw new CloakroomError('REQUEST_MALFORMED', { what: 'Cloakroom-Tenant' })
  if (ofProxyUser !== undefined && tenant !== ofProxyUser) throw new CloakroomError('IDENTITY_TENANT', {})
  return tenant
}

async function find(
  deps: ExchangeDeps,
  exchange: OpenExchange,
  sent: { head: RequestHead; caller: Caller },
): Promise<readonly Found[]> {
  const occurrences = findInHead(sent.head)
  if (occurrences.length === 0) return []
  deps.guesses.check(sent.caller.id) // rulings.md 11: who guesses is not even looked up for
  // Each placeholder once, and no more of them than one request may swap and one: the rest is refused unseen (C9, G8).
  const asked = [...new Set(occurrences.map(occurrence => occurrence.placeholder))].slice(0, MOST_LOOKED_UP)
  const infos = await exchange.timedAsync('secret', () => deps.secrets.locate(asked))
  const known = new Map(asked.map((placeholder, i) => [placeholder, infos[i]]))
  return occurrences.map(occurrence => ({ ...occurrence, info: known.get(occurrence.placeholder) }))
}

function decide(
  deps: ExchangeDeps,
  policy: PolicySnapshot,
  exchange: OpenExchange,
  asked: { head: RequestHead; asker: Asker; found: readonly Found[] },
): Permit {
  const { head, asker, found } = asked
  const decision = exchange.timed('policy', () =>
    policy.decide({
      ...asker,
      target: head.target,
      method: head.method,
      path: head.path,
      found,
      now: deps.clock.now(),
    }),
  )
  if (decision.kind === 'deny') {
    exchange.denied(decision, found)
    if (decision.as === 'refused') throw new CloakroomError('SWAP_REFUSED', {})
    if (decision.as === 'tenant') throw new CloakroomError('IDENTITY_TENANT', {})
    throw new CloakroomError('POLICY_DENIED', { rule: decision.rule, reason: decision.reason })
  }
  const permit = decision.permit
  exchange.permitted(permit)
  const ends = found.flatMap(({ info }) => info?.expiresAt ?? [])
  if (ends.length > 0) exchange.endAt(Math.min(...ends))
  deps.halt.check(exchange.open)
  exchange.releaseLater(deps.limiter.take(permit, asker.caller.id))
  return permit
}

async function resolve(
  deps: ExchangeDeps,
  exchange: OpenExchange,
  permit: Permit,
): Promise<ReadonlyMap<string, OpenedSecret>> {
  if (permit.swaps.length === 0) return new Map()
  try {
    const values = await exchange.timedAsync('secret', () => deps.secrets.resolve(permit, exchange.signal))
    exchange.resolved(permit, values, deps.fingerprint)
    return values
  } catch (cause) {
    // Gone between look-up and fetch: the caller learns no more than it would of one that never was (rulings.md 11).
    if (!isError(cause, 'SECRET_NOT_FOUND') && !isError(cause, 'SWAP_REFUSED')) throw cause
    exchange.withdrawn()
    throw new CloakroomError('SWAP_REFUSED', {}, { cause })
  }
}

// threat-model.md N6: what carried the credential in a form of its own does not outlive the exchange.
function wipe(forms: readonly SentForm[]): void {
  for (const { sent } of forms) sent.fill(0)
}

async function send(
  deps: ExchangeDeps,
  exchange: OpenExchange,
  armed: { permit: Permit; outbound: ReturnType<typeof arm>['outbound'] },
): Promise<UpstreamAnswer> {
  const { permit, outbound } = armed
  const target = outbound.armed.target
  exchange.releaseLater(deps.places.take(exchange.record.caller ?? ''))
  const lease = await deps.acquire({ key: poolKey(permit, target), target, signal: exchange.signal })
  if (exchange.signal.aborted) {
    lease.release()
    throw exchange.signal.reason
  }
  exchange.sending()
  const limits = permit.terms.limits
  const answer = await forward(lease, outbound, guardBody(exchange.inbound.body, createBodyGuard()), {
    clock: deps.clock,
    head: deps.limits.responseHead,
    headTimeout: limits?.upstreamHead ?? deps.limits.upstreamHead,
    idleTimeout: limits?.idle ?? deps.limits.idle,
    onInterim: head => exchange.interim(head),
    onSent: bytes => {
      exchange.record.bytesToUpstream += bytes
    },
    onCancel: run => exchange.onCancel(run),
  })
  exchange.answered()
  return answer
}

// threat-model.md A11: never shared between tenants, rules, targets or credentials.
function poolKey(permit: Permit, target: Target): string {
  const secrets = permit.swaps.map(({ secret }) => `${secret.tenant}/${secret.name}@${secret.version}`)
  return [permit.tenant ?? '', permit.terms.rule, formatTarget(target), ...secrets.sort()].join('\n')
}
