/**
 * Decides: may this caller send this request, and which placeholders of it may be swapped?
 *
 * Rules of this file: pure and synchronous; deny unless a rule says otherwise (SECURITY I1); the only place that grants a
 * Permit (SECURITY I2). What is answered as 'denied' never depends on the placeholders in the request, and everything that does
 * is answered as the one uniform 'refused' (rulings.md 11); the reason is for the audit record alone.
 */
import type { Ask, ConnectionDecision, Decision, Found, Reason, RuleTerms, Swap } from '../model/decision.ts'
import { Permit } from '../model/decision.ts'
import { formatTarget, isIpHost, type Target } from '../model/target.ts'
import type { TenantId } from '../model/tenant.ts'
import {
  type CompiledPolicy,
  type CompiledRule,
  DEFAULT_RULE,
  rulesFor,
  type SwapClause,
  UNMATCHED_RULE,
} from './compiled.ts'
import { locationKey } from './location.ts'
import { type Match, matchRequest, unservedTarget } from './match.ts'

const MAX_SWAPS = 4 // C9: an amplification bound; real requests carry one or two

/** Decides on one request. `ask.found` has every placeholder of its head, looked up. */
export function decide(policy: CompiledPolicy, ask: Ask): Decision {
  const tenant = claimedTenant(ask)
  if (tenant === 'not_allowed') return deny('tenant', DEFAULT_RULE, ask.tenant, 'tenant_not_allowed')
  const swapsInPath = ask.found.some(found => found.location?.in === 'path')
  const match = matchRequest(policy, policy.callers.get(ask.caller.id), { ...ask, swapsInPath })
  if (match.kind === 'none') return withoutRule(match, ask, tenant)
  return decideSwaps(policy, match.rule, ask, tenant)
}

/** Decides on CONNECT: whether a tunnel to the target may be opened, and whether we look inside. */
export function decideConnection(
  policy: CompiledPolicy,
  caller: { readonly id: string },
  target: Target,
): ConnectionDecision {
  const known = policy.callers.get(caller.id)
  const unserved = unservedTarget(policy, known, target)
  if (unserved?.observer === 'unmatched') return { kind: 'tunnel', rule: UNMATCHED_RULE }
  if (unserved !== undefined || known === undefined) {
    return { kind: 'deny', rule: DEFAULT_RULE, reason: unserved?.reason ?? 'no_rule' }
  }
  // Rules that disagree about mode for one target never load (rulings.md 15), so the first speaks for all.
  const [first] = rulesFor(known, target).rules
  return first?.mode === 'tunnel' ? { kind: 'tunnel', rule: first.id } : { kind: 'intercept' }
}

function deny(
  as: 'denied' | 'refused' | 'tenant',
  rule: string,
  tenant: TenantId | undefined,
  reason: Reason,
): Decision {
  return { kind: 'deny', as, rule, tenant, reason }
}

/** The tenant that the caller's word or its single tenant gives; undefined when placeholders must tell (rulings.md 10). */
function claimedTenant({ caller, tenant }: Ask): TenantId | undefined | 'not_allowed' {
  if (tenant !== undefined) return mayActFor(caller.tenants, tenant) ? tenant : 'not_allowed'
  return caller.tenants !== '*' && caller.tenants.length === 1 ? caller.tenants[0] : undefined
}

function mayActFor(tenants: '*' | readonly TenantId[], tenant: TenantId): boolean {
  return tenants === '*' || tenants.includes(tenant)
}

const OBSERVED_TERMS = { redact: true, limits: undefined } as const

/** What no rule allows is denied, unless something observes it and it holds no placeholder (rulings.md 15). */
function withoutRule(match: Match & { kind: 'none' }, ask: Ask, tenant: TenantId | undefined): Decision {
  const { observer, reason } = match
  if (observer === undefined || ask.found.length > 0) return deny('denied', DEFAULT_RULE, tenant, reason)
  const terms: RuleTerms =
    observer === 'unmatched'
      ? { ...OBSERVED_TERMS, rule: UNMATCHED_RULE, observed: reason }
      : { ...observer.terms, observed: reason }
  return { kind: 'allow', permit: Permit.grant(terms, tenant, []) }
}

