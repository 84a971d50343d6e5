/**
 * Placeholders: how they look, how they are made, how they are found in text.
 *
 * Rule of this file: one grammar for everybody (rulings.md 8, threat-model.md C3). A stored placeholder is `xclk_r`, 22 characters of
 * 0-9A-Za-z (131 bits) and six digits of CRC-32; a sealed one is `xclk_s` and 43 to 4,096 characters of base64url. Neither is a
 * prefix or a substring of another. What starts like one and does not parse is reported, never passed over.
 */
import { crc32 } from 'node:zlib'
import { randomBase62 } from '../base/random.ts'

/** Characters in a stored placeholder. */
export const PLACEHOLDER_LENGTH = 34

/** What every placeholder starts with: one scan for it finds them all. */
export const PLACEHOLDER_ANCHOR = 'xclk_'

/** Bounds of a sealed placeholder, its `xclk_s` included. */
export const SEALED_MIN_LENGTH = 6 + 43
export const SEALED_MAX_LENGTH = 6 + 4096

const CHECKED_LENGTH = 28
const CHECKSUM_LENGTH = PLACEHOLDER_LENGTH - CHECKED_LENGTH
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const STORED = /^xclk_r[0-9A-Za-z]{28}$/

/** Makes a new placeholder for a stored secret. */
export function mintPlaceholder(): string {
  return withChecksum(`xclk_r${randomBase62(22)}`)
}

/** Tells whether `text` is a stored placeholder, checksum included: a typing error or a look-alike is told offline. */
export function isPlaceholder(text: string): boolean {
  return STORED.test(text) && withChecksum(text.slice(0, CHECKED_LENGTH)) === text
}

/** The form that may stand in audit records and logs: the kind and the last four characters; of what is no placeholder, nothing. */
export function maskPlaceholder(placeholder: string): string {
  if (placeholder.length < PLACEHOLDER_LENGTH || !placeholder.startsWith(PLACEHOLDER_ANCHOR)) return '…'
  return `${placeholder.slice(0, 6)}…${placeholder.slice(-4)}`
}

/**
 * One place that starts like a placeholder; `end` is exclusive.
 *
 * `placeholder` is undefined where `xclk_r` or `xclk_s` stands and what follows does not parse.
 */
export type PlaceholderMatch = {
  readonly start: number
  readonly end: number
  readonly placeholder: string | undefined
}

/** Finds every placeholder and every malformed one, left to right, without overlaps. Cost: one indexOf where there is none. */
export function scanPlaceholders(text: string): PlaceholderMatch[] {
  const found: PlaceholderMatch[] = []
  let at = text.indexOf(PLACEHOLDER_ANCHOR)
  while (at >= 0) {
    const match = matchAt(text, at)
    if (match !== undefined) found.push(match)
    at = text.indexOf(PLACEHOLDER_ANCHOR, match?.end ?? at + PLACEHOLDER_ANCHOR.length)
  }
  return found
}

function matchAt(text: string, start: number): PlaceholderMatch | undefined {
  const kind = text[start + PLACEHOLDER_ANCHOR.length]
  if (kind === 'r') return storedAt(text, start)
  return kind === 's' ? sealedAt(text, start) : undefined
}

// Exactly 34 characters, whatever follows: in `/bot<placeholder>x` the x is text of the path, as in any other text around it.
function storedAt(text: string, start: number): PlaceholderMatch {
  const end = start + PLACEHOLDER_LENGTH
  const placeholder = text.slice(start, end)
  if (isPlaceholder(placeholder)) return { start, end, placeholder }
  return { start, end: start + PLACEHOLDER_ANCHOR.length + 1, placeholder: undefined }
}

function sealedAt(text: string, start: number): PlaceholderMatch {
  let end = start + PLACEHOLDER_ANCHOR.length + 1
  while (end < text.length && isBase64url(text.charCodeAt(end))) end++
  const length = end - start
  const fits = length >= SEALED_MIN_LENGTH && length <= SEALED_MAX_LENGTH
  return { start, end, placeholder: fits ? text.slice(start, end) : undefined }
}

/** Tells whether a byte is one of 0-9 A-Z a-z - _ (RFC 4648 section 5). */
export function isBase64url(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x2d ||
    code === 0x5f
  )
}

// CRC-32 as zlib computes it, big-endian in base 62, zero-padded: 62^6 > 2^32, so six digits hold every checksum.
function withChecksum(checked: string): string {
  let rest = crc32(checked)
  let digits = ''
  while (digits.length < CHECKSUM_LENGTH) {
    digits = DIGITS[rest % 62] + digits
    rest = Math.floor(rest / 62)
  }
  return checked + digits
}
