/**
 * The one map from what Node says of a connection to our errors.
 *
 * Rule of this file: only closed words get out. What the network sent (names in certificates, texts of OpenSSL) stays in
 * the cause, which no caller sees (threat-model.md K4).
 */
import { CloakroomError } from '../base/errors.ts'
import { formatTarget, type Target } from '../model/target.ts'

/** Where a connection was when it failed; `exchange` is everything after it was made. */
export const CONNECTION_PHASES = ['dns', 'tcp', 'tls', 'exchange'] as const
export type ConnectionPhase = (typeof CONNECTION_PHASES)[number]

// Node's names for X509_V_ERR_*, and of the reasons with which OpenSSL refuses a chain before it verifies it.
const CERTIFICATE_FAULTS: ReadonlyMap<string, string> = new Map([
  ['CERT_HAS_EXPIRED', 'expired'],
  ['CERT_NOT_YET_VALID', 'not yet valid'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'for another host'],
  ['ERR_TLS_CERT_ALTNAME_FORMAT', 'with malformed names'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'self-signed'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'of an unknown CA'],
  ['UNABLE_TO_GET_ISSUER_CERT', 'of an unknown CA'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'of an unknown CA'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'of an unknown CA'],
  ['CERT_UNTRUSTED', 'of an unknown CA'],
  ['CERT_REVOKED', 'revoked'],
  ['INVALID_CA', 'issued by what is not a CA'],
  ['PATH_LENGTH_EXCEEDED', 'issued by what is not a CA'],
  ['INVALID_PURPOSE', 'not for servers'],
  ['CERT_REJECTED', 'not for servers'],
  ['CERT_SIGNATURE_FAILURE', 'badly signed'],
  ['UNABLE_TO_DECRYPT_CERT_SIGNATURE', 'badly signed'],
  ['CERT_CHAIN_TOO_LONG', 'at the end of too long a chain'],
  ['ERROR_IN_CERT_NOT_BEFORE_FIELD', 'malformed'],
  ['ERROR_IN_CERT_NOT_AFTER_FIELD', 'malformed'],
  ['UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY', 'malformed'],
  ['HOSTNAME_MISMATCH', 'for another host'],
  ['UNSPECIFIED', 'not acceptable to OpenSSL'], // among others: weak keys and digests, name constraints
  ['ERR_SSL_EE_KEY_TOO_SMALL', 'too weak'],
  ['ERR_SSL_CA_KEY_TOO_SMALL', 'too weak'],
  ['ERR_SSL_CA_MD_TOO_WEAK', 'too weak'],
  ['ERR_SSL_CERTIFICATE_VERIFY_FAILED', 'not acceptable to OpenSSL'],
])

const UNREACHABLE = new Set([
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  'EAFNOSUPPORT',
  'EACCES',
  'EPERM',
  'EINVAL',
])

/** Makes one of our errors of what Node threw; a CloakroomError passes as it is. */
export function errorFrom(cause: unknown, target: Target, phase: ConnectionPhase): CloakroomError {
  if (cause instanceof CloakroomError) return cause
  const details = { target: formatTarget(target) }
  const code = codeOf(cause)
  const why = CERTIFICATE_FAULTS.get(code)
  switch (phase) {
    case 'dns':
      return new CloakroomError('NET_NAME_UNKNOWN', details, { cause })
    case 'tcp':
      if (code === 'ECONNREFUSED') return new CloakroomError('UPSTREAM_REFUSED', details, { cause })
      if (UNREACHABLE.has(code)) return new CloakroomError('UPSTREAM_UNREACHABLE', details, { cause })
      return new CloakroomError('UPSTREAM_CLOSED', details, { cause })
    case 'tls':
      if (why !== undefined) return new CloakroomError('UPSTREAM_CERTIFICATE', { ...details, why }, { cause })
      if (code === 'ECONNRESET' || code === 'EPIPE')
        return new CloakroomError('UPSTREAM_CLOSED', details, { cause })
      return new CloakroomError('UPSTREAM_TLS', details, { cause })
    case 'exchange':
      return new CloakroomError('UPSTREAM_CLOSED', details, { cause })
  }
}

/** How a handshake with an upstream ended: the closed set of the metric. */
export const UPSTREAM_HANDSHAKE_RESULTS = [
  'ok',
  'bad_certificate',
  'unknown_ca',
  'expired',
  'protocol_version',
  'timeout',
  'reset',
  'other',
] as const
export type UpstreamHandshakeResult = (typeof UPSTREAM_HANDSHAKE_RESULTS)[number]

/** Names the result of a handshake that failed with `cause`. */
export function upstreamHandshakeResult(cause: unknown): UpstreamHandshakeResult {
  const code = codeOf(cause)
  const why = CERTIFICATE_FAULTS.get(code)
  if (code === 'UPSTREAM_CONNECT_TIMEOUT') return 'timeout'
  if (code === 'ECONNRESET' || code === 'EPIPE') return 'reset'
  if (why === 'expired') return 'expired'
  if (why === 'of an unknown CA' || why === 'self-signed') return 'unknown_ca'
  if (why !== undefined) return 'bad_certificate'
  return /PROTOCOL|VERSION/.test(code) ? 'protocol_version' : 'other'
}

function codeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : ''
}
