/**
 * The CA's files, for `cloakroom ca`: reading them, and replacing the CA with an overlap.
 *
 * Rule of this file: a new CA is trusted by apps before the first leaf is minted under it, and the old one stays trusted while leaves
 * of it may live. Every step leaves a pair of key and certificate that belong together, or says how to go on.
 */
import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { Control } from '../api/operations.ts'
import { systemClock } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { writePrivateKey } from '../config/key-files.ts'
import type { Config } from '../config/schema.ts'
import { ownCertificateFiles, writeTrustFiles } from '../config/trust-files.ts'
import { openKeyProvider } from '../keys/providers.ts'
import { createAuthority } from '../tls/authority.ts'

export type CertificateReport = {
  readonly role: 'current' | 'next' | 'previous'
  readonly file: string
  readonly subject: string
  readonly notBefore: string
  readonly notAfter: string
  /** SHA-256 of the certificate, as browsers and openssl show it. */
  readonly fingerprint: string
}

/** Reads the CA certificates that there are. @throws TLS_AUTHORITY_INVALID when the one in use is missing or unreadable */
export function readCertificates(config: Config): readonly CertificateReport[] {
  const files = ownCertificateFiles(config)
  return (['current', 'next', 'previous'] as const)
    .filter(role => role === 'current' || existsSync(files[role]))
    .map(role => reportOf(role, files[role]))
}

function reportOf(role: CertificateReport['role'], file: string): CertificateReport {
  try {
    const certificate = new X509Certificate(readFileSync(file))
    return {
      role,
      file,
      subject: certificate.subject.replaceAll('\n', ', '),
      notBefore: certificate.validFromDate.toISOString(),
      notAfter: certificate.validToDate.toISOString(),
      fingerprint: certificate.fingerprint256,
    }
  } catch (cause) {
    throw new CloakroomError('TLS_AUTHORITY_INVALID', { file, what: 'it cannot be read' }, { cause })
  }
}

/** Makes the CA to come and lets apps trust it beside the one in use. @throws CLI_FAILED when there is one already */
export async function prepareRotation(config: Config, control: Control): Promise<CertificateReport> {
  const { next } = ownCertificateFiles(config)
  if (existsSync(next)) {
    throw new CloakroomError('CLI_FAILED', {
      what: `a new CA is prepared already (${next}): restart the apps, then run "cloakroom ca rotate --finish"`,
    })
  }
  const provider = await openKeyProvider(config.keys)
  const { certificatePem, privateKey } = createAuthority({
    commonName: 'Cloakroom local CA',
    clock: systemClock,
    lifetime: config.ca.lifetime,
    ...(config.ca.nameConstraints.length === 0 ? {} : { nameConstraints: config.ca.nameConstraints }),
  })
  await control.call('ca.rotation', {
    phase: 'prepare',
    fingerprint: new X509Certificate(certificatePem).fingerprint256,
  })
  // The certificate last: without it nothing knows of the key, and the next attempt replaces it.
  await writePrivateKey(provider, { kind: 'ca', path: nextKey(config) }, privateKey, { replace: true })
  writeBeside(next, certificatePem)
  await writeTrustFiles(config)
  return reportOf('next', next)
}

/**
 * Puts the CA to come in the place of the one in use, from the next start of the sidecar on; apps go on to trust both.
 *
 * May be run again after an interruption: the key moves first, and a certificate without its key is moved alone.
 *
 * @throws CLI_USAGE when none was prepared.
 */
export async function finishRotation(config: Config, control: Control): Promise<CertificateReport> {
  const { current, next, previous } = ownCertificateFiles(config)
  if (!existsSync(next)) {
    throw new CloakroomError('CLI_USAGE', {
      what: 'no new CA was prepared: run "cloakroom ca rotate" without --finish first',
    })
  }
  await control.call('ca.rotation', { phase: 'finish', fingerprint: reportOf('next', next).fingerprint })
  writeBeside(previous, readFileSync(current, 'utf8'))
  if (existsSync(nextKey(config))) renameSync(nextKey(config), config.ca.key)
  renameSync(next, current)
  await writeTrustFiles(config)
  return reportOf('current', current)
}

function nextKey({ ca }: Config): string {
  return `${ca.key}.next`
}

function writeBeside(file: string, text: string): void {
  const beside = `${file}.new`
  rmSync(beside, { force: true })
  writeFileSync(beside, text, { flag: 'wx', mode: 0o644 })
  renameSync(beside, file)
}
