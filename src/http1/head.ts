/**
 * Heads: bytes to a request line or status line with headers, or a refusal. The only parser of heads, on both legs.
 *
 * Rules of this file: one reading of every byte (threat-model.md E2). The answer is a function of the bytes alone: a refusal for some
 * bytes is the refusal for whatever follows them, so segmentation never changes what a message means. Host, the host in a
 * target and which methods are served are the exchange's to judge.
 *
 * RFC 9112 2.2 asks servers to skip an empty line before the request line, for clients of the 1990s that sent CRLF after a body.
 * We do not: none of the clients that we serve does that, bytes between two messages are where smuggling lives, and a strict first
 * byte ends TLS or any other protocol on this port at once instead of at a time-out.
 */
import { kib } from '../base/size.ts'
import type { HeaderList } from '../model/message.ts'
import {
  findLine,
  INCOMPLETE,
  type Incomplete,
  parseFields,
  type Section,
  type SectionLimits,
} from './fields.ts'
import { AUTHORITY, FIELD, isMethodStart, LF, METHOD, SLASH, SP, skip, TARGET } from './grammar.ts'
import { malformed, type Refusal, refused, type Side } from './refusal.ts'

export type { Incomplete, Refusal }

export type HeadLimits = SectionLimits

/** threat-model.md E3. */
export const HEAD_LIMITS: HeadLimits = { bytes: kib(32), count: 100, line: kib(8) }

/** `rawTarget` has one of the four forms of RFC 9112 3.2, in printable ASCII without `\` and `#`; `//` may stand first. */
export type ReceivedRequestHead = {
  readonly method: string
  readonly rawTarget: string
  readonly minor: 0 | 1
  readonly headers: HeaderList
}

export type ReceivedResponseHead = {
  readonly minor: 0 | 1
  readonly status: number
  readonly reason: string
  readonly headers: HeaderList
}

/** `length` is the number of bytes that the head took; what follows is body or the next message. */
export type ParsedHead<Head> = { readonly kind: 'head'; readonly head: Head; readonly length: number }

/**
 * Reads the request head that `bytes` start with.
 *
 * @param seen - how many of these bytes were found incomplete before: a head that arrives in crumbs then costs one reading a line
 * and not one a crumb (threat-model.md G8).
 */
export function parseRequestHead(
  bytes: Buffer,
  limits: HeadLimits = HEAD_LIMITS,
  seen = 0,
): ParsedHead<ReceivedRequestHead> | Incomplete | Refusal {
  const section = sectionOf('request', bytes, limits, seen)
  if (section === undefined) return INCOMPLETE
  if (!isMethodStart(section.text.charCodeAt(0))) return malformed('request', 'first byte is no method')
  const line = findLine(section, 0)
  if (line.kind !== 'line') return line
  const start = parseRequestLine(section.text, line.end)
  if (start.kind !== 'request-line') return start
  const fields = parseFields(section, line.end + 2)
  if (fields.kind !== 'fields') return fields
  const { method, rawTarget, minor } = start
  return { kind: 'head', head: { method, rawTarget, minor, headers: fields.headers }, length: fields.end }
}

/** Reads the response head that `bytes` start with; an interim response (1xx) is a head of its own. `seen` as above. */
export function parseResponseHead(
  bytes: Buffer,
  limits: HeadLimits = HEAD_LIMITS,
  seen = 0,
): ParsedHead<ReceivedResponseHead> | Incomplete | Refusal {
  const section = sectionOf('response', bytes, limits, seen)
  if (section === undefined) return INCOMPLETE
  if (section.text.charCodeAt(0) !== 0x48 /* H */) return malformed('response', 'first byte is no version')
  const line = findLine(section, 0)
  if (line.kind !== 'line') return line
  const start = parseStatusLine(section.text, line.end)
  if (start.kind !== 'status-line') return start
  const fields = parseFields(section, line.end + 2)
  if (fields.kind !== 'fields') return fields
  const { minor, status, reason } = start
  return { kind: 'head', head: { minor, status, reason, headers: fields.headers }, length: fields.end }
}

const HEAD_END = Buffer.from('\r\n\r\n', 'latin1')

