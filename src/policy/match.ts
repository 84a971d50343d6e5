/**
 * Finds the rule that decides a request, or says precisely what did not fit.
 *
 * Rule of this file: names only, nothing about placeholders. Its answer must not depend on what a request holds, so that a
 * denial tells nothing about a placeholder's existence (rulings.md 11).
 */
import { matchPath, segmentsOf } from '../base/glob.ts'
import type { Reason } from '../model/decision.ts'
import type { Target } from '../model/target.ts'
import {
  type CompiledCaller,
  type CompiledPolicy,
  type CompiledRule,
  hostKeysOf,
  rulesFor,
} from './compiled.ts'
import { isAmbiguous, isNeverAcceptable, withoutQuery } from './path.ts'

export type Request = {
  readonly target: Target
  readonly method: string
  readonly path: string
  /** A placeholder stands in the path itself, so it must have one reading only. */
  readonly swapsInPath: boolean
}

/**
 * `observer` is the rule in observe mode (or 'unmatched') that lets a request pass which nothing allows; only where the
 * request is not refused in every mode.
 */
export type Match =
  | { readonly kind: 'rule'; readonly rule: CompiledRule }
  | {
      readonly kind: 'none'
      readonly reason: Reason
      readonly observer: CompiledRule | 'unmatched' | undefined
    }

/** Why one rule does not match a request for its target; undefined when it does. */
export function mismatch(
  rule: CompiledRule,
  method: string,
  segments: readonly string[],
): Reason | undefined {
  if (rule.mode === 'tunnel') return 'tunnel_only'
  if (!rule.paths.some(path => matchPath(path, segments))) return 'path_not_allowed'
  return rule.methods.has(method) ? undefined : 'method_not_allowed'
}

/** Finds the most specific rule of a caller for a request. `caller` undefined: one that the policy does not know. */
export function matchRequest(
  policy: CompiledPolicy,
  caller: CompiledCaller | undefined,
  request: Request,
): Match {
  // B3: both would send back what they got, credentials included.
  if (request.method === 'TRACE' || request.method === 'TRACK') return none('method_not_allowed')
  if (isNeverAcceptable(request.path)) return none('path_ambiguous')
  const unserved = unservedTarget(policy, caller, request.target)
  if (caller === undefined || unserved !== undefined) return unserved ?? none('no_rule')
  const { rules, hasPathConstraint } = rulesFor(caller, request.target)
  const observer = rules.find(rule => rule.mode === 'observe')
  const path = withoutQuery(request.path)
  if ((hasPathConstraint || request.swapsInPath) && isAmbiguous(path)) return none('path_ambiguous', observer)
  return firstMatch(rules, request.method, segmentsOf(path)) ?? none(nearMiss(rules, path), observer)
}

/** Says why a caller has no rule for a target, at the first of host, caller, scheme and port that does not fit. */
export function unservedTarget(
  policy: CompiledPolicy,
  caller: CompiledCaller | undefined,
  target: Target,
): Extract<Match, { kind: 'none' }> | undefined {
  if (caller !== undefined && rulesFor(caller, target).rules.length > 0) return undefined
  const keys = hostKeysOf(target.host)
  const schemes = keys.flatMap(key => [...(caller?.hosts.get(key) ?? [])])
  if (schemes.length > 0)
    return none(schemes.includes(target.scheme) ? 'port_not_allowed' : 'scheme_not_allowed')
  if (keys.some(key => policy.hosts.has(key))) return none('caller_not_allowed')
  const reason = caller === undefined || caller.targets.size === 0 ? 'no_rule' : 'host_not_allowed'
  return none(reason, caller !== undefined && policy.unmatched === 'observe' ? 'unmatched' : undefined)
}

function none(reason: Reason, observer?: CompiledRule | 'unmatched'): Extract<Match, { kind: 'none' }> {
  return { kind: 'none', reason, observer }
}

function firstMatch(
  rules: readonly CompiledRule[],
  method: string,
  segments: readonly string[],
): Match | undefined {
  const rule = rules.find(candidate => mismatch(candidate, method, segments) === undefined)
  return rule === undefined ? undefined : { kind: 'rule', rule }
}

/** The reason for people: a path that some rule names makes it the method's fault, else it is the path's. */
function nearMiss(rules: readonly CompiledRule[], path: string): Reason {
  const segments = segmentsOf(path)
  if (rules.some(rule => rule.mode === 'tunnel')) return 'tunnel_only'
  const pathIsNamed = rules.some(rule => rule.paths.some(pattern => matchPath(pattern, segments)))
  return pathIsNamed ? 'method_not_allowed' : 'path_not_allowed'
}
