/**
 * Heads and chunks to bytes. The only serialiser, on both legs.
 *
 * Rule of this file: nothing is written that head.ts would not read back as the same message (SECURITY: header injection through a
 * credential's value, threat-model.md C7). What does not fit is a fault of ours, found before it leaves: INTERNAL_BROKEN_INVARIANT,
 * without the value.
 */
import { invariant } from '../base/assert.ts'
import type { HeaderList } from '../model/message.ts'
import { isFieldValue, isMethod, isOriginTarget, isReason, isToken } from './grammar.ts'
import { isForbiddenTrailer } from './trailers.ts'

/**
 * Writes a request head, always HTTP/1.1, into memory of its own that the caller may overwrite once it is sent.
 *
 * @param path - origin form, or `*` for OPTIONS.
 * @throws INTERNAL_BROKEN_INVARIANT when a part breaks the grammar, or two headers frame the body.
 */
export function writeRequestHead(method: string, path: string, headers: HeaderList): Buffer {
  invariant(isMethod(method), 'method to be written')
  invariant(isOriginTarget(path) || (path === '*' && method === 'OPTIONS'), 'request target to be written')
  // Not from Node's shared pool: this head holds credentials (threat-model.md N6).
  return ownLatin1(`${method} ${path} HTTP/1.1\r\n${headLines(headers)}`)
}

/** Writes a response head. @throws INTERNAL_BROKEN_INVARIANT as writeRequestHead */
export function writeResponseHead(minor: 0 | 1, status: number, reason: string, headers: HeaderList): Buffer {
  invariant(Number.isInteger(status) && status >= 100 && status <= 599, 'status to be written')
  invariant(isReason(reason), 'reason to be written')
  return ownLatin1(`HTTP/1.${minor} ${status} ${reason}\r\n${headLines(headers)}`)
}

/** Ends the data of a chunk. */
export const CHUNK_END: Buffer = Buffer.from('\r\n', 'latin1')

/** Writes what stands before a chunk's data. @throws INTERNAL_BROKEN_INVARIANT for 0, which would end the body */
export function writeChunkPrefix(length: number): Buffer {
  invariant(Number.isSafeInteger(length) && length > 0, 'chunk length to be written')
  return Buffer.from(`${length.toString(16)}\r\n`, 'latin1')
}

const LAST_CHUNK = Buffer.from('0\r\n\r\n', 'latin1')

/** Writes the end of a chunked body. @throws INTERNAL_BROKEN_INVARIANT for a trailer that isForbiddenTrailer */
export function writeLastChunk(trailers: HeaderList): Buffer {
  if (trailers.length === 0) return LAST_CHUNK
  for (const [name] of trailers) invariant(!isForbiddenTrailer(name), 'trailer that is never carried')
  return ownLatin1(`0\r\n${fieldLines(trailers)}\r\n`)
}

function headLines(headers: HeaderList): string {
  let framing = 0
  for (const [name] of headers) if (isFramingName(name)) framing++
  invariant(framing <= 1, 'two headers that frame the body') // E1: one decision, announced once
  return `${fieldLines(headers)}\r\n`
}

function isFramingName(name: string): boolean {
  if (name.length !== 14 && name.length !== 17) return false
  const lower = name.toLowerCase()
  return lower === 'content-length' || lower === 'transfer-encoding'
}

function fieldLines(headers: HeaderList): string {
  let lines = ''
  for (const [name, value] of headers) {
    invariant(isToken(name), 'header name to be written')
    invariant(isFieldValue(value), 'header value to be written')
    lines += `${name}: ${value}\r\n`
  }
  return lines
}

function ownLatin1(text: string): Buffer {
  const bytes = Buffer.allocUnsafeSlow(text.length)
  bytes.write(text, 'latin1')
  return bytes
}
