/**
 * The forms in which a credential may come back, as bytes.
 *
 * Rule of this file: patterns stand in memory of their own, and are computed from bytes to bytes, so that all of it can be overwritten
 * (threat-model.md N6); only a value beyond ASCII passes through strings. The list is that of rulings.md 26. Not in it, and not found:
 * reversed, hashed, rot13, UTF-16 and HTML forms, encodings inside encodings, parts of a value, values shorter than 8 bytes.
 */
import { ownCopy } from '../base/bytes.ts'
import type { Replacement } from '../base/replacer.ts'

/** Shorter values would be found by chance, and what stands around would be damaged (rulings.md 26). */
export const SHORTEST_REDACTED = 8

type WriteByte = (byte: number) => string

const ALPHANUMERIC = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const BASE64 = alphabetOf('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')
const EQUALS = 0x3d
const SPACE = 0x20
const PLUS = 0x2b
const MINUS = 0x2d
const SLASH = 0x2f
const UNDERLINE = 0x5f

// What encoders keep besides letters and digits: RFC 3986 unreserved; encodeURIComponent; pchar, as we write paths.
const KEPT = ['-._~', "-._~!*'()", "-._~!$&'()*+,;=:@"].map(keptTable)
// The form encoders of WHATWG and Java, which write a space as "+".
const KEPT_IN_FORMS = keptTable('-._*')
const PLAIN = keptTable('-._')
const UPPER = '0123456789ABCDEF'
const LOWER = '0123456789abcdef'
const UPPER_DIGITS = alphabetOf(UPPER)
const LOWER_DIGITS = alphabetOf(LOWER)

const SHORT_ESCAPES: Readonly<Record<number, string>> = {
  8: '\\b',
  9: '\\t',
  10: '\\n',
  12: '\\f',
  13: '\\r',
  34: '\\"',
  92: '\\\\',
}

/** Every form of one value, and what takes its place; none for a value that is too short. */
export function formsOf(value: Buffer, shown: Buffer): Replacement[] {
  if (value.length < SHORTEST_REDACTED) return []
  const raw = { pattern: ownCopy(value), by: shown }
  return [raw, ...escapedForms(value, shown), ...base64Forms(value, shown), ...hexForms(value, shown)]
}

// Most keys are letters, digits and - . _ alone: they look the same in a URL and in JSON.
function escapedForms(value: Buffer, shown: Buffer): Replacement[] {
  if (value.every(byte => PLAIN[byte] === 1)) return []
  return [...percentForms(value), ...jsonForms(value)].map(pattern => ({ pattern, by: shown }))
}

function percentForms(value: Buffer): Buffer[] {
  return [UPPER, LOWER].flatMap(digits => [
    ...KEPT.map(kept => rewritten(value, byte => percent(byte, kept, digits))),
    rewritten(value, byte => (byte === SPACE ? '+' : percent(byte, KEPT_IN_FORMS, digits))),
  ])
}

function percent(byte: number, kept: Uint8Array, digits: string): string {
  return kept[byte] === 1 ? String.fromCharCode(byte) : `%${digits[byte >> 4]}${digits[byte & 15]}`
}

// As JavaScript, Go, PHP and .NET write a string; and, beyond ASCII, as Python and .NET escape it.
function jsonForms(value: Buffer): Buffer[] {
  const forms = [inMinimalJson, inGoJson, inPhpJson, inDotnetJson].map(write => rewritten(value, write))
  return value.some(byte => byte > 0x7e) ? [...forms, ...beyondAsciiForms(value)] : forms
}

// Most servers read a header as latin1, some as UTF-8; they write it as UTF-8 or escaped.
function beyondAsciiForms(value: Buffer): Buffer[] {
  const latin1AsUtf8: WriteByte = byte =>
    byte < 0x80 ? inMinimalJson(byte) : String.fromCharCode(0xc0 | (byte >> 6), 0x80 | (byte & 63))
  const utf8 = value.toString('utf8')
  const readings = utf8.includes('\ufffd') ? [value.toString('latin1')] : [value.toString('latin1'), utf8]
  const escapedForms = readings.flatMap(text => {
    const units = Array.from({ length: text.length }, (_, at) => text.charCodeAt(at))
    return [
      units.map(unit => (unit > 0x7e ? unicode(unit, LOWER) : inMinimalJson(unit))),
      units.map(unit => (unit > 0x7e ? unicode(unit, UPPER) : inDotnetJson(unit))),
    ]
  })
  return [rewritten(value, latin1AsUtf8), ...escapedForms.map(parts => ownBytes(parts.join('')))]
}

function inMinimalJson(byte: number): string {
  return SHORT_ESCAPES[byte] ?? (byte < SPACE ? unicode(byte, LOWER) : String.fromCharCode(byte))
}

