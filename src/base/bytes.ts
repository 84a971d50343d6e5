/**
 * Small operations on bytes that must be done the same way everywhere.
 */
import { timingSafeEqual } from 'node:crypto'

/** Compares in time that depends on the lengths only. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

/** Copies bytes into memory of their own, outside Node's shared 8 KiB pool (threat-model.md N6). */
export function ownCopy(source: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(source.length)
  copy.set(source)
  return copy
}

/** Decodes base64 only when re-encoding gives the same text: one spelling for each value, padding included. */
export function decodeCanonicalBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}

/** Decodes base64url without padding, only in its canonical spelling. */
export function decodeCanonicalBase64url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}
