/**
 * Errors of the control path on the wire: application/problem+json (RFC 9457), for the operator.
 *
 * Rule of this file: an error with a code travels with its details, which hold names, ids and numbers only; everything else
 * travels as INTERNAL_BROKEN_INVARIANT, without its text (threat-model.md K4).
 */
import { CloakroomError, ERRORS, type ErrorCode } from '../base/errors.ts'
import { type Fault, formatFault } from '../base/yaml.ts'

export type Problem = {
  readonly type: 'about:blank'
  readonly title: string
  readonly status: number
  readonly code: ErrorCode
  readonly detail: string
  readonly hint: string
  readonly details: Readonly<Record<string, unknown>>
  /** Every fault of a policy or configuration, formatted, when the error stands for several. */
  readonly faults?: readonly string[]
}

// What answers no request of an app has no status of its own: the operator's request was understood and cannot be done.
const UNPROCESSABLE = 422

export function problemOf(cause: unknown): Problem {
  const error =
    cause instanceof CloakroomError
      ? cause
      : new CloakroomError('INTERNAL_BROKEN_INVARIANT', { what: 'an unexpected error' }, { cause })
  const faults = faultsOf(error)
  return {
    type: 'about:blank',
    title: error.code,
    status: error.status === 0 ? UNPROCESSABLE : error.status,
    code: error.code,
    detail: error.message,
    hint: error.hint,
    details: error.details as Readonly<Record<string, unknown>>,
    ...(faults.length === 0 ? {} : { faults }),
  }
}

/** Makes the error of a problem that arrived; undefined when it is not one that this version knows. */
export function errorOf(problem: unknown): CloakroomError | undefined {
  if (typeof problem !== 'object' || problem === null) return undefined
  const { code, details, faults } = problem as Partial<Problem>
  if (typeof code !== 'string' || !Object.hasOwn(ERRORS, code)) return undefined
  const known = typeof details === 'object' && details !== null ? details : {}
  return new CloakroomError(code, known as never, Array.isArray(faults) ? { cause: { faults } } : {})
}

/** The faults that an error stands for, one text each, with hints on lines of their own; empty when it stands for itself. */
export function faultsOf(error: CloakroomError): readonly string[] {
  const { cause, code } = error
  if (typeof cause !== 'object' || cause === null) return []
  if ('faults' in cause && Array.isArray(cause.faults)) {
    return cause.faults.map((fault: Fault | string) =>
      typeof fault === 'string' ? fault : formatFault(fault),
    )
  }
  // policy/load.ts gives them as lines.
  const hasLines = code === 'POLICY_INVALID' || code === 'POLICY_TESTS_FAILED'
  return hasLines && cause instanceof Error ? cause.message.split(/\n(?! )/) : []
}
