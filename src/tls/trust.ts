/**
 * Which CAs we trust upstream, and the bundle that the app trusts.
 *
 * Rules of this file: upstream trust is passed explicitly, so the environment has no part in it (rulings.md 25), and our own
 * CA is never in it, also not when somebody names it there: what we could have minted ourselves proves nothing of an
 * upstream (threat-model.md H3).
 */
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls'
import { CloakroomError } from '../base/errors.ts'
import { parseCertificate, publicKeyBytes, splitPem } from './certificate.ts'

/** A PEM text with the name of its file, which errors name. */
export type CertificateFile = { readonly file: string; readonly pem: string }

export type UpstreamTrustSource = {
  /** From upstream.certificateAuthorities; besides the public roots. */
  readonly certificateAuthorities: readonly CertificateFile[]
  /** Our own CA, and its predecessor while both are in use. */
  readonly ownCertificatePem: string
}

export type UpstreamTrust = {
  /** Built once and shared by all connections: parsing 140 roots takes tens of milliseconds. */
  readonly secureContext: SecureContext
  /** What is trusted, one PEM text each. */
  readonly pems: readonly string[]
}

/**
 * Builds what upstream certificates are checked against.
 *
 * @throws CONFIG_INVALID when a file holds no certificate or a broken one.
 */
export function loadUpstreamTrust(source: UpstreamTrustSource): UpstreamTrust {
  const own = splitPem(source.ownCertificatePem)
    .map(pem => parseCertificate(pem))
    .filter(certificate => certificate !== undefined)
    .map(publicKeyBytes)
  // By key and not by certificate: the same CA under another name or date would do as well.
  const isOwn = (pem: string) => {
    const certificate = parseCertificate(pem)
    return certificate !== undefined && own.some(key => key.equals(publicKeyBytes(certificate)))
  }
  const extra = source.certificateAuthorities.flatMap(certificatesOf).filter(pem => !isOwn(pem))
  const pems = [...rootCertificates, ...extra]
  return { secureContext: createSecureContext({ ca: pems, minVersion: 'TLSv1.2' }), pems }
}

function certificatesOf(source: CertificateFile): readonly string[] {
  const pems = splitPem(source.pem)
  const isBroken = pems.length === 0 || pems.some(pem => parseCertificate(pem) === undefined)
  if (isBroken) {
    const first = `upstream.certificateAuthorities: ${source.file} is not a list of certificates in PEM`
    throw new CloakroomError('CONFIG_INVALID', { faults: 1, first })
  }
  return pems
}

/**
 * The CAs that an app behind us trusts: the public roots, then those given.
 *
 * Whole, because most variables that name a bundle replace the roots, and blind tunnels need them.
 */
export function appTrust(certificatePems: readonly string[]): readonly string[] {
  const all = [...rootCertificates, ...certificatePems.flatMap(splitPem)]
  return [...new Set(all.map(pem => `${pem.trim()}\n`))]
}

/** Writes the PEM bundle for SSL_CERT_FILE and its like: public roots, private ones, our CA. */
export function bundlePem(certificatePems: readonly string[]): string {
  return appTrust(certificatePems).join('')
}
