/**
 * X.509 certificates as DER: names, extensions, signature (RFC 5280).
 *
 * Rule of this file: it builds and reads structures and decides nothing; who may have a certificate is authority.ts.
 * Keys and signatures are P-256 by node:crypto: node-forge's own signing knows RSA only and is a hundred times slower.
 */
import { hash, type KeyObject, sign, X509Certificate } from 'node:crypto'
import { randomBytes } from '../base/random.ts'
import { bareHost, ipv6Groups, isIpHost } from '../model/target.ts'
import {
  bits,
  content,
  type Der,
  decode,
  encode,
  hasTag,
  implicit,
  integer,
  items,
  octets,
  oid,
  readOid,
  sequence,
  setOf,
  tagged,
  time,
  utf8,
  yes,
} from './der.ts'

export const OID = {
  commonName: '2.5.4.3',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
} as const

const X509_V3 = integer(Buffer.of(2))
// GeneralName (RFC 5280 4.2.1.6): implicit tags.
const DNS_NAME = 2
const IP_ADDRESS = 7

/** Bits of the first byte of KeyUsage, counted from the left. */
export const KEY_USAGE = { digitalSignature: 0x80, certSign: 0x04, crlSign: 0x02 } as const

export type CertificateFields = {
  readonly issuer: Der
  readonly subject: Der
  readonly publicKey: KeyObject
  readonly notBefore: number
  readonly notAfter: number
  readonly extensions: readonly Der[]
}

/** Builds a certificate and signs it with an issuer's P-256 key (ecdsa-with-SHA256). */
export function signCertificate(fields: CertificateFields, issuerKey: KeyObject): Buffer {
  const algorithm = sequence(oid(OID.ecdsaWithSha256)) // RFC 5758 3.2: no parameters, not even NULL
  const signed = sequence(
    tagged(0, X509_V3),
    integer(newSerial()),
    algorithm,
    fields.issuer,
    sequence(time(fields.notBefore), time(fields.notAfter)),
    fields.subject,
    publicKeyInfo(fields.publicKey),
    tagged(3, sequence(...fields.extensions)),
  )
  const signature = sign('sha256', encode(signed), { key: issuerKey, dsaEncoding: 'der' })
  return encode(sequence(signed, algorithm, bits(signature)))
}

// Sixteen octets that start with 01: positive, of minimal length, 126 random bits. Go since 1.23 refuses negative ones.
function newSerial(): Buffer {
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
  return serial
}

function publicKeyInfo(publicKey: KeyObject): Der {
  const info = decode(publicKey.export({ type: 'spki', format: 'der' }))
  return info ?? sequence()
}

/** RFC 7093 2 method 1: the leftmost 160 bits of SHA-256 over the bits of the public key. */
export function keyIdentifier(publicKey: KeyObject): Buffer {
  const keyBits = content(items(publicKeyInfo(publicKey))[1]).subarray(1)
  return hash('sha256', keyBits, 'buffer').subarray(0, 20)
}

/** A distinguished name of one CN, or the empty one. */
export function distinguishedName(commonName: string | undefined): Der {
  return commonName === undefined
    ? sequence()
    : sequence(setOf(sequence(oid(OID.commonName), utf8(commonName))))
}

export function extension(id: string, critical: boolean, value: Der): Der {
  return critical ? sequence(oid(id), yes(), octets(encode(value))) : sequence(oid(id), octets(encode(value)))
}

/** KeyUsage is critical, as RFC 5280 4.2.1.3 asks. */
export function keyUsage(flags: number): Der {
  const unused = 31 - Math.clz32(flags & -flags) // DER: trailing zero bits of a named list do not count
  return extension(OID.keyUsage, true, bits(Buffer.of(flags), unused))
}

/** The AKI of a leaf: a byte copy of the issuer's SKI, never recomputed (a wrong one fails in every verifier). */
export function authorityKeyIdentifier(subjectKeyIdentifier: Buffer): Der {
  return extension(OID.authorityKeyIdentifier, false, sequence(implicit(0, subjectKeyIdentifier)))
}

/** One name for exactly this host: iPAddress for a literal, dNSName for a name. */
export function subjectAltName(host: string, critical: boolean): Der {
  const name = isIpHost(host)
    ? implicit(IP_ADDRESS, addressBytes(host))
    : implicit(DNS_NAME, Buffer.from(host))
  return extension(OID.subjectAltName, critical, sequence(name))
}

