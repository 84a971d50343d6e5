/**
 * Keys as rows: wrapped under the root key and bound to their store, owner and version.
 *
 * Rule of this file: every column of the row is associated data of the wrapping, so a wrapped key that is moved to another
 * tenant, version or store does not unwrap (threat-model.md J1).
 */
import { randomBytes } from '../base/random.ts'
import { FORMAT_FIELD } from './box.ts'
import { encodeFields, encodeNumber } from './encode.ts'
import type { KeyProvider } from './provider.ts'

export type KeyKind = 'tenant-key' | 'store-key'

/** `owner` is the tenant, or what a key of the store is for. */
export type WrappedKey = {
  readonly owner: string
  readonly version: number
  readonly provider: string
  readonly wrapped: Uint8Array
  readonly createdAt: number
}

export type KeyPlace = { readonly kind: KeyKind; readonly storeId: Uint8Array }

const KEY_BYTES = 32

/** Makes a new random key and its row. The caller owns `bytes` and overwrites them. */
export async function createWrappedKey(
  provider: KeyProvider,
  place: KeyPlace,
  name: { readonly owner: string; readonly version: number; readonly createdAt: number },
): Promise<{ readonly bytes: Buffer; readonly row: WrappedKey }> {
  const bytes = randomBytes(KEY_BYTES)
  const row = { ...name, provider: provider.id }
  const wrapped = await provider.wrap(bytes, associatedData(place, row))
  return { bytes, row: { ...row, wrapped } }
}

/** Unwraps a row's key. @throws KEY_WRONG, KEY_UNAVAILABLE */
export function unwrapKey(provider: KeyProvider, place: KeyPlace, row: WrappedKey): Promise<Buffer> {
  return provider.unwrap(row.wrapped, associatedData(place, row))
}

function associatedData(place: KeyPlace, row: Omit<WrappedKey, 'wrapped'>): Buffer {
  return encodeFields([
    FORMAT_FIELD,
    place.kind,
    place.storeId,
    row.owner,
    encodeNumber(row.version),
    row.provider,
    encodeNumber(row.createdAt),
  ])
}
