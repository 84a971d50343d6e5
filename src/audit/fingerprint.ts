/**
 * A keyed hash of a secret's value, so that "was this used, and by whom?" can be asked of the log without the log holding it.
 *
 * Rule of this file: keyed, because values may be guessable and the log is read by many; 128 bits, because nothing more is needed to find.
 */
import { createHmac, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import type { SecretValue } from '../model/secret.ts'

/** @returns a function that gives `hmac:` and 32 hexadecimal digits; about 3 µs a call. */
export function createFingerprint(key: KeyObject): (value: SecretValue) => string {
  return value =>
    value.use(bytes => `hmac:${createHmac('sha256', key).update(bytes).digest('hex').slice(0, 32)}`)
}

/** Derives the key of fingerprints from the audit signing key, so that one file holds all that the log's owner must keep. */
export function fingerprintKeyOf(signingKey: KeyObject): KeyObject {
  const secret = createSecretKey(signingKey.export({ type: 'pkcs8', format: 'der' }))
  return createSecretKey(
    Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(0), 'cloakroom/1/fingerprint', 32)),
  )
}