function inGoJson(byte: number): string {
  return '<>&'.includes(String.fromCharCode(byte)) ? unicode(byte, LOWER) : inMinimalJson(byte)
}

function inPhpJson(byte: number): string {
  return byte === SLASH ? '\\/' : inMinimalJson(byte)
}

function inDotnetJson(byte: number): string {
  return '"&\'+<>`'.includes(String.fromCharCode(byte)) ? unicode(byte, UPPER) : inMinimalJson(byte)
}

function unicode(unit: number, digits: string): string {
  return `\\u${[12, 8, 4, 0].map(shift => digits[(unit >> shift) & 15]).join('')}`
}

function hexForms(value: Buffer, shown: Buffer): Replacement[] {
  return [LOWER_DIGITS, UPPER_DIGITS].map(digits => ({ pattern: hex(value, digits), by: hex(shown, digits) }))
}

function hex(value: Buffer, digits: Buffer): Buffer {
  const out = Buffer.allocUnsafeSlow(2 * value.length)
  let at = 0
  for (const byte of value) {
    out[at++] = digits[byte >> 4] ?? 0
    out[at++] = digits[byte & 15] ?? 0
  }
  return out
}

/**
 * Base64 of the value alone (padded and not), and as part of something longer at each alignment.
 *
 * Alone, it becomes the base64 of the placeholder, so that the text still decodes. As a part, the characters that the value
 * shares with its neighbours stay, and the placeholder stands there as it is: the text would not decode to it anyhow.
 */
function base64Forms(value: Buffer, shown: Buffer): Replacement[] {
  const alone = base64(value, 0)
  const shownAlone = base64(shown, 0)
  const forms = [
    { pattern: alone, by: shownAlone },
    { pattern: core(value, 1), by: shown },
    { pattern: core(value, 2), by: shown },
  ]
  if (value.length % 3 > 0) {
    forms.push({ pattern: padded(alone), by: padded(shownAlone) }, { pattern: core(value, 0), by: shown })
  }
  return forms.flatMap(form => (hasUrlSpelling(form.pattern) ? [form, urlSpelling(form)] : [form]))
}

function hasUrlSpelling(text: Buffer): boolean {
  return text.includes(PLUS) || text.includes(SLASH)
}

function urlSpelling({ pattern, by }: Replacement): Replacement {
  return { pattern: urlSafe(pattern), by: urlSafe(by) }
}

function urlSafe(text: Buffer): Buffer {
  const out = ownCopy(text)
  for (const [at, byte] of text.entries()) {
    if (byte === PLUS) out[at] = MINUS
    else if (byte === SLASH) out[at] = UNDERLINE
  }
  return out
}

/** The characters of the base64 of `before` unknown bytes and the value that depend on the value alone. */
function core(value: Buffer, before: number): Buffer {
  const text = base64(value, before)
  return text.subarray(Math.ceil((8 * before) / 6), Math.floor((8 * (before + value.length)) / 6))
}

/** Base64 without padding of `before` zero bytes and the value. */
function base64(value: Buffer, before: number): Buffer {
  const out = Buffer.allocUnsafeSlow(Math.ceil((8 * (before + value.length)) / 6))
  for (let i = 0; i < out.length; i++) {
    const bit = 6 * i
    const at = (bit >> 3) - before
    const pair = (byteAt(value, at) << 8) | byteAt(value, at + 1)
    out[i] = BASE64[(pair >> (10 - (bit & 7))) & 63] ?? 0
  }
  return out
}

// Reading an array outside its bounds is what makes such a loop slow.
function byteAt(value: Buffer, at: number): number {
  return at >= 0 && at < value.length ? (value[at] as number) : 0
}

function padded(text: Buffer): Buffer {
  const out = Buffer.allocUnsafeSlow(Math.ceil(text.length / 4) * 4).fill(EQUALS)
  out.set(text)
  return out
}

// One byte is written at a time: no string of the whole value is made.
function rewritten(value: Buffer, write: WriteByte): Buffer {
  let length = 0
  for (const byte of value) length += write(byte).length
  const out = Buffer.allocUnsafeSlow(length)
  let at = 0
  for (const byte of value) at += out.write(write(byte), at, 'latin1')
  return out
}

function ownBytes(text: string): Buffer {
  const out = Buffer.allocUnsafeSlow(text.length)
  out.write(text, 'latin1')
  return out
}

function alphabetOf(characters: string): Buffer {
  return Buffer.from(characters, 'latin1')
}

function keptTable(besides: string): Uint8Array {
  const table = new Uint8Array(256)
  for (const byte of alphabetOf(ALPHANUMERIC + besides)) table[byte] = 1
  return table
}
