/**
 * The embedded store: sealed rows in a database of this machine, keys from a key provider.
 *
 * Opening it makes the store when the database is empty, and otherwise proves that the root key is the store's own.
 */
import type { Clock, Milliseconds } from '../base/clock.ts'
import { randomBytes } from '../base/random.ts'
import type { Bytes } from '../base/size.ts'
import { createKeyring } from '../keys/keyring.ts'
import type { KeyProvider } from '../keys/provider.ts'
import { createStoreKeys, openStoreKeys, type StoreKeys } from '../keys/store-keys.ts'
import type { Database } from '../storage/database.ts'
import { insertStore, readStoreId, readStoreKeys } from '../storage/meta.ts'
import { secretTable } from '../storage/sealed-secrets.ts'
import { tenantKeyTable } from '../storage/tenant-keys.ts'
import { createAdmin } from './admin.ts'
import { certifyEpoch, createChanges, genuineEpoch } from './changes.ts'
import { createNotary } from './genuine.ts'
import { EmbeddedReader } from './reader.ts'
import type { SecretAdmin } from './store.ts'

export type EmbeddedOptions = {
  readonly database: Database
  readonly provider: KeyProvider
  readonly clock: Clock
  /** Bound of the cache of sealed rows; 64 MiB by default. */
  readonly cacheBytes?: Bytes
  readonly maxStale?: Milliseconds
  /** Told of look-ups in the caches of sealed rows and of tenant keys. */
  readonly onCache?: (cache: string, result: 'hit' | 'miss' | 'stale') => void
}

/** `storeId` is hexadecimal; `epoch` counts the changes of the store and never goes back (threat-model.md J3). */
export type EmbeddedStore = {
  readonly store: EmbeddedReader
  readonly admin: SecretAdmin
  readonly storeId: string
  epoch(): Promise<number>
}

/**
 * Opens the store in `database`, which stays the caller's to close.
 *
 * @throws KEY_WRONG when the provider's root key is not the one that the store was made with; SECRET_TAMPERED; STORAGE_FAILED
 */
export async function openEmbeddedStore(options: EmbeddedOptions): Promise<EmbeddedStore> {
  const { database, provider, clock } = options
  const storeId = await openOrMake(options)
  const { index, epochKey } = await openStoreKeys(provider, storeId, await readStoreKeys(database))
  const epochs = { database, storeId, epochKey }
  await genuineEpoch(epochs)

  const secrets = secretTable(database)
  const tenantKeys = tenantKeyTable(database)
  const observed = options.onCache === undefined ? {} : { onCache: options.onCache }
  const keyring = createKeyring({ provider, storeId, rows: tenantKeys, clock, ...observed })
  const notary = createNotary(storeId, keyring)
  const shared = { database, secrets, notary, index, clock, keyring }
  const store = new EmbeddedReader({
    ...shared,
    ...observed,
    onForeignChange: () => keyring.clear(),
    ...(options.cacheBytes === undefined ? {} : { cacheBytes: options.cacheBytes }),
    ...(options.maxStale === undefined ? {} : { maxStale: options.maxStale }),
  })
  const admin = createAdmin({
    ...shared,
    tenantKeys,
    changes: createChanges(epochs),
    forget: (ref, placeholderIndex) => store.forget(ref, placeholderIndex),
  })
  return {
    store,
    admin,
    storeId: Buffer.from(storeId).toString('hex'),
    epoch: async () => (await genuineEpoch(epochs)).epoch,
  }
}

const STORE_ID_BYTES = 16

async function openOrMake({ database, provider, clock }: EmbeddedOptions): Promise<Uint8Array> {
  const known = await readStoreId(database)
  if (known !== undefined) return known
  const storeId = randomBytes(STORE_ID_BYTES)
  const rows = await createStoreKeys(provider, storeId, clock.now())
  const { epochKey }: StoreKeys = await openStoreKeys(provider, storeId, rows)
  const made = await database.transaction(insertStore(storeId, rows, certifyEpoch({ epochKey, storeId }, 0)))
  // Another process was faster: its store is the one.
  return made === 'done' ? storeId : ((await readStoreId(database)) ?? storeId)
}
