/**
 * Certificates for tests: a CA of our own making with the clock that the test has, and leaves with any fault asked for.
 */
import { createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto'
import { type Clock, days, systemClock } from '../../src/base/clock.ts'
import { type Authority, createAuthority, loadAuthority } from '../../src/tls/authority.ts'
import {
  distinguishedName,
  extension,
  formatPem,
  KEY_USAGE,
  keyUsage,
  OID,
  readAuthority,
  signCertificate,
  subjectAltName,
} from '../../src/tls/certificate.ts'
import { oid, sequence, yes } from '../../src/tls/der.ts'

export type TestAuthority = { readonly certificatePem: string; readonly privateKey: KeyObject }

export function anAuthority(options: { clock?: Clock; commonName?: string } = {}): TestAuthority & {
  readonly authority: Authority
} {
  const clock = options.clock ?? systemClock
  const made = createAuthority({ commonName: options.commonName ?? 'Test CA', clock })
  return { ...made, authority: loadAuthority({ ...made, clock, file: 'ca.pem' }) }
}

export type ServerCertificate = { readonly cert: string; readonly key: string }

/** A server certificate as an upstream has one; every part can be made wrong. */
export function aServerCertificate(
  issuer: TestAuthority | 'self',
  options: {
    readonly host?: string
    readonly notBefore?: number
    readonly notAfter?: number
    readonly isCa?: boolean
    readonly keys?: { readonly publicKey: KeyObject; readonly privateKey: KeyObject }
  } = {},
): ServerCertificate & TestAuthority {
  const { publicKey, privateKey } = options.keys ?? generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const host = options.host ?? 'api.example.test'
  const subject = distinguishedName(host.slice(0, 64))
  const issuerName = issuer === 'self' ? subject : (readAuthority(issuer.certificatePem)?.subject ?? subject)
  const now = systemClock.now()
  const der = signCertificate(
    {
      issuer: issuerName,
      subject,
      publicKey,
      notBefore: options.notBefore ?? now - days(1),
      notAfter: options.notAfter ?? now + days(30),
      extensions: [
        extension(OID.basicConstraints, true, options.isCa === true ? sequence(yes()) : sequence()),
        keyUsage(options.isCa === true ? KEY_USAGE.certSign : KEY_USAGE.digitalSignature),
        extension(OID.extendedKeyUsage, false, sequence(oid(OID.serverAuth))),
        subjectAltName(host, false),
      ],
    },
    issuer === 'self' ? privateKey : issuer.privateKey,
  )
  const certificatePem = formatPem('CERTIFICATE', der)
  const chain = issuer === 'self' ? '' : issuer.certificatePem
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  return { certificatePem, privateKey, cert: certificatePem + chain, key }
}

/** Tells whether a certificate carries the public half of a key. */
export function carriesKey(certificatePem: string, privateKey: KeyObject): boolean {
  return new X509Certificate(certificatePem).publicKey.equals(createPublicKey(privateKey))
}
