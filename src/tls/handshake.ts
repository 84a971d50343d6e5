/**
 * Names for the ways in which a caller's TLS handshake ends: the closed set that metrics use as a label.
 *
 * `unknown_ca` and `bad_certificate` mean that the app does not trust us: the main fault of a new installation.
 */
import { type Milliseconds, seconds } from '../base/clock.ts'

export const HANDSHAKE_RESULTS = [
  'ok',
  'unknown_ca',
  'bad_certificate',
  'expired',
  'protocol_version',
  'no_cipher',
  'no_protocol',
  'sni_mismatch',
  'timeout',
  'reset',
  'other',
] as const
export type HandshakeResult = (typeof HANDSHAKE_RESULTS)[number]

// Codes that Node makes of OpenSSL's reasons; those with a slash since OpenSSL 3.2. Alerts of the client first, then what
// our own side found. A Map, because codes are looked up that we did not choose.
const RESULTS: ReadonlyMap<string, HandshakeResult> = new Map([
  ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'unknown_ca'],
  ['ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE', 'bad_certificate'],
  ['ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE', 'bad_certificate'],
  ['ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_UNKNOWN', 'bad_certificate'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN', 'bad_certificate'],
  ['ERR_SSL_SSL/TLS_ALERT_UNSUPPORTED_CERTIFICATE', 'bad_certificate'],
  ['ERR_SSL_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE', 'bad_certificate'],
  ['ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED', 'expired'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', 'expired'],
  ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'protocol_version'],
  ['ERR_SSL_UNSUPPORTED_PROTOCOL', 'protocol_version'],
  ['ERR_SSL_UNKNOWN_PROTOCOL', 'protocol_version'],
  ['ERR_SSL_VERSION_TOO_LOW', 'protocol_version'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'protocol_version'],
  ['ERR_SSL_NO_SHARED_CIPHER', 'no_cipher'],
  ['ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM', 'no_cipher'],
  ['ERR_SSL_NO_SHARED_SIGNATURE_ALGORITHMS', 'no_cipher'],
  ['ERR_SSL_NO_SUITABLE_KEY_SHARE', 'no_cipher'],
  ['ERR_SSL_NO_SUITABLE_GROUPS', 'no_cipher'],
  ['ERR_SSL_NO_APPLICATION_PROTOCOL', 'no_protocol'],
  ['ECONNRESET', 'reset'],
  ['EPIPE', 'reset'],
])

/** Names the result of a handshake that ended with an error of Node. */
export function classifyHandshakeError(cause: unknown): HandshakeResult {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  return (typeof code === 'string' ? RESULTS.get(code) : undefined) ?? 'other'
}

export type EndedConnection = {
  /** How long the handshake took, and how long the connection stayed open after it. */
  readonly handshake: Milliseconds
  readonly openFor: Milliseconds
  /** Bytes of the application, decrypted. */
  readonly bytesRead: number
}

const PATIENCE = 10 // a client that refuses a certificate does so at once, in terms of its own network
const LONGEST_REJECTION = seconds(5)
const SHORTEST_WINDOW: Milliseconds = 100 // a handshake over loopback takes 2 ms; a busy client 20 ms more

/**
 * Tells whether a client seems to have refused our certificate after the handshake: closed soon, without one byte.
 *
 * Node (TLS 1.2) and GnuTLS verify after the handshake, so no alert tells us. A guess, for hints to
 * the operator and never for decisions: a connection that was opened in advance and not used looks the same.
 */
export function isSilentRejection(ended: EndedConnection): boolean {
  const window = Math.min(LONGEST_REJECTION, Math.max(SHORTEST_WINDOW, PATIENCE * ended.handshake))
  return ended.bytesRead === 0 && ended.openFor <= window
}
