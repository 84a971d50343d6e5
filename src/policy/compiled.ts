/**
 * A policy in the form that requests are decided on: flat, indexed, immutable.
 *
 * Rule of this file: everything is found by exact look-ups (caller, then scheme, host, port); nothing here is built or
 * changed after load. Rules of one list stand with the most specific first, so the first that matches decides.
 */
import type { HostPattern, PathPattern } from '../base/glob.ts'
import { parentOf } from '../base/glob.ts'
import type { Caller } from '../model/caller.ts'
import type { RuleTerms } from '../model/decision.ts'
import type { Scheme, Target } from '../model/target.ts'
import type { TenantId } from '../model/tenant.ts'
import type { WrittenRequest, WrittenSwap } from './request.ts'
import type { TestSource } from './schema.ts'

export const RULE_MODES = ['intercept', 'tunnel', 'observe'] as const
export type RuleMode = (typeof RULE_MODES)[number]

export type TargetPattern = { readonly scheme: Scheme; readonly host: HostPattern; readonly port: number }

/** `tenant` '*' is the exchange's own tenant. Locations in the form of formatLocation. */
export type SwapClause = {
  readonly secrets: readonly { readonly tenant: TenantId | '*'; readonly name: string }[]
  readonly locations: ReadonlySet<string>
}

/** Where a rule, caller or test was written, for messages. */
export type Written = { readonly file: string; readonly line: number; readonly column: number }

export type CompiledRule = {
  readonly id: string
  readonly callers: ReadonlySet<string>
  readonly target: TargetPattern
  readonly mode: RuleMode
  /** Empty for `mode: tunnel`, where neither methods nor paths are seen. */
  readonly methods: ReadonlySet<string>
  readonly paths: readonly PathPattern[]
  readonly swaps: readonly SwapClause[]
  readonly terms: RuleTerms
  readonly written: Written
}

/** All rules of one caller for one target pattern. */
export type TargetRules = {
  readonly rules: readonly CompiledRule[]
  /** Some rule names paths other than `/**`, so paths must have one reading only (threat-model.md B1). */
  readonly hasPathConstraint: boolean
}

export type CompiledCaller = {
  readonly caller: Caller
  /** SHA-256 of the passwords that are in force; empty for a loopback caller. */
  readonly passwordHashes: readonly Buffer[]
  /** By formatTargetKey. */
  readonly targets: ReadonlyMap<string, TargetRules>
  /** Schemes of this caller's rules by host key, to say precisely what did not fit. */
  readonly hosts: ReadonlyMap<string, ReadonlySet<Scheme>>
}

export type CompiledTest = {
  readonly caller: string
  readonly request: WrittenRequest
  readonly tenant: TenantId | undefined
  readonly swaps: readonly WrittenSwap[]
  /** Targets sealed with those secrets; undefined: the request's own. */
  readonly targets: readonly string[] | undefined
  readonly expect: TestSource['expect']
  readonly written: Written
}

export type CompiledPolicy = {
  /** `sha256:` and 64 hexadecimal digits, over all files in their order. */
  readonly hash: string
  readonly unmatched: 'deny' | 'observe'
  readonly callers: ReadonlyMap<string, CompiledCaller>
  /** The caller that shows no password and comes from this machine. */
  readonly loopback: CompiledCaller | undefined
  readonly rules: readonly CompiledRule[]
  /** Host keys that any rule names. */
  readonly hosts: ReadonlySet<string>
  readonly tests: readonly CompiledTest[]
  /** Whether an IP target may get credentials: what upstream.allowAddresses names (rulings.md 7). */
  readonly mayHoldCredentials: (host: string) => boolean
}

/** Rule names in decisions that no written rule made. No rule may be called so. */
export const DEFAULT_RULE = 'default'
export const UNMATCHED_RULE = 'unmatched'

export function hostKey(pattern: HostPattern): string {
  return pattern.kind === 'exact' ? pattern.host : `*.${pattern.base}`
}

export function targetKey(pattern: TargetPattern): string {
  return `${pattern.scheme}://${hostKey(pattern.host)}:${pattern.port}`
}

/** The two keys under which rules for a host may stand: the host itself, and the wildcard over its parent. */
export function hostKeysOf(host: string): readonly string[] {
  const parent = parentOf(host)
  return parent === undefined ? [host] : [host, `*.${parent}`]
}

const NO_RULES: TargetRules = { rules: [], hasPathConstraint: false }

/** The rules of a caller for a target, most specific first: two look-ups, exact host before wildcard. */
export function rulesFor(caller: CompiledCaller, target: Target): TargetRules {
  const [exactHost = target.host, wildcard] = hostKeysOf(target.host)
  const exact = caller.targets.get(`${target.scheme}://${exactHost}:${target.port}`)
  const wide =
    wildcard === undefined ? undefined : caller.targets.get(`${target.scheme}://${wildcard}:${target.port}`)
  if (exact === undefined || wide === undefined) return exact ?? wide ?? NO_RULES
  return {
    rules: [...exact.rules, ...wide.rules],
    hasPathConstraint: exact.hasPathConstraint || wide.hasPathConstraint,
  }
}
