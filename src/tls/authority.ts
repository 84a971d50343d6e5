/**
 * The local CA: made once, loaded at start, and the only maker of leaf certificates.
 *
 * Rules of this file: a leaf never outlives its CA, is for exactly one host, and can never sign anything (threat-model.md H2).
 * The recipe is the union of what OpenSSL, GnuTLS, Go, Java and Python with VERIFY_X509_STRICT demand
 * (test/interop/certificates.test.ts). Caching is next door in leaf-cache.ts.
 */
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { type Clock, days, hours, type Milliseconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { isIpHost } from '../model/target.ts'
import {
  type AuthorityFields,
  authorityKeyIdentifier,
  distinguishedName,
  extension,
  formatPem,
  KEY_USAGE,
  keyIdentifier,
  keyUsage,
  nameConstraints,
  OID,
  readAuthority,
  signCertificate,
  subjectAltName,
} from './certificate.ts'
import { integer, octets, oid, sequence, yes } from './der.ts'

const CA_LIFETIME = days(365) // rulings.md 25: replaced with overlap; below the 398 days that Apple allows
const LEAF_LIFETIME = days(7) // a weekend without restarts; a stolen leaf key is worthless soon (threat-model.md H2)
const BACKDATING = hours(1) // clocks of containers and of their hosts differ
const LONGEST_COMMON_NAME = 64 // ub-common-name, RFC 5280 appendix A.1

export type LeafCertificate = {
  /** The leaf and then the CA's own chain. */
  readonly certificatePem: string
  /** Shared by all leaves of this authority; it never leaves the process. */
  readonly privateKey: KeyObject
  /** Wall clock, milliseconds since 1970. */
  readonly notBefore: number
  readonly notAfter: number
}

export type Authority = {
  readonly certificatePem: string
  readonly certificateDer: Buffer
  /** Wall clock, milliseconds since 1970. */
  readonly notAfter: number
  /** The subject key identifier, in hexadecimal. */
  readonly keyId: string
  /**
   * Makes a certificate for one host in the form of parseHost.
   *
   * @throws TLS_AUTHORITY_INVALID when the CA has expired.
   */
  mint(host: string): LeafCertificate
}

export type NewAuthority = {
  /** A short key id is added, so that a CA and its successor never share a name. */
  readonly commonName: string
  readonly clock: Clock
  readonly lifetime?: Milliseconds
  /** Hosts, `*.example.com` included, that the CA is good for; undefined: all. */
  readonly nameConstraints?: readonly string[]
}

/** Makes a CA key and its self-signed certificate; the caller seals the key (ruling 25). */
export function createAuthority(options: NewAuthority): { certificatePem: string; privateKey: KeyObject } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const identifier = keyIdentifier(publicKey)
  const name = distinguishedName(`${options.commonName} ${identifier.toString('hex').slice(0, 8)}`)
  const now = options.clock.now()
  const der = signCertificate(
    {
      issuer: name,
      subject: name,
      publicKey,
      notBefore: now - BACKDATING,
      notAfter: now + (options.lifetime ?? CA_LIFETIME),
      extensions: [
        extension(OID.basicConstraints, true, sequence(yes(), integer(Buffer.of(0)))), // pathLen 0: leaves only
        keyUsage(KEY_USAGE.certSign | KEY_USAGE.crlSign),
        extension(OID.subjectKeyIdentifier, false, octets(identifier)),
        ...(options.nameConstraints === undefined ? [] : [nameConstraints(options.nameConstraints)]),
      ],
    },
    privateKey,
  )
  return { certificatePem: formatPem('CERTIFICATE', der), privateKey }
}

export type AuthoritySource = {
  /** The CA's certificate; further ones, up to a root, follow it in every chain. */
  readonly certificatePem: string
  readonly privateKey: KeyObject
  readonly clock: Clock
  /** Named in errors. */
  readonly file: string
}

/**
 * Takes a CA into use after checking that its leaves can be accepted by anybody.
 *
 * @throws TLS_AUTHORITY_INVALID naming the file and what is wrong.
 */
export function loadAuthority(source: AuthoritySource): Authority {
  const refuse = (what: string) => new CloakroomError('TLS_AUTHORITY_INVALID', { file: source.file, what })
  const fields = readAuthority(source.certificatePem)
  if (fields === undefined) throw refuse('it is not a certificate in PEM')
  const fault = faultOf(fields, source)
  if (fault !== undefined) throw refuse(fault)

  const { certificate, subject, subjectKeyIdentifier = Buffer.alloc(0) } = fields
  const notBefore = certificate.validFromDate.getTime()
  const notAfter = certificate.validToDate.getTime()
  const leafKeys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const mint = (host: string): LeafCertificate => {
    const now = source.clock.now()
    if (now >= notAfter) throw refuse('it has expired')
    const validity = {
      notBefore: Math.max(now - BACKDATING, notBefore),
      notAfter: Math.min(now + LEAF_LIFETIME, notAfter),
    }
    // No CN for an address: OpenSSL takes a CN for a DNS name where no dNSName stands, and then holds the name constraints
    // of DNS against it.
    const hasName = !isIpHost(host) && host.length <= LONGEST_COMMON_NAME
    const der = signCertificate(
      {
        issuer: subject,
        subject: distinguishedName(hasName ? host : undefined),
        publicKey: leafKeys.publicKey,
        ...validity,
        extensions: leafExtensions(host, subjectKeyIdentifier, !hasName),
      },
      source.privateKey,
    )
    const certificatePem = formatPem('CERTIFICATE', der) + source.certificatePem
    return { certificatePem, privateKey: leafKeys.privateKey, ...validity }
  }
  return {
    certificatePem: source.certificatePem,
    certificateDer: certificate.raw,
    notAfter,
    keyId: subjectKeyIdentifier.toString('hex'),
    mint,
  }
}

// No SKI on a leaf: SChannel takes a leaf for its CA when both carry the same one (mitmproxy issue 6494).
function leafExtensions(host: string, issuerKeyIdentifier: Buffer, isNameless: boolean) {
  return [
    extension(OID.basicConstraints, true, sequence()), // CA:FALSE is the default, and DER leaves defaults out
    keyUsage(KEY_USAGE.digitalSignature),
    extension(OID.extendedKeyUsage, false, sequence(oid(OID.serverAuth))),
    subjectAltName(host, isNameless), // RFC 5280 4.2.1.6: critical where the subject is empty
    authorityKeyIdentifier(issuerKeyIdentifier),
  ]
}

// What makes a CA useless, in the order in which a person would look (acceptance.md 5, 15: refused at start, not at first use).
function faultOf(fields: AuthorityFields, source: AuthoritySource): string | undefined {
  const { certificate } = fields
  const now = source.clock.now()
  if (!fields.isCa) return 'it is not the certificate of a CA (basicConstraints)'
  if (((fields.keyUsage ?? 0) & KEY_USAGE.certSign) === 0)
    return 'its key may not sign certificates (keyUsage)'
  if (!certificate.ca) return 'OpenSSL does not take it for a CA'
  if (fields.subjectKeyIdentifier === undefined) return 'it has no subject key identifier'
  if (now >= certificate.validToDate.getTime()) return 'it has expired'
  if (now < certificate.validFromDate.getTime()) return 'it is not valid yet; is the clock right?'
  const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey(source.privateKey)
  if (asymmetricKeyType !== 'ec' || asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    return 'its key is not of the curve P-256'
  return certificate.checkPrivateKey(source.privateKey) ? undefined : 'the key does not belong to it'
}