/** The 4 or 16 bytes of an IP literal in the form of parseHost. */
export function addressBytes(host: string): Buffer {
  if (!host.startsWith('[')) return Buffer.from(host.split('.').map(Number))
  return Buffer.from((ipv6Groups(bareHost(host)) ?? []).flatMap(group => [group >> 8, group & 0xff]))
}

/**
 * NameConstraints (RFC 5280 4.2.1.10): the CA is good for these hosts alone.
 *
 * A kind of name that no constraint mentions is free, so a list without addresses excludes every address, and a list
 * without names every name.
 */
export function nameConstraints(hosts: readonly string[]): Der {
  const names = hosts.filter(host => !isIpHost(host)).map(host => host.replace(/^\*\./, ''))
  const addresses = hosts.filter(isIpHost).map(addressBytes)
  const exactly = (bytes: Buffer) =>
    implicit(IP_ADDRESS, Buffer.concat([bytes, Buffer.alloc(bytes.length, 0xff)]))
  const every = (length: number) => implicit(IP_ADDRESS, Buffer.alloc(2 * length))
  const permitted = [...names.map(name => implicit(DNS_NAME, Buffer.from(name))), ...addresses.map(exactly)]
  const excluded = [
    ...(names.length === 0 ? [implicit(DNS_NAME, Buffer.alloc(0))] : []),
    ...[4, 16].filter(length => !addresses.some(bytes => bytes.length === length)).map(every),
  ]
  const subtrees = (tag: number, bases: readonly Der[]) =>
    bases.length === 0 ? [] : [tagged(tag, ...bases.map(base => sequence(base)))]
  return extension(OID.nameConstraints, true, sequence(...subtrees(0, permitted), ...subtrees(1, excluded)))
}

/** What a verifier of our leaves will look at in the certificate of a CA. */
export type AuthorityFields = {
  readonly certificate: X509Certificate
  /** As it stands in the certificate: the issuer of every leaf is these very bytes. */
  readonly subject: Der
  readonly subjectKeyIdentifier: Buffer | undefined
  /** basicConstraints says CA:TRUE. */
  readonly isCa: boolean
  /** First byte of KeyUsage; undefined when the extension is absent. */
  readonly keyUsage: number | undefined
}

/** Reads the first certificate of a PEM text; undefined when there is none, or when it is not DER. */
export function readAuthority(certificatePem: string): AuthorityFields | undefined {
  const certificate = parseCertificate(certificatePem)
  const root = certificate === undefined ? undefined : decode(certificate.raw)
  // Go compares issuer and subject byte by byte: a certificate that changes when it is written again cannot be copied from.
  if (certificate === undefined || root === undefined || !encode(root).equals(certificate.raw))
    return undefined
  const fields = items(items(root)[0]).filter(field => !hasTag(field, 0))
  const subject = fields[4]
  if (subject === undefined) return undefined
  const extensions = items(items(fields.find(field => hasTag(field, 3)))[0])
  const find = (id: string) => {
    const parts = items(extensions.find(one => readOid(items(one)[0]) === id))
    return parts.length === 0 ? undefined : decode(content(parts[parts.length - 1]))
  }
  const identifier = find(OID.subjectKeyIdentifier)
  const usage = find(OID.keyUsage)
  return {
    certificate,
    subject,
    isCa: content(items(find(OID.basicConstraints))[0])[0] === 0xff,
    subjectKeyIdentifier: identifier === undefined ? undefined : content(identifier),
    keyUsage: usage === undefined ? undefined : (content(usage)[1] ?? 0),
  }
}

/** Reads a certificate in PEM or DER; undefined when it is neither. */
export function parseCertificate(source: string | Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(source)
  } catch {
    return undefined // OpenSSL's reasons all mean the same here: not a certificate
  }
}

/** Writes PEM with lines of 64 characters (RFC 7468 2). */
export function formatPem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

const PEM_BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** Splits a PEM text into its certificates, as texts; what stands between them is left out. */
export function splitPem(text: string): string[] {
  return (text.match(PEM_BLOCK) ?? []).map(block => `${block}\n`)
}

/** The bytes of a certificate's public key: equal for two certificates of one key, however they were issued. */
export function publicKeyBytes(certificate: X509Certificate): Buffer {
  return certificate.publicKey.export({ type: 'spki', format: 'der' })
}
