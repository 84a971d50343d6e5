/**
 * Reads server name and protocols from the first bytes of a TLS connection (RFC 8446 4.1.2, RFC 6066 3, RFC 7301 3.1).
 *
 * Rule of this file: pure and bounded. It takes all bytes that have come so far, across as many records as the client
 * likes, and answers in the same way however they were cut. What it accepts OpenSSL parses again; what is ambiguous
 * (a name twice, an extension twice) is malformed here.
 */
import { type Bytes, kib } from '../base/size.ts'

/** No client of today sends more than about 2 KiB, post-quantum key shares included (threat-model.md A12). */
export const MAX_CLIENT_HELLO: Bytes = kib(16)

const HANDSHAKE_RECORD = 0x16
const MAJOR_VERSION = 0x03
const CLIENT_HELLO = 0x01
const RECORD_HEADER = 5
const HANDSHAKE_HEADER = 4
const MAX_RECORD = 16384 // RFC 8446 5.1
const EXTENSION_SERVER_NAME = 0
const EXTENSION_ALPN = 16
const HOST_NAME = 0

export type ClientHello = {
  /** As sent, not normalised; latin1 text. Undefined when the client sent no name. */
  readonly serverName: string | undefined
  /** In the client's order; empty when it offers none. */
  readonly alpn: readonly string[]
}

export type ParsedClientHello =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'not_tls' }
  | { readonly kind: 'malformed' }
  | ({ readonly kind: 'hello' } & ClientHello)

const MALFORMED = { kind: 'malformed' } as const
const INCOMPLETE = { kind: 'incomplete' } as const

/** Reads a ClientHello from the bytes that have come so far; call again with more when it is incomplete. */
export function parseClientHello(bytes: Buffer): ParsedClientHello {
  if (bytes.length > 0 && bytes[0] !== HANDSHAKE_RECORD) return { kind: 'not_tls' }
  if (bytes.length > 1 && bytes[1] !== MAJOR_VERSION) return { kind: 'not_tls' }
  const gathered = gatherMessage(bytes)
  if (gathered === undefined) return MALFORMED
  if (gathered.message !== undefined) return parseMessage(gathered.message) ?? MALFORMED
  return bytes.length >= MAX_CLIENT_HELLO ? MALFORMED : INCOMPLETE
}

// Walks the records and joins the first handshake message; undefined when one of them cannot be part of a ClientHello.
// What follows the message is not looked at. One pass: records of one byte each must not cost more than others (G8).
function gatherMessage(bytes: Buffer): { message: Buffer | undefined } | undefined {
  const fragments: Buffer[] = []
  let have = 0
  let length = 0
  for (let at = 0; at < bytes.length; ) {
    if (bytes[at] !== HANDSHAKE_RECORD) return undefined
    if (at + 1 < bytes.length && bytes[at + 1] !== MAJOR_VERSION) return undefined
    if (at + RECORD_HEADER > bytes.length) break
    const size = bytes.readUInt16BE(at + 3)
    if (size === 0 || size > MAX_RECORD) return undefined
    const fragment = bytes.subarray(at + RECORD_HEADER, at + RECORD_HEADER + size)
    fragments.push(fragment)
    have += fragment.length
    at += RECORD_HEADER + size
    if (length === 0 && have >= HANDSHAKE_HEADER) {
      const header = Buffer.concat(fragments)
      if (header[0] !== CLIENT_HELLO) return undefined
      length = HANDSHAKE_HEADER + header.readUIntBE(1, 3)
      if (length > MAX_CLIENT_HELLO) return undefined
    }
    if (length > 0 && have >= length) return { message: Buffer.concat(fragments).subarray(0, length) }
  }
  return { message: undefined }
}

function parseMessage(message: Buffer): ParsedClientHello | undefined {
  const reader = createReader(message.subarray(HANDSHAKE_HEADER))
  reader.take(2 + 32) // legacy_version, random
  reader.vector(1) // legacy_session_id
  reader.vector(2) // cipher_suites
  reader.vector(1) // legacy_compression_methods
  if (reader.isDone())
    return reader.isBroken() ? undefined : { kind: 'hello', serverName: undefined, alpn: [] }
  const extensions = parseExtensions(reader.vector(2))
  if (reader.isBroken() || !reader.isDone() || extensions === undefined) return undefined
  const serverName = parseServerName(extensions.get(EXTENSION_SERVER_NAME))
  const alpn = parseAlpn(extensions.get(EXTENSION_ALPN))
  if (serverName === undefined || alpn === undefined) return undefined
  return { kind: 'hello', serverName: serverName.name, alpn }
}

function parseExtensions(bytes: Buffer): Map<number, Buffer> | undefined {
  const reader = createReader(bytes)
  const extensions = new Map<number, Buffer>()
  while (!reader.isDone()) {
    const type = reader.number(2)
    const body = reader.vector(2)
    if (extensions.has(type)) return undefined // RFC 8446 4.2: at most once
    extensions.set(type, body)
  }
  return reader.isBroken() ? undefined : extensions
}

// RFC 6066 3: at most one name of each type, and host_name is the only type that there is.
function parseServerName(bytes: Buffer | undefined): { name: string | undefined } | undefined {
  if (bytes === undefined) return { name: undefined }
  const outer = createReader(bytes)
  const list = createReader(outer.vector(2))
  const type = list.number(1)
  const name = list.vector(2)
  const isWhole = outer.isDone() && list.isDone() && !outer.isBroken() && !list.isBroken()
  return isWhole && type === HOST_NAME && name.length > 0 ? { name: name.toString('latin1') } : undefined
}

function parseAlpn(bytes: Buffer | undefined): readonly string[] | undefined {
  if (bytes === undefined) return []
  const outer = createReader(bytes)
  const list = createReader(outer.vector(2))
  const names: string[] = []
  while (!list.isDone()) {
    const name = list.vector(1).toString('latin1')
    if (name.length === 0) return undefined
    names.push(name)
  }
  const isWhole = outer.isDone() && !outer.isBroken() && !list.isBroken()
  return isWhole && names.length > 0 ? names : undefined
}

// A cursor that is broken for good once it was asked for more than there is; then it is also done, so that loops end.
function createReader(bytes: Buffer) {
  let at = 0
  let broken = false
  const take = (count: number): Buffer => {
    if (at + count > bytes.length) broken = true
    const taken = broken ? Buffer.alloc(0) : bytes.subarray(at, at + count)
    at = broken ? bytes.length : at + count
    return taken
  }
  const number = (width: number): number => {
    const taken = take(width)
    return taken.length === width ? taken.readUIntBE(0, width) : 0
  }
  return {
    take,
    number,
    vector: (width: number) => take(number(width)),
    isDone: () => at >= bytes.length,
    isBroken: () => broken,
  }
}
