/**
 * What apps read to trust this sidecar: the CA alone, a bundle with the public roots, and Java's trust store.
 *
 * Rule of this file: public certificates only. Each file is replaced in one step, since apps may read it at any moment; the files
 * are written again only when their content would change.
 */
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { appTrust, bundlePem } from '../tls/trust.ts'
import type { Config } from './schema.ts'

export type TrustFiles = {
  /** Our CA alone. */
  readonly ca: string
  /** The public roots, the private ones of upstream.certificateAuthorities, and our CA. */
  readonly bundle: string
  /** The same as PKCS#12, for Java. */
  readonly trustStore: string
}

/** Java asks for one, also for public certificates; it protects nothing. */
export const TRUST_STORE_PASSWORD = 'changeit'

// Read by apps that run as other users: the directory above decides who gets there.
const DIRECTORY_MODE = 0o755
const FILE_MODE = 0o644

/** Where the files of a configuration lie. */
export function trustFilesOf(config: Pick<Config, 'ca'>): TrustFiles {
  const { trust } = config.ca
  return {
    ca: join(trust, 'ca.pem'),
    bundle: join(trust, 'bundle.pem'),
    trustStore: join(trust, 'truststore.p12'),
  }
}

/** The CA in use, and beside it while a rotation lasts (`cloakroom ca rotate`) the one to come and the one before. */
export function ownCertificateFiles({ ca }: Pick<Config, 'ca'>): {
  readonly current: string
  readonly next: string
  readonly previous: string
} {
  return { current: ca.certificate, next: `${ca.certificate}.next`, previous: `${ca.certificate}.previous` }
}

/** All CA certificates of ours that there are, as one PEM text: what apps trust, and what no upstream may use (H3). */
export function readOwnCertificates(config: Pick<Config, 'ca'>): string {
  const { current, next, previous } = ownCertificateFiles(config)
  return readFileSync(current, 'utf8') + (readOrNothing(next) ?? '') + (readOrNothing(previous) ?? '')
}

/** Writes the files, where they differ from what is there; tells whether it did. */
export async function writeTrustFiles(config: Pick<Config, 'ca' | 'upstream'>): Promise<boolean> {
  const ownPem = readOwnCertificates(config)
  const files = trustFilesOf(config)
  const pems = [...config.upstream.certificateAuthorities.map(file => readFileSync(file, 'utf8')), ownPem]
  const bundle = bundlePem(pems)
  const isCurrent = readOrNothing(files.bundle) === bundle && readOrNothing(files.ca) === ownPem
  if (isCurrent && readOrNothing(files.trustStore) !== undefined) return false
  mkdirSync(config.ca.trust, { recursive: true, mode: DIRECTORY_MODE })
  const { trustStorePkcs12 } = await import('../tls/trust-store.ts') // forge is slow to load, and rarely needed here
  replace(files.trustStore, trustStorePkcs12(appTrust(pems), TRUST_STORE_PASSWORD))
  replace(files.ca, ownPem)
  replace(files.bundle, bundle) // last: it stands for the others in the comparison above
  return true
}

function readOrNothing(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function replace(file: string, content: string | Buffer): void {
  const beside = `${file}.new`
  rmSync(beside, { force: true })
  writeFileSync(beside, content, { flag: 'wx' })
  chmodSync(beside, FILE_MODE) // whatever the umask: apps of other users read these
  renameSync(beside, file)
}
