/**
 * Keys out of keys: HKDF-SHA-256 (RFC 5869), and keyed hashes under what it gives.
 *
 * Rule of this file: every use has a purpose of its own, so that no two uses ever share a key.
 */
import { createHmac, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'

/** What a derived key is for; part of the format (docs/seal-format.md), never renamed. */
export type Purpose = 'secret' | 'wrap' | 'file' | 'row' | 'store' | 'key-id'

const KEY_BYTES = 32
const NO_SALT = Buffer.alloc(0)

/** Derives `length` bytes. */
export function hkdf(key: KeyObject, salt: Uint8Array, info: Uint8Array | string, length: number): Buffer {
  return Buffer.from(hkdfSync('sha256', key, salt, info, length))
}

/** Derives the key of one purpose that needs no salt: the source key is used for nothing else. */
export function deriveKey(key: KeyObject, purpose: Purpose): KeyObject {
  const bytes = hkdf(key, NO_SALT, infoOf(purpose), KEY_BYTES)
  return keyFrom(bytes)
}

export type BoxKeys = { readonly key: KeyObject; readonly commitment: Buffer }

/**
 * Derives the cipher key of one box and the commitment that is stored with it.
 *
 * AES-GCM does not commit to its key: one ciphertext can be made that opens under two keys. The commitment, from the same
 * derivation, can only match one (threat-model.md J7).
 */
export function deriveBoxKeys(key: KeyObject, purpose: Purpose, salt: Uint8Array): BoxKeys {
  const bytes = hkdf(key, salt, infoOf(purpose), 2 * KEY_BYTES)
  const commitment = bytes.subarray(KEY_BYTES)
  return { key: keyFrom(bytes.subarray(0, KEY_BYTES)), commitment }
}

/** Makes a KeyObject of raw bytes and overwrites the bytes. */
export function keyFrom(bytes: Buffer): KeyObject {
  const key = createSecretKey(bytes)
  bytes.fill(0)
  return key
}

/** HMAC-SHA-256. */
export function mac(key: KeyObject, message: Uint8Array | string): Buffer {
  return createHmac('sha256', key).update(message).digest()
}

function infoOf(purpose: Purpose): string {
  return `cloakroom/1/${purpose}`
}
