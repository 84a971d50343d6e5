/**
 * Seals and opens one version of a secret under its tenant key.
 *
 * Rule of this file: where the version may be sent and until when is part of what is authenticated, so that nobody who can write
 * to the database can move it to another tenant, name, version, target or time (SECURITY I6; threat-model.md J1, J2).
 */
import { createHash, type KeyObject } from 'node:crypto'
import { SecretValue } from '../model/secret.ts'
import { FORMAT_FIELD, sealBox, unlockBox } from './box.ts'
import { encodeFields, encodeNumber } from './encode.ts'

/** What a sealed version is bound to. `targets` are in formatTarget form and sorted. */
export type VersionBinding = {
  readonly storeId: Uint8Array
  readonly tenant: string
  readonly secretId: Uint8Array
  readonly version: number
  readonly targets: readonly string[]
  readonly expiresAt: number | undefined
}

export type SealedContent = {
  readonly value: Uint8Array
  readonly placeholder: string
  readonly shape: string
}

export type OpenedContent = {
  readonly value: SecretValue
  readonly placeholder: string
  readonly shape: string
}

/** Sealed content has a length that is a multiple of this, so that a length tells little of the kind (J13). */
export const PADDING_BYTES = 64
const LENGTH_BYTES = 4

export function sealVersion(key: KeyObject, binding: VersionBinding, content: SealedContent): Buffer {
  const fields = encodeFields([content.value, content.placeholder, content.shape])
  const padded = Buffer.alloc(Math.ceil(fields.length / PADDING_BYTES) * PADDING_BYTES)
  padded.set(fields)
  const sealed = sealBox(key, { purpose: 'secret', associated: associatedData(binding) }, padded)
  fields.fill(0)
  padded.fill(0)
  return sealed
}

/** A version whose key has been derived: each `open` decrypts a copy of its own. */
export type UnlockedVersion = {
  /** undefined when the box or anything that it is bound to has changed. */
  open(): OpenedContent | undefined
}

/** Derives the key of a version; undefined when it is not sealed under `key`, or in another format. */
export function unlockVersion(
  key: KeyObject,
  binding: VersionBinding,
  sealed: Uint8Array,
): UnlockedVersion | undefined {
  const box = unlockBox(key, { purpose: 'secret', associated: associatedData(binding) }, sealed)
  if (box === undefined) return undefined
  return {
    open() {
      const padded = box.open()
      return padded === undefined ? undefined : parseContent(padded)
    },
  }
}

/** The fields that ruling 17 names, in its order. */
function associatedData(binding: VersionBinding): Buffer {
  return encodeFields([
    FORMAT_FIELD,
    binding.storeId,
    binding.tenant,
    binding.secretId,
    encodeNumber(binding.version),
    targetsDigest(binding.targets),
    encodeNumber(binding.expiresAt),
  ])
}

/** SHA-256 over the length-prefixed targets: ["a", "b"] and ["a\nb"] differ. */
export function targetsDigest(targets: readonly string[]): Buffer {
  return createHash('sha256').update(encodeFields(targets)).digest()
}

// The value stays where the cipher wrote it: one plaintext copy, in memory that is not Node's shared pool, zeroed by dispose().
function parseContent(padded: Buffer): OpenedContent | undefined {
  const value = fieldAt(padded, 0)
  if (value === undefined) return undefined
  const placeholder = fieldAt(padded, value.end)
  if (placeholder === undefined) return undefined
  const shape = fieldAt(padded, placeholder.end)
  if (shape === undefined || padded.length - shape.end >= PADDING_BYTES) return undefined
  for (let i = shape.end; i < padded.length; i++) if (padded[i] !== 0) return undefined
  return {
    value: new SecretValue(value.bytes),
    placeholder: placeholder.bytes.toString('latin1'),
    shape: shape.bytes.toString('latin1'),
  }
}

function fieldAt(bytes: Buffer, start: number): { readonly bytes: Buffer; readonly end: number } | undefined {
  const first = start + LENGTH_BYTES
  if (first > bytes.length) return undefined
  const end = first + bytes.readUInt32BE(start)
  return end > bytes.length ? undefined : { bytes: bytes.subarray(first, end), end }
}
