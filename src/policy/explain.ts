/**
 * Tells a person why a request is decided as it is: the decision, what every rule says, what every placeholder meets.
 *
 * Rule of this file: for operators only, never part of an answer (rulings.md 11). It asks decide itself and shows masked
 * placeholders and names, never a value (SECURITY I4).
 */
import { formatHostPattern, matchHost, matchPath, segmentsOf } from '../base/glob.ts'
import { type Ask, type Found, formatLocation, type Reason } from '../model/decision.ts'
import type { RefusedPlaceholder } from '../model/exchange.ts'
import { formatSecretRef } from '../model/secret.ts'
import { formatTarget } from '../model/target.ts'
import type { Verdict } from './check.ts'
import { verdictOfDecision } from './check.ts'
import type { CompiledPolicy, CompiledRule, Written } from './compiled.ts'
import { decide } from './decide.ts'
import { withoutQuery } from './path.ts'
import { REASON_TEXTS } from './reasons.ts'

export type RuleExplanation = {
  readonly rule: string
  readonly written: Written
  readonly verdict: 'decides' | 'matches' | 'no_match'
  /** The first thing that does not fit, or what stands above it; empty for the rule that decides. */
  readonly why: string
}

export type FoundExplanation = {
  readonly placeholder: string
  readonly location: string
  readonly secret: string
}

/** What the audit log says of a request that came. */
export type Recorded = {
  readonly request: string
  readonly time: string
  readonly event: string
  readonly outcome: string
  readonly error: string | undefined
  readonly rule: string | undefined
  readonly reason: string | undefined
  /** What the reason means. */
  readonly text: string | undefined
  /** What to do about the error. */
  readonly hint: string | undefined
  readonly refused: readonly RefusedPlaceholder[]
}

export type Explanation = Verdict & {
  readonly recorded?: Recorded
  /** What the policy files say now, where the record says otherwise. */
  readonly now?: Verdict

  /** `POST https://api.example.com:443/v1/items`, without the query. */
  readonly request: string
  readonly caller: string
  readonly tenant: string | undefined
  readonly policy: string
  /** What the reason means and what to do; undefined when the request is allowed. */
  readonly text: string | undefined
  readonly swaps: readonly { readonly secret: string; readonly version: number; readonly location: string }[]
  readonly rules: readonly RuleExplanation[]
  readonly found: readonly FoundExplanation[]
}

/** Explains one request; the same inputs as decide. */
export function explain(policy: CompiledPolicy, ask: Ask): Explanation {
  const decision = decide(policy, ask)
  const verdict = verdictOfDecision(decision)
  const permit = decision.kind === 'allow' ? decision.permit : undefined
  return {
    ...verdict,
    request: `${ask.method} ${formatTarget(ask.target)}${maskedPath(ask)}`,
    caller: ask.caller.id,
    tenant: decision.kind === 'allow' ? permit?.tenant : decision.tenant,
    policy: policy.hash,
    text: verdict.reason === undefined ? undefined : REASON_TEXTS[verdict.reason as Reason],
    swaps: (permit?.swaps ?? []).map(({ secret, location }) => ({
      secret: formatSecretRef(secret),
      version: secret.version,
      location: formatLocation(location),
    })),
    rules: policy.rules.map(rule => explainRule(rule, ask, verdict.rule)),
    found: ask.found.map(explainFound),
  }
}

/** The explanation of a request that came: where it was denied, the record has the last word, whatever the files say now. */
export function withRecord(explanation: Explanation, recorded: Recorded): Explanation {
  if (recorded.outcome !== 'denied') return { ...explanation, recorded }
  const { decision, rule, reason } = explanation
  const isSame = decision === 'deny' && reason === recorded.reason
  return {
    ...explanation,
    recorded,
    decision: 'deny',
    rule: recorded.rule ?? rule,
    reason: recorded.reason,
    text: recorded.text,
    swaps: [],
    ...(isSame ? {} : { now: { decision, rule, reason } }),
  }
}

