/**
 * How an exchange that failed is written down, and whether its connection may go on.
 *
 * Rule of this file: tables only. What the caller is told is in respond.ts and depends on the code alone; the reason is for
 * the audit record (rulings.md 11).
 */
import type { CloakroomError, ErrorCode } from '../base/errors.ts'
import type { Reason } from '../model/decision.ts'
import type { Outcome, OutcomeKind } from '../model/exchange.ts'

/**
 * After these the connection is closed: its state is in doubt, or its next request must not ride on this one (E7), or bytes
 * that were meant for another protocol or another identity may follow (A13, I1).
 */
const CLOSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'REQUEST_MALFORMED',
  'REQUEST_FRAMING',
  'REQUEST_HEAD_TOO_LARGE',
  'REQUEST_VERSION',
  'REQUEST_TRANSFER_CODING',
  'REQUEST_TIMEOUT',
  'REQUEST_TARGET',
  'REQUEST_METHOD',
  'REQUEST_UPGRADE',
  'REQUEST_MISDIRECTED',
  'REQUEST_PROTOCOL',
  'IDENTITY_REJECTED',
  'IDENTITY_REVOKED',
  'SWAP_REFUSED_IN_BODY',
  'SIDECAR_DRAINING',
  'INTERNAL_BROKEN_INVARIANT',
])

/** Tells whether the caller's connection may not serve another request after this answer. */
export function closesConnection(error: CloakroomError): boolean {
  return CLOSING.has(error.code)
}

type Failure = {
  /** Bytes of the request may have reached the upstream. */
  readonly sent: boolean
  /** The caller gets a whole answer with the error's status. */
  readonly isAnswered: boolean
  readonly reason: Reason | undefined
}

/** What the record says of an exchange that failed. */
export function failedOutcome(error: CloakroomError, { sent, isAnswered, reason }: Failure): Outcome {
  return {
    kind: kindOf(error, sent),
    ...(isAnswered ? { status: error.status } : {}),
    error: error.code,
    source: error.source,
    ...(reason === undefined ? {} : { reason }),
  }
}

function kindOf(error: CloakroomError, sent: boolean): OutcomeKind {
  if (error.code === 'REQUEST_ABORTED') return 'client_abort'
  switch (error.source) {
    case 'upstream':
      return 'upstream_error'
    case 'caller':
    case 'policy':
      return 'denied'
    default:
      return sent || error.code !== 'SIDECAR_HALTED' ? 'proxy_error' : 'denied'
  }
}

const REASON_OF: { readonly [code in ErrorCode]?: Reason } = {
  SWAP_REFUSED: 'placeholder_damaged', // policy said yes, and the shape in front of the placeholder is not the secret's
  SWAP_REFUSED_IN_BODY: 'body_placeholder',
  SWAP_GUESSING: 'guessing',
  IDENTITY_REQUIRED: 'identity_missing',
  IDENTITY_UNKNOWN_TO_RELAY: 'identity_missing',
  IDENTITY_REJECTED: 'identity_rejected',
  IDENTITY_REVOKED: 'identity_revoked',
  IDENTITY_TENANT: 'tenant_not_allowed',
  POLICY_RATE_LIMITED: 'rate_limited',
  NET_ADDRESS_REFUSED: 'address_refused',
  SIDECAR_HALTED: 'halted',
  SIDECAR_OVERLOADED: 'overloaded',
  AUDIT_UNAVAILABLE: 'audit_unavailable',
  SECRET_STORE_UNAVAILABLE: 'store_unavailable',
  SECRET_STORE_TIMEOUT: 'store_unavailable',
  KEY_UNAVAILABLE: 'store_unavailable',
}

/** The reason that an error itself tells, where policy gave none. */
export function reasonOf(error: CloakroomError): Reason | undefined {
  return REASON_OF[error.code] ?? (error.code.startsWith('REQUEST_') ? 'request_malformed' : undefined)
}
