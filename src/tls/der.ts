/**
 * DER values for certificates and trust stores, over node-forge's ASN.1.
 *
 * Not a general ASN.1 library: only what X.509 (RFC 5280) and PKCS#12 (RFC 7292) need of it. node-forge takes bytes as
 * latin1 strings; that stays inside this file.
 */
import asn1 from 'node-forge/lib/asn1.js'
import { formatTime } from '../base/clock.ts'

export type Der = ReturnType<typeof asn1.create>

const UNIVERSAL = 0x00
const CONTEXT = 0x80
const TAG = {
  boolean: 1,
  integer: 2,
  bits: 3,
  octets: 4,
  null: 5,
  oid: 6,
  utf8: 12,
  sequence: 16,
  set: 17,
  utcTime: 23,
  generalizedTime: 24,
  bmp: 30,
} as const

const latin1 = (bytes: Uint8Array) =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
const primitive = (type: number, value: string) => asn1.create(UNIVERSAL, type, false, value)

export const sequence = (...items: Der[]): Der => asn1.create(UNIVERSAL, TAG.sequence, true, items)
export const setOf = (...items: Der[]): Der => asn1.create(UNIVERSAL, TAG.set, true, items)
export const oid = (dotted: string): Der => primitive(TAG.oid, asn1.oidToDer(dotted).getBytes())
export const nothing = (): Der => primitive(TAG.null, '')
export const yes = (): Der => primitive(TAG.boolean, '\xff')
export const octets = (bytes: Uint8Array): Der => primitive(TAG.octets, latin1(bytes))
export const utf8 = (text: string): Der => primitive(TAG.utf8, Buffer.from(text, 'utf8').toString('latin1'))

/** An INTEGER of big-endian two's complement bytes; the caller keeps them minimal and of the right sign. */
export const integer = (bytes: Uint8Array): Der => primitive(TAG.integer, latin1(bytes))

/** A BIT STRING whose last `unused` bits do not count. */
export const bits = (bytes: Uint8Array, unused = 0): Der =>
  primitive(TAG.bits, String.fromCharCode(unused) + latin1(bytes))

/** A BMPString, as PKCS#12 wants friendly names; node-forge itself makes two bytes of each code unit. */
export const bmp = (text: string): Der => primitive(TAG.bmp, text)

/** A context-specific tag around other values. */
export const tagged = (tag: number, ...items: Der[]): Der => asn1.create(CONTEXT, tag, true, items)

/** A context-specific tag in place of a primitive's own. */
export const implicit = (tag: number, bytes: Uint8Array): Der =>
  asn1.create(CONTEXT, tag, false, latin1(bytes))

/** A Time as RFC 5280 4.1.2.5 wants it: UTCTime through 2049, GeneralizedTime after; whole seconds. */
export function time(millis: number): Der {
  const digits = formatTime(millis).slice(0, 19).replace(/[-:T]/g, '')
  return Number(digits.slice(0, 4)) < 2050
    ? primitive(TAG.utcTime, `${digits.slice(2)}Z`)
    : primitive(TAG.generalizedTime, `${digits}Z`)
}

export function encode(node: Der): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), 'latin1')
}

/** Reads one DER value that fills `bytes`; undefined when malformed. */
export function decode(bytes: Uint8Array): Der | undefined {
  try {
    return asn1.fromDer(latin1(bytes), { strict: true, parseAllBytes: true, decodeBitStrings: false })
  } catch {
    return undefined // forge says why in its message only; every cause means the same: not DER
  }
}

/** The values inside a constructed one; none for a primitive. */
export function items(node: Der | undefined): readonly Der[] {
  return Array.isArray(node?.value) ? node.value : []
}

/** The bytes inside a primitive value; empty for a constructed one. */
export function content(node: Der | undefined): Buffer {
  return Buffer.from(typeof node?.value === 'string' ? node.value : '', 'latin1')
}

/** Tells whether a value has a context-specific tag. */
export function hasTag(node: Der, tag: number): boolean {
  return node.tagClass === CONTEXT && node.type === tag
}

/** Reads an OBJECT IDENTIFIER; undefined for anything else. */
export function readOid(node: Der | undefined): string | undefined {
  if (node?.tagClass !== UNIVERSAL || node.type !== TAG.oid || typeof node.value !== 'string')
    return undefined
  return asn1.derToOid(node.value)
}
