/**
 * Caller passwords: made here, never chosen.
 *
 * Rule of this file: a password is 32 random bytes (rulings.md 13). A plain SHA-256 is therefore enough: there is nothing to
 * guess that a slow hash would protect, and a slow one on every request would be a way to keep the sidecar busy.
 */
import { hash } from 'node:crypto'
import { randomBytes } from '../base/random.ts'

/** Makes a password (base64url, 43 characters) and the hash of its bytes as policy holds it. */
export function newCallerPassword(): { readonly password: string; readonly sha256: string } {
  const password = randomBytes(32).toString('base64url')
  return { password, sha256: hashPassword(Buffer.from(password)).toString('hex') }
}

/** SHA-256 of a password's bytes as they are sent, in its base64url form. */
export function hashPassword(password: Uint8Array): Buffer {
  return hash('sha256', password, 'buffer')
}
