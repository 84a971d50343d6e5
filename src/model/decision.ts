/**
 * What policy decides on, and what it answers: places in a message, swaps, permits, decisions.
 *
 * Rule of this file: a Permit is proof that policy allowed an exchange. It is made by policy/decide.ts only
 * (SECURITY I2; test/architecture.test.ts), and nothing fetches a secret without one.
 */
import type { Milliseconds } from '../base/clock.ts'
import type { Caller } from './caller.ts'
import type { SecretInfo, SecretRef } from './secret.ts'
import type { Target } from './target.ts'
import type { TenantId } from './tenant.ts'

/** A place in a message. Header and parameter names: headers in lower case, query names as decoded text. */
export type Location =
  | { readonly in: 'header'; readonly name: string }
  | { readonly in: 'basic'; readonly part: 'user' | 'password' }
  | { readonly in: 'query'; readonly name: string }
  | { readonly in: 'path' }

/** The closed set that metrics use as a label. */
export const LOCATION_KINDS = ['header', 'basic', 'query', 'path', 'body', 'other'] as const
export type LocationKind = (typeof LOCATION_KINDS)[number]

/** Writes a location as policy does: header.authorization, basic.user, query.api_key, path. */
export function formatLocation(location: Location): string {
  switch (location.in) {
    case 'header':
    case 'query':
      return `${location.in}.${location.name}`
    case 'basic':
      return `basic.${location.part}`
    case 'path':
      return 'path'
  }
}

/**
 * One placeholder found in a head.
 *
 * `location` is undefined where no placeholder may ever stand (Host, a cookie's name, an encoded or malformed one …):
 * such a finding refuses the request. `info` is undefined when the store knows no such placeholder.
 */
export type Found = {
  readonly placeholder: string
  readonly location: Location | undefined
  readonly info: SecretInfo | undefined
}

/** What one request asks, as policy sees it. `tenant` is what the caller said (header or proxy user), if anything. */
export type Ask = {
  readonly caller: Caller
  readonly tenant: TenantId | undefined
  readonly target: Target
  readonly method: string
  /** Path and query, as they will be sent. */
  readonly path: string
  readonly found: readonly Found[]
  /** Wall clock, milliseconds since 1970: for expiry. */
  readonly now: number
}

export type Swap = {
  readonly placeholder: string
  readonly secret: SecretRef & { readonly version: number }
  readonly location: Location
}

/** What a rule says besides yes: compiled once at load, shared by all permits of the rule. */
export type RuleTerms = {
  readonly rule: string
  /** Look for the credential in the answer (rulings.md 26). */
  readonly redact: boolean
  readonly limits: RuleLimits | undefined
  /** `observe`: this request would have been denied; it passes, carries no swap, and the record says so. */
  readonly observed: Reason | undefined
}

export type RuleLimits = {
  /** Requests a second; undefined: no limit. */
  readonly rate: number | undefined
  readonly burst: number | undefined
  /** Requests at one time; undefined: no limit. */
  readonly concurrency: number | undefined
  /** Overrides of limits.upstreamHead and limits.idle for this rule. */
  readonly upstreamHead?: Milliseconds
  readonly idle?: Milliseconds
}

const granted: unique symbol = Symbol('granted')

export class Permit {
  readonly [granted] = true
  readonly terms: RuleTerms
  readonly tenant: TenantId | undefined
  readonly swaps: readonly Swap[]

  private constructor(terms: RuleTerms, tenant: TenantId | undefined, swaps: readonly Swap[]) {
    this.terms = terms
    this.tenant = tenant
    this.swaps = swaps
  }

  /** Called by policy/decide.ts and nowhere else. */
  static grant(terms: RuleTerms, tenant: TenantId | undefined, swaps: readonly Swap[]): Permit {
    return new Permit(terms, tenant, swaps)
  }
}

/** Why a request is refused: the closed set of the audit record and of the metric `cloakroom_denials_total`. */
export const REASONS = [
  'no_rule',
  'caller_not_allowed',
  'host_not_allowed',
  'port_not_allowed',
  'scheme_not_allowed',
  'method_not_allowed',
  'path_not_allowed',
  'path_ambiguous',
  'tenant_not_allowed',
  'tenant_unclear',
  'tunnel_only',
  'placeholder_unknown',
  'placeholder_foreign',
  'placeholder_damaged',
  'placeholder_misplaced',
  'placeholder_not_allowed',
  'placeholder_for_other_target',
  'placeholder_too_many',
  'secret_disabled',
  'secret_revoked',
  'secret_expired',
  'secret_not_yet_valid',
  'target_not_secure',
  'target_is_address',
  'body_placeholder',
  'guessing',
  'rate_limited',
  'address_refused',
  'identity_missing',
  'identity_rejected',
  'identity_revoked',
  'request_malformed',
  'halted',
  'audit_unavailable',
  'store_unavailable',
  'overloaded',
] as const
export type Reason = (typeof REASONS)[number]

/**
 * The answer to a request.
 *
 * `refuse` and `deny` differ in what the caller is told: `refuse` is the one uniform SWAP_REFUSED (rulings.md 11), `deny` is
 * POLICY_DENIED, `tenant` is IDENTITY_TENANT.
 */
export type Decision =
  | { readonly kind: 'allow'; readonly permit: Permit }
  | {
      readonly kind: 'deny'
      readonly as: 'denied' | 'refused' | 'tenant'
      readonly rule: string
      readonly tenant: TenantId | undefined
      readonly reason: Reason
    }

/** The answer to CONNECT: what to do with a tunnel to this target for this caller, before any inner request. */
export type ConnectionDecision =
  | { readonly kind: 'intercept' }
  | { readonly kind: 'tunnel'; readonly rule: string }
  | { readonly kind: 'deny'; readonly rule: string; readonly reason: Reason }
