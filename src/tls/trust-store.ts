/**
 * The PKCS#12 trust store that Java wants (RFC 7292): certificates alone, without keys.
 *
 * Limit: the password protects nothing. The certificates are public and stand there in clear; the MAC tells damage and
 * lets old Javas open the file.
 */
import { X509Certificate } from 'node:crypto'
import hmac from 'node-forge/lib/hmac.js'
import pkcs12 from 'node-forge/lib/pkcs12.js'
import sha256 from 'node-forge/lib/sha256.js'
import util from 'node-forge/lib/util.js'
import { randomBytes } from '../base/random.ts'
import { bmp, type Der, encode, integer, nothing, octets, oid, sequence, setOf, tagged } from './der.ts'

const OID = {
  data: '1.2.840.113549.1.7.1',
  certBag: '1.2.840.113549.1.12.10.1.3',
  x509Certificate: '1.2.840.113549.1.9.22.1',
  friendlyName: '1.2.840.113549.1.9.20',
  // Java takes a certificate for a trusted one only when it carries this attribute (JDK-4415637).
  oracleTrustedKeyUsage: '2.16.840.1.113894.746875.1.1',
  anyExtendedKeyUsage: '2.5.29.37.0',
  sha256: '2.16.840.1.101.3.4.2.1',
} as const

// As Java's own keytool writes since 16: HmacPBESHA256 with 10,000 rounds.
const ROUNDS = 10_000
const SALT_LENGTH = 20
const MAC_KEY_LENGTH = 32
const MAC_KEY = 3 // RFC 7292 B.3: key material for a MAC

/**
 * Writes a trust store with these certificates.
 *
 * @param certificatePems - one certificate each; see appTrust.
 * @param password - ASCII; Java asks for one, also for public certificates.
 */
export function trustStorePkcs12(certificatePems: readonly string[], password: string): Buffer {
  const bags = encode(sequence(...certificatePems.map(certificateBag)))
  const contents = encode(sequence(dataOf(bags)))
  return encode(sequence(integer(Buffer.of(3)), dataOf(contents), macOf(contents, password)))
}

function dataOf(bytes: Buffer): Der {
  return sequence(oid(OID.data), tagged(0, octets(bytes)))
}

function certificateBag(pem: string, index: number): Der {
  const certificate = sequence(oid(OID.x509Certificate), tagged(0, octets(new X509Certificate(pem).raw)))
  const attributes = setOf(
    sequence(oid(OID.friendlyName), setOf(bmp(`cloakroom-${index}`))), // an alias; Java wants them different
    sequence(oid(OID.oracleTrustedKeyUsage), setOf(oid(OID.anyExtendedKeyUsage))),
  )
  return sequence(oid(OID.certBag), tagged(0, certificate), attributes)
}

function macOf(contents: Buffer, password: string): Der {
  const salt = randomBytes(SALT_LENGTH)
  const saltBytes = util.createBuffer(salt.toString('latin1'))
  const key = pkcs12.generateKey(password, saltBytes, MAC_KEY, ROUNDS, MAC_KEY_LENGTH, sha256.create())
  const mac = hmac.create()
  mac.start('sha256', key.getBytes())
  mac.update(contents.toString('latin1'))
  const digest = Buffer.from(mac.digest().getBytes(), 'latin1')
  return sequence(
    sequence(sequence(oid(OID.sha256), nothing()), octets(digest)),
    octets(salt),
    integer(Buffer.of(ROUNDS >> 8, ROUNDS & 0xff)),
  )
}
