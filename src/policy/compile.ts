/**
 * Policy files -> CompiledPolicy, or every fault at once.
 *
 * Rule of this file: pure, and all or nothing. A policy with one fault is no policy; the one in force stays (threat-model.md B9).
 */
import { hash } from 'node:crypto'
import { isEveryPath } from '../base/glob.ts'
import { byPosition } from '../base/validate.ts'
import { type DataPath, type Fault, faultAt, formatPath, type ParsedYaml } from '../base/yaml.ts'
import type { Caller } from '../model/caller.ts'
import type { Scheme } from '../model/target.ts'
import { parseTenantId, type TenantId } from '../model/tenant.ts'
import { type Complain, compileRule } from './compile-rule.ts'
import { compileTest } from './compile-test.ts'
import {
  type CompiledCaller,
  type CompiledPolicy,
  type CompiledRule,
  type CompiledTest,
  hostKey,
  type TargetRules,
  targetKey,
} from './compiled.ts'
import { type Conflict, findConflicts, mostSpecificFirst } from './overlap.ts'
import type { CallerSource } from './schema.ts'
import { type PolicyFile, type PolicyText, readSources } from './source.ts'

export type { PolicyText } from './source.ts'

export type CompileOptions = {
  /** Whether an IP target may get credentials; none may by default (rulings.md 7). */
  readonly mayHoldCredentials?: (host: string) => boolean
}

export type Compiled =
  | { readonly kind: 'compiled'; readonly policy: CompiledPolicy }
  | { readonly kind: 'faults'; readonly faults: readonly Fault[] }

/** Compiles policy files as if they were one: their callers, rules and tests are put together in order. */
export function compilePolicy(texts: readonly PolicyText[], options: CompileOptions = {}): Compiled {
  const faults: Fault[] = []
  const files = readSources(texts, faults)
  // Without the names in a file that is not YAML, every reference to them would be a fault: more noise than help.
  if (files.some(({ parsed }) => parsed.data === undefined)) return { kind: 'faults', faults }
  const drafts = compileCallers(files, faults)
  const names = {
    callers: files.flatMap(({ callerNames }) => callerNames),
    rules: files.flatMap(({ ruleNames }) => ruleNames),
  }
  const rules = compileRules(files, names.callers, faults)
  const tests = compileTests(files, names, faults)
  const unmatched = unmatchedOf(files, faults)
  if (faults.length > 0) return { kind: 'faults', faults: faults.sort(byPosition) }
  return { kind: 'compiled', policy: assemble({ texts, drafts, rules, tests, unmatched }, options) }
}

/** SHA-256 over all texts, each with its length in front, so that moving text between files changes it. */
export function hashTexts(texts: readonly PolicyText[]): string {
  const framed = texts.map(({ text }) => `${Buffer.byteLength(text)}:${text}`).join('')
  return `sha256:${hash('sha256', framed, 'hex')}`
}

type CallerDraft = { readonly caller: Caller; readonly passwordHashes: readonly Buffer[] }

function complainAt(parsed: ParsedYaml, base: DataPath, faults: Fault[]): Complain {
  return (at, message, hint) => faults.push(faultAt(parsed, [...base, ...at], message, hint))
}

function compileCallers(files: readonly PolicyFile[], faults: Fault[]): Map<string, CallerDraft> {
  const drafts = new Map<string, CallerDraft>()
  let loopback: string | undefined
  for (const { parsed, callers } of files) {
    for (const { at, source: written } of callers) {
      const complain = complainAt(parsed, ['callers', at], faults)
      if (drafts.has(written.id)) complain(['id'], 'another caller has this name')
      const draft = compileCaller(written, complain)
      if (draft.caller.via === 'loopback' && loopback !== undefined) {
        complain(
          ['identify', 'source'],
          `caller ${loopback} is known by the same source, so neither could be told`,
        )
      }
      if (draft.caller.via === 'loopback') loopback = written.id
      drafts.set(written.id, draft)
    }
  }
  return drafts
}

function compileCaller(source: CallerSource, complain: Complain): CallerDraft {
  const { proxyAuthorization, source: place, ...later } = source.identify
  for (const key of Object.keys(later)) complain(['identify', key], 'is not supported by this version')
  const known = Number(proxyAuthorization !== undefined) + Number(place !== undefined)
  const isLater = Object.keys(later).length > 0
  if (known !== 1 && !isLater) complain(['identify'], 'needs exactly one of proxyAuthorization and source')
  const hashes = proxyAuthorization?.sha256
  if (proxyAuthorization !== undefined && hashes === undefined) {
    complain(['identify', 'proxyAuthorization'], 'needs sha256', '"cloakroom caller add" makes one')
  }
  const list = hashes === undefined ? [] : typeof hashes === 'string' ? [hashes] : hashes
  const caller: Caller = Object.freeze({
    id: source.id,
    tenants: compileTenants(source.tenants, complain),
    via: place === undefined ? 'proxyAuthorization' : 'loopback',
  })
  return { caller, passwordHashes: Object.freeze(list.map(text => Buffer.from(text, 'hex'))) }
}