function decideSwaps(
  policy: CompiledPolicy,
  rule: CompiledRule,
  ask: Ask,
  claimed: TenantId | undefined,
): Decision {
  const tenant = claimed ?? sharedTenant(ask.found)
  const swaps: Swap[] = []
  for (const found of ask.found) {
    const checked = checkPlaceholder({ policy, rule, ask, tenant }, found)
    if (typeof checked === 'string') return deny('refused', rule.id, nameable(ask, tenant), checked)
    swaps.push(checked)
  }
  if (swaps.length > MAX_SWAPS) return deny('refused', rule.id, tenant, 'placeholder_too_many')
  return { kind: 'allow', permit: Permit.grant(rule.terms, tenant, swaps) }
}

/** The tenant that all known placeholders share; undefined when there is none, or more than one. */
function sharedTenant(found: readonly Found[]): TenantId | undefined {
  const tenants = new Set(found.flatMap(({ info }) => (info === undefined ? [] : [info.ref.tenant])))
  const [first] = tenants
  return tenants.size === 1 ? first : undefined
}

// A tenant that only a foreign placeholder named is not the caller's, and stands in no record of the caller's.
function nameable(ask: Ask, tenant: TenantId | undefined): TenantId | undefined {
  return tenant !== undefined && mayActFor(ask.caller.tenants, tenant) ? tenant : undefined
}

type Context = {
  readonly policy: CompiledPolicy
  readonly rule: CompiledRule
  readonly ask: Ask
  readonly tenant: TenantId | undefined
}

/** Gives the swap that the rule allows, or the reason why not. The order of the checks is the order of the reasons. */
function checkPlaceholder(context: Context, found: Found): Swap | Reason {
  const { ask, tenant, rule } = context
  const { location, info, placeholder } = found
  if (location === undefined) return placeholder === '' ? 'placeholder_damaged' : 'placeholder_misplaced'
  if (info === undefined) return 'placeholder_unknown'
  // SECURITY I6: the wall between tenants stands before anything that a rule could say.
  if (tenant === undefined)
    return mayActFor(ask.caller.tenants, info.ref.tenant) ? 'tenant_unclear' : 'placeholder_foreign'
  if (info.ref.tenant !== tenant || !mayActFor(ask.caller.tenants, tenant)) return 'placeholder_foreign'
  const clauses = rule.swaps.filter(clause => names(clause, info.ref.name, tenant))
  // B3: OPTIONS is a browser's preflight and never carries credentials.
  if (clauses.length === 0 || ask.method === 'OPTIONS') return 'placeholder_not_allowed'
  if (!clauses.some(clause => clause.locations.has(locationKey(location)))) return 'placeholder_misplaced'
  // B10: the second lock. Policy narrows the targets sealed with the secret and never widens them.
  if (!info.targets.includes(formatTarget(ask.target))) return 'placeholder_for_other_target'
  return checkState(found, ask.now) ?? checkTarget(context) ?? { placeholder, secret: info.ref, location }
}

function names(clause: SwapClause, name: string, tenant: TenantId): boolean {
  return clause.secrets.some(
    secret => secret.name === name && (secret.tenant === '*' || secret.tenant === tenant),
  )
}

function checkState({ info }: Found, now: number): Reason | undefined {
  if (info?.state === 'disabled') return 'secret_disabled'
  if (info?.state !== 'active') return 'secret_revoked'
  if (info.notBefore !== undefined && now < info.notBefore) return 'secret_not_yet_valid'
  return info.expiresAt !== undefined && now >= info.expiresAt ? 'secret_expired' : undefined
}

function checkTarget({ policy, ask }: Context): Reason | undefined {
  if (ask.target.scheme !== 'https') return 'target_not_secure' // A9
  const { host } = ask.target
  return isIpHost(host) && !policy.mayHoldCredentials(host) ? 'target_is_address' : undefined // A7, rulings.md 7
}
