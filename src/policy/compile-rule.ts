/**
 * One rule as written -> one rule as compiled, with every fault that the rule has by itself.
 *
 * Rule of this file: what cannot be enforced is refused at load (threat-model.md A8, A9; rulings.md 7, 14, 15); nothing is
 * corrected, widened or guessed.
 */
import { parseDuration } from '../base/duration.ts'
import {
  formatHostPattern,
  isEveryPath,
  type PathPattern,
  parseHostPattern,
  parsePathPattern,
} from '../base/glob.ts'
import { nearest } from '../base/validate.ts'
import type { DataPath } from '../base/yaml.ts'
import type { RuleLimits } from '../model/decision.ts'
import { DEFAULT_PORTS, isIpHost, parseAuthority, parseHost } from '../model/target.ts'
import { isName, parseTenantId } from '../model/tenant.ts'
import {
  type CompiledRule,
  DEFAULT_RULE,
  type RuleMode,
  type SwapClause,
  type TargetPattern,
  UNMATCHED_RULE,
  type Written,
} from './compiled.ts'
import { locationKey, parseLocation } from './location.ts'
import type { RuleSource } from './schema.ts'
import { isSharedBase, isSharedByPath } from './shared-hosts.ts'

/** Collects faults of one rule: `at` is the path inside the rule. */
export type Complain = (at: DataPath, message: string, hint?: string) => void

export type RuleContext = {
  readonly callers: readonly string[]
  readonly written: Written
  readonly complain: Complain
}

/** Compiles a rule; undefined when its target cannot be read, so that it has no place among the others. */
export function compileRule(source: RuleSource, context: RuleContext): CompiledRule | undefined {
  const { complain } = context
  if (source.id === DEFAULT_RULE || source.id === UNMATCHED_RULE)
    complain(['id'], 'this name is taken by the program')
  if (source.http2 === true) complain(['http2'], 'HTTP/2 is not supported by this version')
  const mode: RuleMode = source.mode ?? 'intercept'
  const target = compileTarget(source.target, complain)
  const swaps = compileSwaps(source, complain)
  const methods = mode === 'tunnel' ? [] : compileMethods(source, complain)
  const paths = mode === 'tunnel' ? [] : compilePaths(source, complain)
  const callers = compileCallers(source, context)
  if (mode === 'tunnel') refuseInTunnel(source, complain)
  if (target === undefined) return undefined
  if (swaps.length > 0) checkSwapTarget(target, paths, complain)
  return Object.freeze({
    id: source.id,
    callers,
    target,
    mode,
    methods: new Set(methods),
    paths,
    swaps,
    terms: Object.freeze({
      rule: source.id,
      redact: source.response?.redact ?? true,
      limits: compileLimits(source),
      observed: undefined,
    }),
    written: context.written,
  })
}

function compileTarget(text: string, complain: Complain): TargetPattern | undefined {
  const bad = (message: string, hint?: string): undefined => void complain(['target'], message, hint)
  const match = /^(https?):\/\/([^/]*)(.*)$/.exec(text)
  const scheme = match?.[1] as 'http' | 'https' | undefined
  if (match === null || scheme === undefined) {
    return bad('must start with https:// (or http://)', 'for example https://api.example.com')
  }
  if (match[3] !== '') return bad('must not hold a path', 'write the paths under "paths"')
  const authority = match[2] ?? ''
  // A4: one spelling. What is not lower-case ASCII here would never match a request, or would surprise the reader.
  if (/[A-Z]/.test(authority)) return bad('must be in lower case')
  if (/[^\x21-\x7e]/.test(authority))
    return bad('must be ASCII', 'write an international name in its xn-- form')
  const isWildcard = authority.startsWith('*.')
  const parsed = parseAuthority(isWildcard ? authority.slice(2) : authority)
  if (parsed === undefined) {
    return bad(
      'is not host, host:port or *.host',
      authority.includes('*') ? '"*." stands for exactly one label, in front' : undefined,
    )
  }
  if (authority.split(':')[0]?.endsWith('.')) return bad('must not end with a dot')
  const host = parseHostPattern((isWildcard ? '*.' : '') + parsed.host, parseHost)
  if (host === undefined || (isWildcard && isIpHost(parsed.host)))
    return bad('a wildcard stands before names only')
  return Object.freeze({ scheme, host: Object.freeze(host), port: parsed.port ?? DEFAULT_PORTS[scheme] })
}

const NEVER_METHODS: ReadonlySet<string> = new Set(['TRACE', 'TRACK', 'CONNECT'])

