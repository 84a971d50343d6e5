/**
 * Authenticates the columns that are kept in the open: state, stage, times, current version, placeholder index and so on.
 *
 * Rule of this file: every column of a row is in here, in the order of docs/seal-format.md, so that none can be changed, and no
 * row moved, by who has the database and not the keys (threat-model.md J1, J2). A new column needs a new format.
 */
import type { KeyObject } from 'node:crypto'
import { equalBytes } from '../base/bytes.ts'
import { FORMAT_FIELD } from './box.ts'
import { mac } from './derive.ts'
import { encodeFields, encodeNumber } from './encode.ts'

export type SecretColumns = {
  readonly id: Uint8Array
  readonly tenant: string
  readonly name: string
  readonly indexKey: number
  readonly placeholderIndex: Uint8Array
  readonly state: string
  readonly currentVersion: number
  readonly keyVersion: number
  readonly maxUses: number | undefined
  readonly usesLeft: number | undefined
  readonly idleExpiresAfter: number | undefined
  readonly lastUsedAt: number | undefined
  readonly archivedAt: number | undefined
  readonly held: number
  readonly labels: string
  readonly createdAt: number
  readonly updatedAt: number
  readonly epoch: number
}

export type VersionColumns = {
  readonly secretId: Uint8Array
  readonly version: number
  readonly stage: string
  readonly targets: readonly string[]
  readonly notBefore: number | undefined
  readonly expiresAt: number | undefined
  readonly keyVersion: number
  readonly createdAt: number
  readonly epoch: number
  readonly sealed: Uint8Array
}

/** Computes the MAC of a row of `secrets`. */
export function macOfSecret(key: KeyObject, storeId: Uint8Array, row: SecretColumns): Buffer {
  const fields = [
    FORMAT_FIELD,
    'secret',
    storeId,
    row.id,
    row.tenant,
    row.name,
    encodeNumber(row.indexKey),
    row.placeholderIndex,
    row.state,
    encodeNumber(row.currentVersion),
    encodeNumber(row.keyVersion),
    encodeNumber(row.maxUses),
    encodeNumber(row.usesLeft),
    encodeNumber(row.idleExpiresAfter),
    encodeNumber(row.lastUsedAt),
    encodeNumber(row.archivedAt),
    encodeNumber(row.held),
    row.labels,
    encodeNumber(row.createdAt),
    encodeNumber(row.updatedAt),
    encodeNumber(row.epoch),
  ]
  return mac(key, encodeFields(fields))
}

/** Computes the MAC of a row of `secret_versions`; the tenant is that of its secret. */
export function macOfVersion(
  key: KeyObject,
  place: { readonly storeId: Uint8Array; readonly tenant: string },
  row: VersionColumns,
): Buffer {
  const fields = [
    FORMAT_FIELD,
    'version',
    place.storeId,
    place.tenant,
    row.secretId,
    encodeNumber(row.version),
    row.stage,
    encodeFields(row.targets),
    encodeNumber(row.notBefore),
    encodeNumber(row.expiresAt),
    encodeNumber(row.keyVersion),
    encodeNumber(row.createdAt),
    encodeNumber(row.epoch),
    row.sealed,
  ]
  return mac(key, encodeFields(fields))
}

/** Computes the MAC of the store's epoch: the count of its changes. */
export function macOfEpoch(key: KeyObject, storeId: Uint8Array, epoch: number): Buffer {
  return mac(key, encodeFields([FORMAT_FIELD, 'epoch', storeId, encodeNumber(epoch)]))
}

/** Compares a stored MAC with the computed one, in constant time. */
export function isSameMac(stored: Uint8Array, computed: Buffer): boolean {
  return equalBytes(stored, computed)
}
