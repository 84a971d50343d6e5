/**
 * Field lines: the headers of a head and the trailers of a chunked body, read by the same strict rules.
 *
 * Rule of this file: a verdict falls at the end of a line or at a size limit, in the order of the bytes, so it is the same however
 * the bytes were cut. Nothing is repaired: what RFC 9112 section 5 lets a lenient reader mend is refused.
 */
import type { Bytes } from '../base/size.ts'
import type { HeaderList } from '../model/message.ts'
import { COLON, CR, FIELD, isBlank, skip, TOKEN } from './grammar.ts'
import { malformed, type Refusal, type Side, tooLarge } from './refusal.ts'

/** `bytes` is the whole section with its last line end, `count` the field lines, `line` one line without its CRLF. */
export type SectionLimits = { readonly bytes: Bytes; readonly count: number; readonly line: Bytes }

export type Incomplete = { readonly kind: 'incomplete' }
export const INCOMPLETE: Incomplete = { kind: 'incomplete' }

/** `end` is the index after the empty line. */
export type Fields = { readonly kind: 'fields'; readonly headers: HeaderList; readonly end: number }

export type Section = {
  readonly side: Side
  /** Latin1, cut to `limits.bytes`. */
  readonly text: string
  readonly limits: SectionLimits
}

type Line = { readonly kind: 'line'; readonly end: number }

/** Finds the line that starts at `from`; `end` is the index of its CR. */
export function findLine(section: Section, from: number): Line | Incomplete | Refusal {
  const { side, text, limits } = section
  const feed = text.indexOf('\n', from)
  if (feed < 0) {
    return text.length < limits.bytes ? INCOMPLETE : tooLarge(side, 'section too long', limits.bytes)
  }
  const end = feed - 1
  // RFC 9112 2.2 lets a recipient take a lone LF for a line end: two readers would see two messages. An LF at `from` is one too:
  // before it stands the LF of the line before, or nothing.
  if (text.charCodeAt(end) !== CR) return malformed(side, 'bare LF')
  if (end - from > limits.line) return tooLarge(side, 'line too long', limits.line)
  return { kind: 'line', end }
}

/** Reads field lines from `from` to the empty line. */
export function parseFields(section: Section, from: number): Fields | Incomplete | Refusal {
  const headers: (readonly [string, string])[] = []
  let start = from
  for (;;) {
    const line = findLine(section, start)
    if (line.kind !== 'line') return line
    if (line.end === start) return { kind: 'fields', headers, end: start + 2 }
    if (headers.length >= section.limits.count) {
      return tooLarge(section.side, 'too many headers', section.limits.count)
    }
    const field = parseField(section.text, start, line.end)
    if (typeof field === 'string') return malformed(section.side, field)
    headers.push(field)
    start = line.end + 2
  }
}

// Gives the field, or the fault in words.
function parseField(text: string, start: number, end: number): readonly [string, string] | string {
  const colon = skip(TOKEN, text, start, end)
  if (colon === start || text.charCodeAt(colon) !== COLON) return nameFault(text, start, colon)
  let from = colon + 1
  while (from < end && isBlank(text.charCodeAt(from))) from++
  const stop = skip(FIELD, text, from, end)
  if (stop !== end) return text.charCodeAt(stop) === CR ? 'bare CR' : 'control character in a header value'
  let to = end
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--
  return [text.slice(start, colon), text.slice(from, to)]
}

function nameFault(text: string, start: number, at: number): string {
  const code = text.charCodeAt(at)
  if (at === start && isBlank(code)) return 'folded header line' // obs-fold, RFC 9112 5.2
  if (at === start && code === COLON) return 'empty header name'
  if (isBlank(code)) return 'blank before the colon' // RFC 9112 5.1
  return code === CR ? 'header line without a colon' : 'header name that is not a token'
}