/** Writes an explanation for a terminal. */
export function formatExplanation(explanation: Explanation): string {
  const { decision, rule, reason, text, caller, tenant, request, found, swaps, rules } = explanation
  const { recorded, now } = explanation
  const lines = [
    ...(recorded === undefined ? [] : formatRecorded(recorded)),
    `${request}`,
    `  caller ${caller}, tenant ${tenant ?? 'not determined'}`,
    `  ${formatVerdict({ decision, rule, reason })}`,
    ...(text === undefined ? [] : [`  ${text}`]),
    ...(now === undefined ? [] : [`  by itself, the policy as it is now says: ${formatVerdict(now)}`]),
    ...(found.length === 0 ? [] : ['placeholders']),
    ...found.map(({ placeholder, location, secret }) => `  ${placeholder} in ${location}: ${secret}`),
    ...(swaps.length === 0 ? [] : ['swaps']),
    ...swaps.map(({ secret, version, location }) => `  ${secret} version ${version} in ${location}`),
    'rules, most specific first',
    ...rules.map(
      one => `  ${MARKS[one.verdict]} ${one.rule} (${one.written.file}:${one.written.line})${because(one)}`,
    ),
  ]
  return `${lines.join('\n')}\n`
}

function formatRecorded({ time, outcome, error, reason, text, hint, refused }: Recorded): string[] {
  return [
    `recorded at ${time}: ${[outcome, error, reason].filter(Boolean).join(', ')}`,
    ...(text === undefined ? [] : [`  ${text}`]),
    ...refused.map(one => `  ${one.placeholder} in ${one.in ?? NOWHERE}: ${one.secret ?? 'not known'}`),
    ...(hint === undefined ? [] : [`  hint: ${hint}`]),
  ]
}

function formatVerdict({ decision, rule, reason }: Verdict): string {
  return `${decision} by ${rule}${reason === undefined ? '' : `: ${reason}`}`
}

const NOWHERE = 'a place where none may stand'
const MARKS = { decides: '=>', matches: ' +', no_match: ' -' } as const

function because({ why }: RuleExplanation): string {
  return why === '' ? '' : `: ${why}`
}

function explainRule(rule: CompiledRule, ask: Ask, deciding: string): RuleExplanation {
  const base = { rule: rule.id, written: rule.written }
  const why = firstMismatch(rule, ask)
  if (rule.id === deciding) return { ...base, verdict: 'decides', why: why ?? '' }
  if (why !== undefined) return { ...base, verdict: 'no_match', why }
  return { ...base, verdict: 'matches', why: `${deciding} decides` }
}

/** The first thing about a rule that does not fit; the order is that of match.ts. */
function firstMismatch(rule: CompiledRule, ask: Ask): string | undefined {
  const { target } = ask
  if (!matchHost(rule.target.host, target.host)) return `is for ${formatHostPattern(rule.target.host)}`
  if (!rule.callers.has(ask.caller.id)) return `is for ${[...rule.callers].join(', ')}`
  if (rule.target.scheme !== target.scheme) return `is for ${rule.target.scheme}`
  if (rule.target.port !== target.port) return `is for port ${rule.target.port}`
  if (rule.mode === 'tunnel') return 'passes the target blind'
  const segments = segmentsOf(withoutQuery(ask.path))
  if (!rule.paths.some(path => matchPath(path, segments))) {
    return `is for paths ${rule.paths.map(path => path.text).join(', ')}`
  }
  return rule.methods.has(ask.method) ? undefined : `is for methods ${[...rule.methods].join(', ')}`
}

function explainFound({ placeholder, location, info }: Found): FoundExplanation {
  return {
    placeholder: mask(placeholder),
    location: location === undefined ? NOWHERE : formatLocation(location),
    secret:
      info === undefined
        ? 'not known'
        : `${formatSecretRef(info.ref)}, ${info.state}, for ${info.targets.join(' ')}`,
  }
}

// A placeholder is a right to use; its last four characters tell people which one it is (model/exchange.ts).
function mask(placeholder: string): string {
  if (placeholder.includes('…')) return placeholder // out of a record
  return placeholder.length < 16 ? '…' : `${placeholder.slice(0, 6)}…${placeholder.slice(-4)}`
}

function maskedPath({ path, found }: Ask): string {
  return found.reduce(
    (text, { placeholder }) => text.replaceAll(placeholder, mask(placeholder)),
    withoutQuery(path),
  )
}
