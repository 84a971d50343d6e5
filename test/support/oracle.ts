/**
 * The leak oracle: tells whether captured bytes hold a part of a canary secret, in any of the encodings of the threat model.
 *
 * It decodes what it is given in every way it knows and looks for any 12 bytes of the canary in a row. A test that relies on its
 * silence should have a positive control: the same capture with the guard off must make it speak.
 */
import { randomBytes } from 'node:crypto'
import { brotliDecompressSync, constants, gunzipSync, inflateRawSync, inflateSync } from 'node:zlib'

/** Bytes in a row that count as a leak (the promise of the threat model). */
const WINDOW = 12
const BLOCK = WINDOW / 2

/** A secret value that is found nowhere by chance: `<prefix>_<tenant>_<name>_<40 hex digits>`. */
export function makeCanary(tenant: string, name: string, prefix = 'cnry'): string {
  return `${prefix}_${tenant}_${name}_${randomBytes(20).toString('hex')}`
}

/** Names of the encodings in which `captured` holds at least 12 bytes in a row of the canary; empty when there are none. */
export function findLeaks(captured: Uint8Array | string, canary: string): string[] {
  const bytes = typeof captured === 'string' ? Buffer.from(captured) : Buffer.from(captured)
  const secret = Buffer.from(canary).toString('latin1')
  return [...new Set(leaksIn(bytes, secret, 2))]
}

function leaksIn(bytes: Buffer, secret: string, depth: number): string[] {
  const text = bytes.toString('latin1')
  const leaks = spellings(text)
    .filter(([, decoded]) => holdsWindow(decoded, secret))
    .map(([name]) => name)
  if (holdsWindow(text, [...secret].reverse().join(''))) leaks.push('reversed')
  if (depth === 0) return leaks
  for (const [name, inner] of decompressed(bytes)) {
    leaks.push(...leaksIn(inner, secret, depth - 1).map(leak => `${name}>${leak}`))
  }
  return leaks
}

/** The text read in every way that keeps it one text. */
function spellings(text: string): [name: string, decoded: string][] {
  const once = percentDecoded(text)
  return [
    ['raw', text],
    ['chunked', text.replace(/\r\n[0-9a-f]{1,8}[^\r\n]*\r\n/gi, '')],
    ['percent', once],
    ['double percent', percentDecoded(once)],
    ['json', jsonDecoded(text)],
    ['html', htmlDecoded(text)],
    ['utf16', text.replaceAll('\0', '')],
    ...runs(text, /[A-Za-z0-9+/_-]{16,}/g).flatMap(base64Decoded),
    ...runs(text, /[0-9a-fA-F]{24,}/g).flatMap(hexDecoded),
  ]
}

/** Any 12 bytes in a row hold a whole block of 6 that starts at a multiple of 6: only these are searched for. */
function holdsWindow(text: string, secret: string): boolean {
  for (let block = 0; block + BLOCK <= secret.length; block += BLOCK) {
    const needle = secret.slice(block, block + BLOCK)
    for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + 1)) {
      if (commonRun(text, at, secret, block) >= Math.min(WINDOW, secret.length)) return true
    }
  }
  return false
}

function commonRun(text: string, at: number, secret: string, block: number): number {
  let before = 0
  while (at - before > 0 && block - before > 0 && text[at - before - 1] === secret[block - before - 1])
    before++
  let after = BLOCK
  while (block + after < secret.length && text[at + after] === secret[block + after]) after++
  return before + after
}

function percentDecoded(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, digits: string) => fromCode(digits, 16))
}

function jsonDecoded(text: string): string {
  const units = text.replace(/\\u00([0-9a-f]{2})/gi, (_, digits: string) => fromCode(digits, 16))
  return units.replace(/\\(["\\/])/g, '$1')
}

function htmlDecoded(text: string): string {
  const decimal = text.replace(/&#0*(\d{1,3});?/g, (_, digits: string) => fromCode(digits, 10))
  return decimal.replace(/&#x0*([0-9a-f]{1,2});?/gi, (_, digits: string) => fromCode(digits, 16))
}

function fromCode(digits: string, radix: number): string {
  return String.fromCharCode(Number.parseInt(digits, radix))
}

function runs(text: string, pattern: RegExp): string[] {
  return text.match(pattern) ?? []
}

// Where in a group of four the text starts is unknown when it stands in other text: each start is tried.
function base64Decoded(run: string): [name: string, decoded: string][] {
  return [0, 1, 2, 3].map(skip => ['base64', Buffer.from(run.slice(skip), 'base64').toString('latin1')])
}

function hexDecoded(run: string): [name: string, decoded: string][] {
  return [0, 1].map(skip => ['hex', Buffer.from(run.slice(skip), 'hex').toString('latin1')])
}

/** What decompresses: streams with a signature anywhere, those without one at the start of the bytes or of a message body. */
function decompressed(bytes: Buffer): [name: string, inner: Buffer][] {
  const bodies = [0, ...positions(bytes, Buffer.from('\r\n\r\n')).map(at => at + 4)]
  const gzip = positions(bytes, Buffer.from([0x1f, 0x8b, 0x08]))
  const zlib = [0x01, 0x5e, 0x9c, 0xda].flatMap(level => positions(bytes, Buffer.from([0x78, level])))
  const partial = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: 1 << 26 }
  const brotli = { finishFlush: constants.BROTLI_OPERATION_FLUSH, maxOutputLength: 1 << 26 }
  return [
    ...attempts('gzip', bytes, gzip, part => gunzipSync(part, partial)),
    ...attempts('deflate', bytes, zlib, part => inflateSync(part, partial)),
    ...attempts('deflate', bytes, bodies, part => inflateRawSync(part, partial)),
    ...attempts('br', bytes, bodies, part => brotliDecompressSync(part, brotli)),
  ]
}

function attempts(
  name: string,
  bytes: Buffer,
  starts: readonly number[],
  decompress: (part: Buffer) => Buffer,
): [name: string, inner: Buffer][] {
  return starts.flatMap(start => {
    try {
      const inner = decompress(bytes.subarray(start))
      return inner.length === 0 ? [] : [[name, inner] as [string, Buffer]]
    } catch {
      // Not such a stream: nothing to look into.
      return []
    }
  })
}

function positions(bytes: Buffer, needle: Buffer): number[] {
  const found: number[] = []
  for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, at + 1)) found.push(at)
  return found
}
