/**
 * Answers of our own: problem documents (RFC 9457) with Proxy-Status (RFC 9209).
 *
 * Rule of this file: an answer holds a code and a request id, and nothing of the request, the rule, the target or the secret
 * (rulings.md 11, threat-model.md D13). Two refusals for different reasons are the same bytes but for id and date.
 */
import { formatTime } from '../base/clock.ts'
import { type CloakroomError, ERRORS, type ErrorCode } from '../base/errors.ts'
import { type BodySource, bodyOf, type HeaderList, type ResponseHead } from '../model/message.ts'

export type OwnAnswer = { readonly head: ResponseHead; readonly body: BodySource }

const REASON_PHRASES: { readonly [status: number]: string } = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  405: 'Method Not Allowed',
  407: 'Proxy Authentication Required',
  408: 'Request Timeout',
  417: 'Expectation Failed',
  421: 'Misdirected Request',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
  508: 'Loop Detected',
}

// RFC 9209 2.3: the closest registered type of each code; codes not named here are http_request_denied or proxy_internal_error.
const PROXY_STATUS: { readonly [code in ErrorCode]?: string } = {
  NET_NAME_UNKNOWN: 'dns_error',
  NET_NAME_TIMEOUT: 'dns_timeout',
  NET_ADDRESS_REFUSED: 'destination_ip_prohibited',
  UPSTREAM_REFUSED: 'connection_refused',
  UPSTREAM_UNREACHABLE: 'destination_ip_unroutable',
  UPSTREAM_CONNECT_TIMEOUT: 'connection_timeout',
  UPSTREAM_CERTIFICATE: 'tls_certificate_error',
  UPSTREAM_TLS: 'tls_protocol_error',
  UPSTREAM_CLOSED: 'connection_terminated',
  UPSTREAM_TRUNCATED: 'http_response_incomplete',
  UPSTREAM_HEAD_TIMEOUT: 'connection_read_timeout',
  UPSTREAM_IDLE_TIMEOUT: 'connection_read_timeout',
  UPSTREAM_MALFORMED: 'http_protocol_error',
  UPSTREAM_HEAD_TOO_LARGE: 'http_response_header_section_size',
  UPSTREAM_CODED: 'http_response_content_coding',
  REQUEST_LOOP: 'proxy_loop_detected',
}

// The same for every answer: who reads it must not learn more than the code tells (rulings.md 11).
const DETAIL = 'answered by Cloakroom, not by the upstream; the operator can explain this request id'

/** Seconds after which trying again makes sense, for answers that say so. */
const RETRY_AFTER = 1

/**
 * Makes the answer to an error.
 *
 * @param request - the id under which the audit record has the reason.
 * @param now - wall clock, milliseconds since 1970.
 */
export function problem(error: CloakroomError, request: string, now: number): OwnAnswer {
  const status = error.status === 0 ? 500 : error.status
  const title = REASON_PHRASES[status] ?? 'Error'
  const body = Buffer.from(
    `${JSON.stringify({ type: 'about:blank', title, status, detail: DETAIL, code: error.code, request })}\n`,
  )
  const headers: HeaderList = [
    ['Date', httpDate(now)],
    ['Content-Type', 'application/problem+json'],
    ['Cache-Control', 'no-store'],
    ['Cloakroom-Error', error.code],
    ['Cloakroom-Request-Id', request],
    ['Proxy-Status', `cloakroom; error=${proxyStatus(error)}`],
    ...challenge(error),
  ]
  return { head: { status, reason: title, headers }, body: bodyOf(body) }
}

function proxyStatus(error: CloakroomError): string {
  const named = PROXY_STATUS[error.code]
  if (named !== undefined) return named
  if (error.source === 'sidecar' || error.source === 'secrets') return 'proxy_internal_error'
  return error.status === 403 || error.status === 407 ? 'http_request_denied' : 'http_request_error'
}

function challenge(error: CloakroomError): HeaderList {
  if (error.status === 407) return [['Proxy-Authenticate', 'Basic realm="cloakroom"']]
  if (error.code === 'IDENTITY_UNKNOWN_TO_RELAY') return [['WWW-Authenticate', 'Basic realm="cloakroom"']]
  if (!ERRORS[error.code].retry) return []
  const isBusy = error.status === 429 || error.status === 503
  const seconds = 'retryAfter' in error.details ? Math.ceil(Number(error.details.retryAfter)) : RETRY_AFTER
  return isBusy ? [['Retry-After', String(Math.max(1, seconds))]] : []
}

const WEEKDAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

// RFC 9110 5.6.7, from the ISO form: the one place that formats wall clock time is base/clock.ts.
function httpDate(now: number): string {
  const iso = formatTime(now)
  const weekday = WEEKDAYS[(Math.floor(now / 86_400_000) + 4) % 7] // 1 January 1970 was a Thursday
  const month = MONTHS[Number(iso.slice(5, 7)) - 1]
  return `${weekday}, ${iso.slice(8, 10)} ${month} ${iso.slice(0, 4)} ${iso.slice(11, 19)} GMT`
}
