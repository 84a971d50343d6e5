/**
 * The sealed box: the one form in which anything secret is kept (docs/seal-format.md).
 *
 *   format (1) | salt (32) | commitment (32) | nonce (12) | ciphertext | tag (16)
 *
 * Rule of this file: one format byte and no negotiation (threat-model.md J8). Each box has a key of its own, by HKDF over a random
 * salt, so that no number of boxes under one source key reuses a nonce (J5).
 */
import type { KeyObject } from 'node:crypto'
import { equalBytes } from '../base/bytes.ts'
import { randomBytes } from '../base/random.ts'
import { AEAD_OVERHEAD, open, seal } from './aead.ts'
import { deriveBoxKeys, type Purpose } from './derive.ts'

/** The format of everything sealed or authenticated by this version. */
export const FORMAT = 1
export const FORMAT_FIELD = Buffer.from([FORMAT])

const SALT_BYTES = 32
const COMMITMENT_BYTES = 32
const HEADER_BYTES = 1 + SALT_BYTES + COMMITMENT_BYTES
export const BOX_OVERHEAD = HEADER_BYTES + AEAD_OVERHEAD

export type BoxBinding = { readonly purpose: Purpose; readonly associated: Uint8Array }

/** Seals `plaintext` into a box that opens only under `key`, for this purpose and with this associated data. */
export function sealBox(key: KeyObject, binding: BoxBinding, plaintext: Uint8Array): Buffer {
  const salt = randomBytes(SALT_BYTES)
  const derived = deriveBoxKeys(key, binding.purpose, salt)
  const body = seal(derived.key, binding.associated, plaintext)
  return Buffer.concat([FORMAT_FIELD, salt, derived.commitment, body])
}

/** A box whose key has been derived and compared: what is left to do is to decrypt. */
export type UnlockedBox = {
  /** Decrypts into memory of its own; undefined when the box or what it is bound to was changed in any bit. */
  open(): Buffer | undefined
}

/**
 * Derives the key of a box; undefined when it is of another format, key or purpose.
 *
 * For boxes that are opened often: what is kept is a KeyObject, never plaintext (rulings.md 4).
 */
export function unlockBox(key: KeyObject, binding: BoxBinding, box: Uint8Array): UnlockedBox | undefined {
  if (box.length < BOX_OVERHEAD || box[0] !== FORMAT) return undefined
  const derived = deriveBoxKeys(key, binding.purpose, box.subarray(1, 1 + SALT_BYTES))
  // SECURITY: compared before anything is decrypted, so that a box never opens under a second key (J7).
  if (!equalBytes(derived.commitment, box.subarray(1 + SALT_BYTES, HEADER_BYTES))) return undefined
  const body = box.subarray(HEADER_BYTES)
  const { key: boxKey } = derived
  return { open: () => open(boxKey, binding.associated, body) }
}

/** Opens a box; undefined when it is of another format, key, purpose or binding, or was changed in any bit. */
export function openBox(key: KeyObject, binding: BoxBinding, box: Uint8Array): Buffer | undefined {
  return unlockBox(key, binding, box)?.open()
}