// Undefined when no verdict can fall: there is no byte, or since `seen` neither a line ended nor the limit was reached.
function sectionOf(side: Side, bytes: Buffer, limits: HeadLimits, seen: number): Section | undefined {
  if (bytes.length === 0) return undefined
  if (seen > 0 && bytes.length < limits.bytes && !bytes.includes(LF, seen)) return undefined
  // How much to decode, no more: parseFields alone says where the head ends.
  const found = bytes.indexOf(HEAD_END)
  const stop = found < 0 ? bytes.length : found + HEAD_END.length
  return { side, limits, text: bytes.toString('latin1', 0, Math.min(stop, limits.bytes)) }
}

type RequestLine = {
  readonly kind: 'request-line'
  readonly method: string
  readonly rawTarget: string
  readonly minor: 0 | 1
}

// RFC 9112 3: method SP request-target SP HTTP-version, with one SP each and nothing around them. HTTP/0.9 has no version.
function parseRequestLine(text: string, end: number): RequestLine | Refusal {
  const afterMethod = skip(METHOD, text, 0, end)
  if (text.charCodeAt(afterMethod) !== SP) return malformed('request', 'method')
  const afterTarget = skip(TARGET, text, afterMethod + 1, end)
  if (afterTarget === afterMethod + 1 || text.charCodeAt(afterTarget) !== SP) {
    return malformed('request', 'request target')
  }
  const method = text.slice(0, afterMethod)
  const rawTarget = text.slice(afterMethod + 1, afterTarget)
  const version = text.slice(afterTarget + 1, end)
  if (version !== 'HTTP/1.1' && version !== 'HTTP/1.0') return versionFault(version)
  if (!hasTargetForm(method, rawTarget)) return malformed('request', 'request target')
  return { kind: 'request-line', method, rawTarget, minor: version === 'HTTP/1.1' ? 1 : 0 }
}

// RFC 9112 3.2: origin form; authority form for CONNECT alone; asterisk form for OPTIONS alone; absolute form. Only the form is
// looked at here: which host it is, and whether it is one, is for model/target.ts and the exchange to say.
function hasTargetForm(method: string, target: string): boolean {
  if (method === 'CONNECT') return skip(AUTHORITY, target, 0, target.length) === target.length
  if (target.charCodeAt(0) === SLASH) return true
  if (target === '*') return method === 'OPTIONS'
  const scheme = /^https?:\/\//i.exec(target)?.[0].length ?? 0
  const end = skip(AUTHORITY, target, scheme, target.length)
  return scheme > 0 && end > scheme && (end === target.length || '/?'.includes(target.charAt(end)))
}

function versionFault(version: string): Refusal {
  const isOther = /^HTTP\/[0-9](?:\.[0-9])?$/.test(version)
  return isOther ? refused('REQUEST_VERSION', 'HTTP version') : malformed('request', 'request line')
}

type StatusLine = {
  readonly kind: 'status-line'
  readonly minor: 0 | 1
  readonly status: number
  readonly reason: string
}

const ZERO = 0x30

// RFC 9112 4. Servers that leave out the SP before an empty reason are common and can mean only one thing: the one tolerance here.
function parseStatusLine(text: string, end: number): StatusLine | Refusal {
  const minor = text.charCodeAt(7) - ZERO
  if (!text.startsWith('HTTP/1.') || (minor !== 0 && minor !== 1)) return malformed('response', 'version')
  if (text.charCodeAt(8) !== SP) return malformed('response', 'status line')
  const status = statusOf(text)
  // E5: classes end at 5xx; 999 and the like pass Node's parser and mean nothing to a caller.
  if (status < 100 || status > 599) return malformed('response', 'status')
  if (end > 12 && text.charCodeAt(12) !== SP) return malformed('response', 'status')
  if (skip(FIELD, text, 12, end) !== end) return malformed('response', 'control character in the reason')
  return { kind: 'status-line', minor, status, reason: text.slice(13, Math.max(13, end)) }
}

// Three digits at 9, or 0; a line that is too short has its CR among them.
function statusOf(text: string): number {
  const hundreds = text.charCodeAt(9) - ZERO
  const tens = text.charCodeAt(10) - ZERO
  const ones = text.charCodeAt(11) - ZERO
  const areDigits = hundreds >= 0 && hundreds <= 9 && tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9
  return areDigits ? hundreds * 100 + tens * 10 + ones : 0
}
