/**
 * The alphabets of HTTP/1.1 as tables of bytes, and the few questions asked of whole texts.
 *
 * Not a parser: head.ts and body-reader.ts walk the bytes. Rule of this file: a character that is not in a table is refused, so
 * text with characters above U+00FF never passes; written as latin1, U+010A would become a line feed (threat-model.md C7).
 */

export const HTAB = 0x09
export const LF = 0x0a
export const CR = 0x0d
export const SP = 0x20
export const SLASH = 0x2f
export const COLON = 0x3a
export const SEMICOLON = 0x3b

/** One byte for each byte of latin1: 1 when it belongs to the alphabet. Index with charCodeAt; `=== 1` means yes. */
export type Alphabet = Readonly<Uint8Array>

const ALNUM = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** RFC 9110 5.6.2: tchar. */
export const TOKEN: Alphabet = alphabetOf(code =>
  `!#$%&'*+-.^_\`|~${ALNUM}`.includes(String.fromCharCode(code)),
)

/** RFC 9110 5.5: HTAB, SP, VCHAR, obs-text. Every other control character is refused, not only CR, LF and NUL. */
export const FIELD: Alphabet = alphabetOf(code => code === HTAB || (code >= SP && code !== 0x7f))

/** A6: printable ASCII without what some readers take for a path separator or the end of the target. */
export const TARGET: Alphabet = alphabetOf(
  code => code > SP && code < 0x7f && code !== 0x5c /* \ */ && code !== 0x23 /* # */,
)

/** What `host:port` may be made of, IP literals and userinfo included: model/target.ts says which are targets (A4, A5). */
export const AUTHORITY: Alphabet = alphabetOf(code =>
  `!$%&'()*+,-.:;=@[]_~${ALNUM}`.includes(String.fromCharCode(code)),
)

/**
 * Methods: A-Z 0-9 - _, first a letter. RFC 9110 9.1 allows any token and lower case too, but `get` is a method other than GET
 * for us and the same one for a lenient upstream: policy would have decided about something else (threat-model.md B3).
 */
export const METHOD: Alphabet = alphabetOf(code =>
  'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_'.includes(String.fromCharCode(code)),
)

function alphabetOf(isIn: (code: number) => boolean): Alphabet {
  return Uint8Array.from({ length: 256 }, (_, code) => (isIn(code) ? 1 : 0))
}

/** The index of the first character at or after `from` that is outside the alphabet; `end` when there is none. */
export function skip(alphabet: Alphabet, text: string, from: number, end: number): number {
  let at = from
  while (at < end && alphabet[text.charCodeAt(at)] === 1) at++
  return at
}

function isAll(alphabet: Alphabet, text: string): boolean {
  return skip(alphabet, text, 0, text.length) === text.length
}

/** Tells whether the code is SP or HTAB: the whitespace that RFC 9110 5.6.3 calls OWS. */
export function isBlank(code: number): boolean {
  return code === SP || code === HTAB
}

/** Tells whether the code can begin a method: A-Z. */
export function isMethodStart(code: number): boolean {
  return code >= 0x41 && code <= 0x5a
}

/** Tells whether `text` is a token (RFC 9110 5.6.2), as header names must be. */
export function isToken(text: string): boolean {
  return text.length > 0 && isAll(TOKEN, text)
}

/** Tells whether `text` is a method that we read and write: A-Z 0-9 - _, starting with a letter. */
export function isMethod(text: string): boolean {
  return text.length > 0 && isMethodStart(text.charCodeAt(0)) && isAll(METHOD, text)
}

/**
 * Tells whether `text` can be written as a header's value and is read back as the same text.
 *
 * No control character but HTAB, no DEL, nothing above U+00FF, and no blank at either end, because every reader trims those.
 */
export function isFieldValue(text: string): boolean {
  return !isBlank(text.charCodeAt(0)) && !isBlank(text.charCodeAt(text.length - 1)) && isAll(FIELD, text)
}

/** Tells whether `text` can be a reason phrase: empty, or HTAB, SP, VCHAR and obs-text. */
export function isReason(text: string): boolean {
  return isAll(FIELD, text)
}

/**
 * Tells whether `path` is an origin-form target that cannot move the host (A6).
 *
 * It starts with one `/`: `//evil.example/x` is a host to whoever resolves it as a reference. No `\`, `#`, blank or 8-bit byte.
 */
export function isOriginTarget(path: string): boolean {
  return path.startsWith('/') && !path.startsWith('//') && isAll(TARGET, path)
}

// 16 digits hold every safe integer; a leading zero is refused because some readers take it for octal.
const DECIMAL = /^(?:0|[1-9][0-9]{0,15})$/

/** Reads a Content-Length: digits only, no sign, blank, list or leading zero, a safe integer; undefined otherwise (E2). */
export function parseLength(text: string): number | undefined {
  if (!DECIMAL.test(text)) return undefined
  const length = Number(text)
  return Number.isSafeInteger(length) ? length : undefined
}

/** The value of a hexadecimal digit, or -1. */
export function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const lower = code | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}
