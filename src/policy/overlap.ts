/**
 * How the rules of a policy lie to each other: nested, apart, or crossing.
 *
 * Rule of this file (rulings.md 14, 15): of two rules that share a caller, the one whose requests are all requests of the other
 * is the more specific. Two that cross, or that are equal, have no answer to "which decides?", so they never load (B11).
 */
import { commonPath, hostContains, hostsIntersect, pathContains } from '../base/glob.ts'
import { type CompiledRule, hostKey, type TargetPattern } from './compiled.ts'

/** Two rules that cannot stand together; `second` is the one written later. */
export type Conflict = {
  readonly first: CompiledRule
  readonly second: CompiledRule
  readonly kind: 'tie' | 'mode'
  /** A request that both rules match, such as `GET https://api.example.com/v1/x`. */
  readonly example: string
}

/** Finds every pair that cannot stand together. Quadratic in the rules of one target only. */
export function findConflicts(rules: readonly CompiledRule[]): readonly Conflict[] {
  const conflicts: Conflict[] = []
  for (const [first, second] of neighbours(rules)) {
    const conflict = conflictOf(first, second)
    if (conflict !== undefined) conflicts.push(conflict)
  }
  return conflicts
}

/** Sorts so that a rule stands before every rule that contains it; the order of unrelated rules does not matter. */
export function mostSpecificFirst(rules: readonly CompiledRule[]): readonly CompiledRule[] {
  const contained = new Map(rules.map(rule => [rule, 0]))
  for (const [a, b] of neighbours(rules)) {
    // Containment is transitive, so the outer of two nested rules always contains more rules than the inner.
    if (ruleContains(a, b)) contained.set(a, (contained.get(a) ?? 0) + 1)
    else if (ruleContains(b, a)) contained.set(b, (contained.get(b) ?? 0) + 1)
  }
  return [...rules].sort(
    (a, b) => (contained.get(a) ?? 0) - (contained.get(b) ?? 0) || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0),
  )
}

// Pairs whose targets may meet: grouped by scheme, port and the parent of the host, which a wildcard and its hosts share.
function* neighbours(rules: readonly CompiledRule[]): Generator<readonly [CompiledRule, CompiledRule]> {
  const groups = new Map<string, CompiledRule[]>()
  for (const rule of rules) {
    const { scheme, host, port } = rule.target
    const name = hostKey(host)
    const key = `${scheme} ${port} ${name.slice(name.indexOf('.') + 1)}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [rule])
    else group.push(rule)
  }
  for (const group of groups.values()) {
    for (const [i, first] of group.entries()) {
      for (const second of group.slice(i + 1)) {
        if (targetsIntersect(first.target, second.target)) yield [first, second]
      }
    }
  }
}

function conflictOf(first: CompiledRule, second: CompiledRule): Conflict | undefined {
  if (!meets(first.callers, second.callers)) return undefined
  const isTunnel = (rule: CompiledRule) => rule.mode === 'tunnel'
  const host = exampleHost(first.target, second.target)
  if (isTunnel(first) !== isTunnel(second)) return { first, second, kind: 'mode', example: `CONNECT ${host}` }
  if (isTunnel(first)) {
    const isTie = hostKey(first.target.host) === hostKey(second.target.host)
    return isTie ? { first, second, kind: 'tie', example: `CONNECT ${host}` } : undefined
  }
  const common = commonRequest(first, second)
  if (common === undefined) return undefined
  const isNested = ruleContains(first, second) !== ruleContains(second, first)
  const undecided = isNested ? undecidedPath(first, second) : common.path
  if (undecided === undefined) return undefined
  return { first, second, kind: 'tie', example: `${common.method} ${host}${undecided}` }
}

/**
 * Of two nested rules for one host: a path where the words of rulings.md 14 would choose the outer one all the same, because
 * that has a more exact pattern for it beside a wider one, as in [/v1, /**]. Such a pair has two answers, so it has none.
 */
function undecidedPath(first: CompiledRule, second: CompiledRule): string | undefined {
  if (hostKey(first.target.host) !== hostKey(second.target.host)) return undefined
  const [inner, outer] = ruleContains(first, second) ? [second, first] : [first, second]
  for (const path of inner.paths) {
    for (const wider of outer.paths) {
      const common = commonPath(path, wider)
      if (common !== undefined && !pathContains(wider, path)) return common
    }
  }
  return undefined
}

/** Tells whether every request of `inner` is one of `outer`, callers aside. */
function ruleContains(outer: CompiledRule, inner: CompiledRule): boolean {
  return (
    hostContains(outer.target.host, inner.target.host) &&
    [...inner.methods].every(method => outer.methods.has(method)) &&
    inner.paths.every(path => outer.paths.some(wider => pathContains(wider, path)))
  )
}

function commonRequest(a: CompiledRule, b: CompiledRule): { method: string; path: string } | undefined {
  const method = [...a.methods].find(name => b.methods.has(name))
  if (method === undefined) return undefined
  for (const first of a.paths) {
    for (const second of b.paths) {
      const path = commonPath(first, second)
      if (path !== undefined) return { method, path }
    }
  }
  return undefined
}

function meets(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return [...a].some(name => b.has(name))
}

function targetsIntersect(a: TargetPattern, b: TargetPattern): boolean {
  return a.scheme === b.scheme && a.port === b.port && hostsIntersect(a.host, b.host)
}

function exampleHost(a: TargetPattern, b: TargetPattern): string {
  const exact = a.host.kind === 'exact' ? a : b
  const host = exact.host.kind === 'exact' ? exact.host.host : `x.${exact.host.base}`
  const port = exact.port === (exact.scheme === 'https' ? 443 : 80) ? '' : `:${exact.port}`
  return `${exact.scheme}://${host}${port}`
}
