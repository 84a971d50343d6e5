/**
 * The tenant keys that one transaction seals with, made where a tenant has none yet.
 */
import type { Keyring, TenantKey } from '../keys/keyring.ts'
import type { TenantId } from '../model/tenant.ts'
import type { Statement } from '../storage/database.ts'
import { insertTenantKey } from '../storage/tenant-keys.ts'

/** Gives the key that seals new versions of a tenant, and collects the statement that writes it down when it is new. */
export type KeySource = { of(tenant: TenantId): Promise<TenantKey>; readonly statements: Statement[] }

/** Keys for the puts of one transaction: a tenant's first key is made once, however many of its secrets follow. */
export function keySource(keyring: Keyring): KeySource {
  const made = new Map<TenantId, TenantKey>()
  const statements: Statement[] = []
  return {
    statements,
    async of(tenant) {
      const known = made.get(tenant) ?? (await keyring.current(tenant))
      if (known !== undefined) return known
      const { key, row } = await keyring.create(tenant)
      statements.push(insertTenantKey(row))
      made.set(tenant, key)
      return key
    },
  }
}
