/**
 * Patterns over hosts and paths: `*.example.com` and `/v1/items/*`, compiled to flat lists.
 *
 * Rules of this file: no regular expressions from outside, and matching is linear in the subject (threat-model.md B7, A8). A host's
 * `*` is exactly one label; a path's `*` is exactly one non-empty segment, its `**` stands last and is the rest, or nothing.
 * `contains` and `intersects` compare the sets that patterns stand for, so that overlaps are found at load.
 */

export type HostPattern =
  | { readonly kind: 'exact'; readonly host: string }
  | { readonly kind: 'wildcard'; readonly base: string }

/** Reads a host or `*.base`; `parseHost` reads the plain part, so that it has the normal form of the hosts compared. */
export function parseHostPattern(
  text: string,
  parseHost: (text: string) => string | undefined,
): HostPattern | undefined {
  const isWildcard = text.startsWith('*.')
  const host = parseHost(isWildcard ? text.slice(2) : text)
  if (host === undefined || (isWildcard && host.startsWith('['))) return undefined
  return isWildcard ? { kind: 'wildcard', base: host } : { kind: 'exact', host }
}

export function formatHostPattern(pattern: HostPattern): string {
  return pattern.kind === 'exact' ? pattern.host : `*.${pattern.base}`
}

/** What stands behind a host's first dot; undefined for a single label. A wildcard matches a host by this alone. */
export function parentOf(host: string): string | undefined {
  const dot = host.indexOf('.')
  return dot <= 0 || host.startsWith('[') ? undefined : host.slice(dot + 1)
}

export function matchHost(pattern: HostPattern, host: string): boolean {
  return pattern.kind === 'exact' ? pattern.host === host : parentOf(host) === pattern.base
}

export function hostContains(outer: HostPattern, inner: HostPattern): boolean {
  if (inner.kind === 'exact') return matchHost(outer, inner.host)
  return outer.kind === 'wildcard' && outer.base === inner.base
}

export function hostsIntersect(a: HostPattern, b: HostPattern): boolean {
  return hostContains(a, b) || hostContains(b, a)
}

const ONE: unique symbol = Symbol('*')
const REST: unique symbol = Symbol('**')

/** `text` as written; `segments` without the leading slash. */
export type PathPattern = {
  readonly text: string
  readonly segments: readonly (string | typeof ONE | typeof REST)[]
}

/** Reads a path pattern; a text instead of a pattern says what is wrong with it. */
export function parsePathPattern(text: string): PathPattern | string {
  if (!text.startsWith('/')) return 'must start with "/"'
  if (/[^\x21-\x7e]/.test(text)) return 'must be printable ASCII: write other characters percent-encoded'
  if (/[?#\\;]/.test(text))
    return 'must not hold "?", "#", "\\" or ";": a path pattern is compared with the path alone'
  const parts = text.slice(1).split('/')
  for (const [i, part] of parts.entries()) {
    const isLast = i === parts.length - 1
    if (part === '**' && !isLast) return '"**" may only stand at the end'
    if (part.includes('*') && part !== '*' && part !== '**') return '"*" must be a whole segment'
    if (part === '' && !isLast) return 'must not hold "//"'
    if (part === '.' || part === '..') return 'must not hold dot segments'
  }
  return { text, segments: parts.map(part => (part === '*' ? ONE : part === '**' ? REST : part)) }
}

/** The segments of a path (without query), as matchPath wants them. */
export function segmentsOf(path: string): readonly string[] {
  return path.slice(1).split('/')
}

export function matchPath(pattern: PathPattern, segments: readonly string[]): boolean {
  for (const [i, step] of pattern.segments.entries()) {
    if (step === REST) return true
    const segment = segments[i]
    if (segment === undefined || (step === ONE ? segment === '' : step !== segment)) return false
  }
  return pattern.segments.length === segments.length
}

/** `/**`: every path, so no constraint at all. */
export function isEveryPath(pattern: PathPattern): boolean {
  return pattern.segments[0] === REST
}

/** Tells whether every path of `inner` is one of `outer`. */
export function pathContains(outer: PathPattern, inner: PathPattern): boolean {
  for (let i = 0; ; i++) {
    const a = outer.segments[i]
    const b = inner.segments[i]
    if (a === REST) return true
    if (a === undefined || b === undefined) return a === b
    if (b === REST) return false
    if (a === ONE ? b === '' : a !== b) return false
  }
}

/** Gives a path that both patterns match, or undefined when there is none. */
export function commonPath(a: PathPattern, b: PathPattern): string | undefined {
  const path: string[] = []
  for (let i = 0; ; i++) {
    const x = a.segments[i]
    const y = b.segments[i]
    if (x === REST) return exampleOf([...path, ...b.segments.slice(i)])
    if (y === REST) return exampleOf([...path, ...a.segments.slice(i)])
    if (x === undefined || y === undefined) return x === y ? exampleOf(path) : undefined
    const step = x === ONE ? y : x
    if (y !== ONE && step !== y) return undefined
    if (step === '' && (x === ONE || y === ONE)) return undefined
    path.push(step === ONE ? 'x' : step)
  }
}

function exampleOf(segments: readonly (string | typeof ONE | typeof REST)[]): string {
  return `/${segments.map(step => (step === ONE || step === REST ? 'x' : step)).join('/')}`
}
