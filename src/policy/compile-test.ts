/**
 * One policy test as written -> one that can be run, with the faults that it has by itself.
 */
import { nearest } from '../base/validate.ts'
import { REASONS } from '../model/decision.ts'
import { formatTarget, parseTarget } from '../model/target.ts'
import { parseTenantId } from '../model/tenant.ts'
import type { Complain } from './compile-rule.ts'
import { type CompiledTest, DEFAULT_RULE, UNMATCHED_RULE, type Written } from './compiled.ts'
import { parseRequestText, parseSwapText, type WrittenSwap } from './request.ts'
import type { TestSource } from './schema.ts'

export type TestContext = {
  readonly callers: readonly string[]
  readonly rules: readonly string[]
  readonly written: Written
  readonly complain: Complain
}

/** Compiles a test; undefined when there are faults, all of which have been told. */
export function compileTest(source: TestSource, context: TestContext): CompiledTest | undefined {
  const { given, expect } = source
  const complain: Complain = context.complain
  const request = parseRequestText(given.request)
  if (request === undefined) {
    complain(
      ['given', 'request'],
      'must be METHOD and URL',
      'for example: POST https://api.example.com/v1/items',
    )
  }
  checkKnown(given.caller, context.callers, 'no caller has this name', message =>
    complain(['given', 'caller'], ...message),
  )
  if (expect.rule !== undefined) {
    const rules = [...context.rules, DEFAULT_RULE, UNMATCHED_RULE]
    checkKnown(expect.rule, rules, 'no rule has this name', message =>
      complain(['expect', 'rule'], ...message),
    )
  }
  if (expect.reason !== undefined) {
    checkKnown(expect.reason, REASONS, 'no such reason', message =>
      complain(['expect', 'reason'], ...message),
    )
  }
  const tenant = given.tenant === undefined ? undefined : parseTenantId(given.tenant)
  if (given.tenant !== undefined && tenant === undefined)
    complain(['given', 'tenant'], 'is not a tenant name')
  const swaps = compileTestSwaps(given.swap, complain)
  const targets = compileTestTargets(given.targets, complain)
  const isConnection = request?.method === 'CONNECT'
  const forConnection: readonly string[] = ['intercept', 'tunnel']
  if (
    request !== undefined &&
    expect.decision !== 'deny' &&
    forConnection.includes(expect.decision) !== isConnection
  ) {
    complain(['expect', 'decision'], `is not a decision on ${isConnection ? 'CONNECT' : 'a request'}`)
  }
  if (request === undefined) return undefined
  return { caller: given.caller, request, tenant, swaps, targets, expect, written: context.written }
}

function checkKnown(
  word: string,
  known: readonly string[],
  message: string,
  tell: (message: readonly [string, string?]) => void,
): void {
  if (known.includes(word)) return
  const meant = nearest(word, known)
  tell(meant === undefined ? [message] : [message, `did you mean ${JSON.stringify(meant)}?`])
}

function compileTestSwaps(
  written: string | readonly string[] | undefined,
  complain: Complain,
): readonly WrittenSwap[] {
  const texts = written === undefined ? [] : typeof written === 'string' ? [written] : written
  return texts.flatMap(text => {
    const swap = parseSwapText(text)
    if (typeof swap === 'string') complain(['given', 'swap'], swap)
    return typeof swap === 'string' ? [] : [swap]
  })
}

function compileTestTargets(
  written: readonly string[] | undefined,
  complain: Complain,
): readonly string[] | undefined {
  return written?.flatMap((text, i) => {
    const target = parseTarget(text)
    if (target === undefined) complain(['given', 'targets', i], 'must be https://host or https://host:port')
    return target === undefined ? [] : [formatTarget(target)]
  })
}