function compileMethods(source: RuleSource, complain: Complain): readonly string[] {
  if (source.methods === undefined) complain([], 'needs methods', 'for example: methods: [GET, POST]')
  for (const [i, method] of (source.methods ?? []).entries()) {
    if (NEVER_METHODS.has(method)) complain(['methods', i], 'this method is never forwarded')
    else if (!/^[A-Z][A-Z-]{0,31}$/.test(method))
      complain(['methods', i], 'must be a method in upper case', upperCase(method))
  }
  return [...new Set(source.methods ?? [])]
}

function upperCase(method: string): string | undefined {
  return /^[A-Za-z-]{1,32}$/.test(method) ? `did you mean ${method.toUpperCase()}?` : undefined
}

function compilePaths(source: RuleSource, complain: Complain): readonly PathPattern[] {
  if (source.paths === undefined)
    complain([], 'needs paths', "for example: paths: ['/v1/**'], or ['/**'] for all")
  const paths: PathPattern[] = []
  for (const [i, text] of (source.paths ?? []).entries()) {
    const pattern = parsePathPattern(text)
    if (typeof pattern === 'string') complain(['paths', i], pattern)
    else paths.push(Object.freeze(pattern))
  }
  return Object.freeze(paths)
}

function compileCallers(source: RuleSource, context: RuleContext): ReadonlySet<string> {
  for (const [i, caller] of source.callers.entries()) {
    if (context.callers.includes(caller)) continue
    const meant = nearest(caller, context.callers)
    context.complain(
      ['callers', i],
      'no caller has this name',
      meant === undefined ? undefined : `did you mean ${JSON.stringify(meant)}?`,
    )
  }
  return new Set(source.callers)
}

function compileSwaps(source: RuleSource, complain: Complain): readonly SwapClause[] {
  return Object.freeze(
    (source.swap ?? []).map((clause, i) => {
      const locations = new Set<string>()
      for (const [j, text] of clause.in.entries()) {
        const location = parseLocation(text)
        if (typeof location === 'string') complain(['swap', i, 'in', j], location)
        else locations.add(locationKey(location))
      }
      const secrets = clause.secrets.flatMap((text, j) => {
        const secret = parseSecretPattern(text)
        if (secret === undefined) complain(['swap', i, 'secrets', j], 'must be tenant/name or */name')
        return secret === undefined ? [] : [Object.freeze(secret)]
      })
      return Object.freeze({ secrets: Object.freeze(secrets), locations })
    }),
  )
}

function parseSecretPattern(text: string): SwapClause['secrets'][number] | undefined {
  const [tenantText = '', name = '', ...rest] = text.split('/')
  const tenant = tenantText === '*' ? '*' : parseTenantId(tenantText)
  return tenant === undefined || rest.length > 0 || !isName(name) ? undefined : { tenant, name }
}

function refuseInTunnel(source: RuleSource, complain: Complain): void {
  for (const key of ['methods', 'paths', 'swap', 'response'] as const) {
    if (source[key] !== undefined) complain([key], 'cannot hold in a tunnel, which is passed blind')
  }
  if (source.target.startsWith('http://')) complain(['target'], 'only https:// targets can be tunnelled')
}

function checkSwapTarget(target: TargetPattern, paths: readonly PathPattern[], complain: Complain): void {
  if (target.scheme === 'http') {
    complain(['target'], 'a secret is never sent without TLS', 'use https://, or remove the swap') // A9
  }
  const { host } = target
  if (host.kind === 'wildcard' && isSharedBase(host.base)) {
    const hint = 'name the hosts that are yours, one rule or target each'
    complain(
      ['target'],
      `anybody can get a name under ${formatHostPattern(host)}, so no secret may go there`,
      hint,
    )
  }
  if (host.kind === 'exact' && isSharedByPath(host.host) && paths.some(isEveryPath)) {
    const hint = 'name the paths that are yours'
    complain(['paths'], `on ${host.host} the path says whose it is, so /** may not carry a secret`, hint)
  }
}

const RATE_UNITS = { s: 1, m: 60, h: 3600 } as const

function compileLimits(source: RuleSource): RuleLimits | undefined {
  if (source.limits === undefined) return undefined
  const { rate, burst, concurrency, upstreamHead, idle } = source.limits
  const [amount, unit] = rate?.split('/') ?? []
  const head = upstreamHead === undefined ? undefined : parseDuration(upstreamHead)
  const pause = idle === undefined ? undefined : parseDuration(idle)
  return Object.freeze({
    rate: amount === undefined ? undefined : Number(amount) / RATE_UNITS[unit as keyof typeof RATE_UNITS],
    burst,
    concurrency,
    ...(head === undefined ? {} : { upstreamHead: head }),
    ...(pause === undefined ? {} : { idle: pause }),
  })
}