function compileTenants(list: readonly string[], complain: Complain): '*' | readonly TenantId[] {
  if (list.length === 1 && list[0] === '*') return '*'
  const tenants: TenantId[] = []
  for (const [i, text] of list.entries()) {
    const tenant = parseTenantId(text)
    if (text === '*') complain(['tenants', i], '"*" stands alone: it means every tenant')
    else if (tenant === undefined) complain(['tenants', i], 'is not a tenant name')
    else tenants.push(tenant)
  }
  return Object.freeze([...new Set(tenants)])
}

function compileRules(
  files: readonly PolicyFile[],
  callers: readonly string[],
  faults: Fault[],
): readonly CompiledRule[] {
  const rules: CompiledRule[] = []
  const seen = new Set<string>()
  for (const { parsed, rules: entries } of files) {
    for (const { at, source: written } of entries) {
      const complain = complainAt(parsed, ['rules', at], faults)
      if (seen.has(written.id)) complain(['id'], 'another rule has this name')
      seen.add(written.id)
      const place = { file: parsed.file, ...parsed.position(['rules', at]) }
      const rule = compileRule(written, { callers, written: place, complain })
      if (rule !== undefined) rules.push(rule)
    }
  }
  faults.push(...findConflicts(rules).map(conflictFault))
  return mostSpecificFirst(rules)
}

function conflictFault({ first, second, kind, example }: Conflict): Fault {
  const other = `rule ${first.id} (${first.written.file}:${first.written.line})`
  const message =
    kind === 'mode'
      ? `rule ${second.id} and ${other} disagree about mode: tunnel for ${example}`
      : `rule ${second.id} and ${other} both match ${example}, and neither is more specific`
  const hint =
    kind === 'mode'
      ? 'a target is passed blind as a whole or not at all'
      : 'make the requests of one a part of the other, or keep them apart by methods, paths or callers'
  return { ...second.written, path: formatPath([]), message, hint }
}

function unmatchedOf(files: readonly PolicyFile[], faults: Fault[]): 'deny' | 'observe' {
  const [first, ...others] = files.filter(({ unmatched }) => unmatched !== undefined)
  for (const { parsed, unmatched } of others) {
    if (unmatched !== first?.unmatched)
      faults.push(faultAt(parsed, ['unmatched'], 'another file says otherwise'))
  }
  return first?.unmatched ?? 'deny'
}

type Parts = {
  readonly texts: readonly PolicyText[]
  readonly drafts: ReadonlyMap<string, CallerDraft>
  readonly rules: readonly CompiledRule[]
  readonly tests: readonly CompiledTest[]
  readonly unmatched: 'deny' | 'observe'
}

function assemble(parts: Parts, options: CompileOptions): CompiledPolicy {
  const callers = new Map<string, CompiledCaller>()
  for (const [id, draft] of parts.drafts)
    callers.set(id, Object.freeze({ ...draft, ...indexRules(id, parts.rules) }))
  return Object.freeze({
    hash: hashTexts(parts.texts),
    unmatched: parts.unmatched,
    callers,
    loopback: [...callers.values()].find(({ caller }) => caller.via === 'loopback'),
    rules: Object.freeze(parts.rules),
    hosts: new Set(parts.rules.map(rule => hostKey(rule.target.host))),
    tests: Object.freeze(parts.tests),
    mayHoldCredentials: options.mayHoldCredentials ?? (() => false),
  })
}

function indexRules(
  caller: string,
  rules: readonly CompiledRule[],
): Pick<CompiledCaller, 'targets' | 'hosts'> {
  const targets = new Map<string, TargetRules>()
  const hosts = new Map<string, Set<Scheme>>()
  for (const rule of rules) {
    if (!rule.callers.has(caller)) continue
    const key = targetKey(rule.target)
    const before = targets.get(key)
    targets.set(key, {
      rules: [...(before?.rules ?? []), rule],
      hasPathConstraint: before?.hasPathConstraint === true || !rule.paths.some(isEveryPath),
    })
    const schemes = hosts.get(hostKey(rule.target.host)) ?? new Set<Scheme>()
    hosts.set(hostKey(rule.target.host), schemes.add(rule.target.scheme))
  }
  return { targets, hosts }
}

function compileTests(
  files: readonly PolicyFile[],
  known: { readonly callers: readonly string[]; readonly rules: readonly string[] },
  faults: Fault[],
): readonly CompiledTest[] {
  return files.flatMap(({ parsed, tests }) =>
    tests.flatMap(({ at, source }) => {
      const written = { file: parsed.file, ...parsed.position(['tests', at]) }
      const complain = complainAt(parsed, ['tests', at], faults)
      return compileTest(source, { ...known, written, complain }) ?? []
    }),
  )
}
