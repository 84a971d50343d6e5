/**
 * Runs the tests that a policy carries (given, expect) against its own rules.
 *
 * Rule of this file: a test asks the very functions that requests ask; there is no second reading of the policy.
 */
import type { Decision, Found } from '../model/decision.ts'
import { formatTarget } from '../model/target.ts'
import type { CompiledPolicy, CompiledTest, Written } from './compiled.ts'
import { decide, decideConnection } from './decide.ts'

/** What a request got, in the words of `expect`. */
export type Verdict = {
  readonly decision: string
  readonly rule: string
  readonly reason: string | undefined
}

export type TestResult = {
  readonly written: Written
  /** The request and the caller, for the report. */
  readonly name: string
  readonly ok: boolean
  /** For people: what was expected and what came; empty when ok. */
  readonly difference: string
}

/** Runs every test; `now` is the wall clock that expiry would be compared with. */
export function runPolicyTests(policy: CompiledPolicy, now: number): readonly TestResult[] {
  return policy.tests.map(test => {
    const verdict = verdictOf(policy, test, now)
    const wrong = (['decision', 'rule', 'reason'] as const).filter(
      key => test.expect[key] !== undefined && test.expect[key] !== verdict[key],
    )
    const difference = wrong
      .map(key => `expected ${key} ${test.expect[key]}, got ${verdict[key] ?? 'none'}`)
      .join('; ')
    return { written: test.written, name: nameOf(test), ok: wrong.length === 0, difference }
  })
}

/** Writes a result as one line: `policy.yaml:30:5: ok: …` or what was expected and what came. */
export function formatTestResult({ written, name, ok, difference }: TestResult): string {
  return `${written.file}:${written.line}:${written.column}: ${ok ? 'ok' : 'FAILED'}: ${name}${ok ? '' : `: ${difference}`}`
}

function nameOf({ caller, request }: CompiledTest): string {
  return `${caller} ${request.method} ${formatTarget(request.target)}${request.method === 'CONNECT' ? '' : request.path}`
}

function verdictOf(policy: CompiledPolicy, test: CompiledTest, now: number): Verdict {
  const { request } = test
  const known = policy.callers.get(test.caller)
  if (known === undefined) return { decision: 'deny', rule: 'default', reason: 'no_rule' }
  if (request.method === 'CONNECT') {
    const answer = decideConnection(policy, known.caller, request.target)
    if (answer.kind === 'deny') return { decision: 'deny', rule: answer.rule, reason: answer.reason }
    return { decision: answer.kind, rule: answer.kind === 'tunnel' ? answer.rule : '', reason: undefined }
  }
  const { caller } = known
  return verdictOfDecision(
    decide(policy, { ...request, caller, tenant: test.tenant, found: foundIn(test), now }),
  )
}

export function verdictOfDecision(decision: Decision): Verdict {
  if (decision.kind === 'deny') return { decision: 'deny', rule: decision.rule, reason: decision.reason }
  const { rule, observed } = decision.permit.terms
  return { decision: observed === undefined ? 'allow' : 'observe', rule, reason: observed }
}

// A test names secrets, not placeholders: they stand for active ones that are sealed to the request's own target.
function foundIn({ swaps, targets, request }: CompiledTest): readonly Found[] {
  const sealedTargets = targets ?? [formatTarget(request.target)]
  return swaps.map(({ tenant, name, location }) => ({
    placeholder: `${tenant}/${name}`,
    location,
    info: { ref: { tenant, name, version: 1 }, targets: sealedTargets, state: 'active' },
  }))
}
