/**
 * The only AES-256-GCM in the program.
 *
 * Rules of this file (threat-model.md J5, J6): nobody passes a nonce, each call draws 12 random bytes; the tag is 16 bytes, checked
 * by length before use; no byte of plaintext leaves before the tag has been verified. Keys are KeyObjects.
 */
import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto'
import { invariant } from '../base/assert.ts'
import { randomBytes } from '../base/random.ts'

const ALGORITHM = 'aes-256-gcm'
const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
export const AEAD_OVERHEAD = NONCE_BYTES + TAG_BYTES

/** Seals `plaintext`; the result is nonce, ciphertext and tag, in this order. */
export function seal(key: KeyObject, associated: Uint8Array, plaintext: Uint8Array): Buffer {
  invariant(key.symmetricKeySize === KEY_BYTES, 'an AES-256 key has 32 bytes')
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES })
  cipher.setAAD(associated)
  const body = cipher.update(plaintext)
  cipher.final()
  return Buffer.concat([nonce, body, cipher.getAuthTag()])
}

/** Opens what `seal` made; undefined when any bit differs. The plaintext is in memory of its own. */
export function open(key: KeyObject, associated: Uint8Array, sealed: Uint8Array): Buffer | undefined {
  invariant(key.symmetricKeySize === KEY_BYTES, 'an AES-256 key has 32 bytes')
  if (sealed.length < AEAD_OVERHEAD) return undefined
  const tagStart = sealed.length - TAG_BYTES
  const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  })
  decipher.setAAD(associated)
  decipher.setAuthTag(sealed.subarray(tagStart))
  const plaintext = decipher.update(sealed.subarray(NONCE_BYTES, tagStart))
  try {
    decipher.final()
    return plaintext
  } catch {
    plaintext.fill(0) // SECURITY: unverified plaintext is never released (J6)
    return undefined
  }
}
