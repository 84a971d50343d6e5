/**
 * The tenant keys in memory, by tenant and version.
 *
 * Rules of this file: keys are KeyObjects from the moment that they are unwrapped, never raw bytes (rulings.md 16); the ring is
 * bounded, its entries end, and concurrent misses share one call of the provider. A tenant key is made with the first secret of
 * its tenant; a later version is made by rotation, and rows say which version sealed them.
 */
import type { KeyObject } from 'node:crypto'
import { Cache } from '../base/cache.ts'
import { type Clock, hours } from '../base/clock.ts'
import { CloakroomError, isError } from '../base/errors.ts'
import type { TenantId } from '../model/tenant.ts'
import { deriveKey, keyFrom } from './derive.ts'
import type { KeyProvider } from './provider.ts'
import { createWrappedKey, unwrapKey, type WrappedKey } from './wrapped-key.ts'

export type TenantKey = {
  readonly tenant: TenantId
  readonly version: number
  /** Source of the version keys. */
  readonly key: KeyObject
  /** Authenticates rows; derived from `key`. */
  readonly rowKey: KeyObject
}

/** Where wrapped tenant keys are kept: what storage gives. */
export interface TenantKeyRows {
  latest(tenant: TenantId): Promise<WrappedKey | undefined>
  byVersion(tenant: TenantId, version: number): Promise<WrappedKey | undefined>
}

export interface Keyring {
  /** The newest key of a tenant; undefined when it has none yet. */
  current(tenant: TenantId): Promise<TenantKey | undefined>
  /** The key that a row names. @throws SECRET_TAMPERED, KEY_UNAVAILABLE */
  byVersion(tenant: TenantId, version: number): Promise<TenantKey>
  /** Makes the next key of a tenant; it counts once the caller has written `row` down. */
  create(tenant: TenantId): Promise<{ readonly key: TenantKey; readonly row: WrappedKey }>
  clear(): void
}

export type KeyringOptions = {
  readonly provider: KeyProvider
  readonly storeId: Uint8Array
  readonly rows: TenantKeyRows
  readonly clock: Clock
  readonly onCache?: (cache: string, result: 'hit' | 'miss') => void
}

// Two KeyObjects a tenant, about 1 KiB with their entry: 10,000 tenants stay below 10 MiB.
const MAX_KEYS = 10_000
// Bounds how long a key outlives its row, should another process destroy it and its change go unseen.
const LIFETIME = hours(1)

export function createKeyring(options: KeyringOptions): Keyring {
  const { provider, rows, clock } = options
  const place = { kind: 'tenant-key', storeId: options.storeId } as const
  const cache = new Cache<TenantKey>({
    name: 'tenant_key',
    max: MAX_KEYS,
    lifetime: LIFETIME,
    clock,
    ...(options.onCache === undefined ? {} : { onRequest: options.onCache }),
  })

  const unwrap = async (tenant: TenantId, row: WrappedKey): Promise<TenantKey> => {
    const bytes = await unwrapKey(provider, place, row).catch(cause => {
      // The store's own keys have been opened, so the root key is right and the row is not.
      if (isError(cause, 'KEY_WRONG')) throw tampered(tenant, 'its tenant key', cause)
      throw cause
    })
    return tenantKey(tenant, row.version, bytes)
  }
  const byVersion = (tenant: TenantId, version: number) =>
    cache.get(`${tenant}/${version}`, async () => {
      const row = await rows.byVersion(tenant, version)
      if (row === undefined) throw tampered(tenant, `its tenant key ${version} is missing`)
      return unwrap(tenant, row)
    })

  return {
    async current(tenant) {
      const row = await rows.latest(tenant)
      return row === undefined ? undefined : byVersion(tenant, row.version)
    },
    byVersion,
    async create(tenant) {
      const latest = await rows.latest(tenant)
      const version = (latest?.version ?? 0) + 1
      const created = await createWrappedKey(provider, place, {
        owner: tenant,
        version,
        createdAt: clock.now(),
      })
      return { key: tenantKey(tenant, version, created.bytes), row: created.row }
    },
    clear: () => cache.clear(),
  }
}

function tenantKey(tenant: TenantId, version: number, bytes: Buffer): TenantKey {
  const key = keyFrom(bytes)
  return { tenant, version, key, rowKey: deriveKey(key, 'row') }
}

function tampered(tenant: TenantId, what: string, cause?: unknown): CloakroomError {
  return new CloakroomError('SECRET_TAMPERED', { secret: `${tenant}/*`, what }, { cause })
}
