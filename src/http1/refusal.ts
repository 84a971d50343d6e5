/**
 * Refusals: what the codec says instead of guessing, as plain data.
 *
 * Rule of this file: `what` is one of our own fixed phrases and never holds a byte of the input (threat-model.md K4).
 */
import { unreachable } from '../base/assert.ts'
import { CloakroomError } from '../base/errors.ts'

/** Which leg the bytes came from: a caller's request or an upstream's response. */
export type Side = 'request' | 'response'

export type RefusalCode =
  | 'REQUEST_MALFORMED'
  | 'REQUEST_FRAMING'
  | 'REQUEST_VERSION'
  | 'REQUEST_TRANSFER_CODING'
  | 'REQUEST_HEAD_TOO_LARGE'
  | 'UPSTREAM_MALFORMED'
  | 'UPSTREAM_HEAD_TOO_LARGE'

/** After a refusal nothing more may be read from the connection (E7). `limit` is set for the TOO_LARGE codes, else 0. */
export type Refusal = {
  readonly kind: 'refused'
  readonly code: RefusalCode
  readonly what: string
  readonly limit: number
}

export function refused(code: RefusalCode, what: string): Refusal {
  return { kind: 'refused', code, what, limit: 0 }
}

/** The bytes are no HTTP/1.1 message. */
export function malformed(side: Side, what: string): Refusal {
  return refused(side === 'request' ? 'REQUEST_MALFORMED' : 'UPSTREAM_MALFORMED', what)
}

/** The message does not say in exactly one way where its body ends. */
export function ambiguous(side: Side, what: string): Refusal {
  return refused(side === 'request' ? 'REQUEST_FRAMING' : 'UPSTREAM_MALFORMED', what)
}

export function tooLarge(side: Side, what: string, limit: number): Refusal {
  const code = side === 'request' ? 'REQUEST_HEAD_TOO_LARGE' : 'UPSTREAM_HEAD_TOO_LARGE'
  return { kind: 'refused', code, what, limit }
}

/** Makes the error of a refusal; `target` (formatTarget) names the upstream and is not used for a caller's faults. */
export function refusalError(refusal: Refusal, target: string): CloakroomError {
  const { code, what, limit } = refusal
  switch (code) {
    case 'REQUEST_MALFORMED':
    case 'REQUEST_FRAMING':
      return new CloakroomError(code, { what })
    case 'REQUEST_VERSION':
    case 'REQUEST_TRANSFER_CODING':
      return new CloakroomError(code, {})
    case 'REQUEST_HEAD_TOO_LARGE':
      return new CloakroomError(code, { limit })
    case 'UPSTREAM_MALFORMED':
      return new CloakroomError(code, { target, what })
    case 'UPSTREAM_HEAD_TOO_LARGE':
      return new CloakroomError(code, { target, limit })
    default:
      return unreachable(code)
  }
}
