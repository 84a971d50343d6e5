/**
 * How the bytes of a credential are written at each place of a head.
 *
 * Rule of this file: the bytes arrive upstream exactly, or the swap is refused; a value can never add a header, a parameter,
 * a path segment or a second user name (threat-model.md C7, C8). Every function returns undefined for a value that does not fit.
 */

const UNRESERVED = charactersOf('-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz')
// RFC 3986 section 3.3: pchar, but for ";", behind which servlet containers read parameters of the segment. Telegram's /bot123:ABC/ needs its colon as it is.
const PCHAR = charactersOf("-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!$&'()*+,=:@")
const HEX = '0123456789ABCDEF'
const SPACE = 0x20
const COLON = 0x3a
const SLASH = 0x2f
const BACKSLASH = 0x5c
const DOT = 0x2e

/** A header value (RFC 9110 section 5.5), byte for byte as latin1: no control characters, no space at either end. */
export function encodeForHeader(bytes: Buffer): string | undefined {
  if (bytes.length === 0 || hasControl(bytes)) return undefined
  if (bytes[0] === SPACE || bytes[bytes.length - 1] === SPACE) return undefined
  return bytes.toString('latin1')
}

/** User or password of Basic (RFC 7617 section 2): no control characters, and no colon in a user. */
export function encodeForBasic(bytes: Buffer, part: 'user' | 'password'): string | undefined {
  if (bytes.length === 0 || hasControl(bytes)) return undefined
  if (part === 'user' && bytes.includes(COLON)) return undefined
  return bytes.toString('latin1')
}

/** The value of a query parameter: all but the unreserved characters percent-encoded, so that it stays one value. */
export function encodeForQuery(bytes: Buffer): string | undefined {
  return bytes.length === 0 || hasControl(bytes) ? undefined : percentEncode(bytes, UNRESERVED)
}

/**
 * Part of one path segment: pchar without ";" stays, all else is percent-encoded.
 *
 * A slash or backslash is refused and not encoded, since many servers decode before they split; so is anything that makes a
 * dot segment (a value of dots only, or with two in a row). What a value makes together with the text around it, swap/head.ts looks at.
 */
export function encodeForPath(bytes: Buffer): string | undefined {
  if (bytes.length === 0 || hasControl(bytes)) return undefined
  if (bytes.includes(SLASH) || bytes.includes(BACKSLASH) || bytes.includes('..')) return undefined
  if (bytes.every(byte => byte === DOT)) return undefined
  return percentEncode(bytes, PCHAR)
}

function percentEncode(bytes: Buffer, kept: Uint8Array): string {
  let text = ''
  for (const byte of bytes) {
    text += kept[byte] === 1 ? String.fromCharCode(byte) : `%${HEX[byte >> 4]}${HEX[byte & 15]}`
  }
  return text
}

// C0 and DEL. CR, LF and NUL would split the message; the others are refused by servers and never part of a real key.
function hasControl(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte < SPACE || byte === 0x7f) return true
  return false
}

function charactersOf(text: string): Uint8Array {
  const table = new Uint8Array(256)
  for (const byte of Buffer.from(text, 'latin1')) table[byte] = 1
  return table
}
