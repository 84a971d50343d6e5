/**
 * The keys of the store as a whole: one finds placeholders, one authenticates the epoch.
 *
 * Opening them is also the proof that the root key is the one that the store was made with: a wrong key fails here, at once and
 * by name (KEY_WRONG), and not at the first request.
 */
import type { KeyObject } from 'node:crypto'
import { invariant } from '../base/assert.ts'
import { CloakroomError, isError } from '../base/errors.ts'
import { keyFrom, mac } from './derive.ts'
import type { KeyProvider } from './provider.ts'
import { createWrappedKey, unwrapKey, type WrappedKey } from './wrapped-key.ts'

const INDEX = 'placeholder-index'
const EPOCH = 'epoch'

/** Finds a placeholder without telling it: HMAC-SHA-256 under a key of its own (rulings.md 9; threat-model.md J14). */
export type IndexEntry = { readonly indexKey: number; readonly index: Buffer }

export interface PlaceholderIndex {
  /** Under the current key: what new rows carry. */
  current(placeholder: string): IndexEntry
  /** Under every key in use, newest first: what a look-up asks for. More than one while rows move to a new key. */
  all(placeholder: string): readonly IndexEntry[]
}

export type StoreKeys = { readonly index: PlaceholderIndex; readonly epochKey: KeyObject }

/** Makes the keys of a new store, as rows to be written down. */
export async function createStoreKeys(
  provider: KeyProvider,
  storeId: Uint8Array,
  createdAt: number,
): Promise<readonly WrappedKey[]> {
  const rows: WrappedKey[] = []
  for (const owner of [INDEX, EPOCH]) {
    const name = { owner, version: 1, createdAt }
    const { bytes, row } = await createWrappedKey(provider, { kind: 'store-key', storeId }, name)
    bytes.fill(0)
    rows.push(row)
  }
  return rows
}

/** Opens the keys of a store. @throws KEY_WRONG when the provider's root key is not that of the store */
export async function openStoreKeys(
  provider: KeyProvider,
  storeId: Uint8Array,
  rows: readonly WrappedKey[],
): Promise<StoreKeys> {
  const opened = await Promise.all(rows.map(row => openStoreKey(provider, storeId, row)))
  const indexKeys = opened.filter(({ row }) => row.owner === INDEX)
  const epoch = opened.find(({ row }) => row.owner === EPOCH)
  const [newest] = indexKeys
  if (newest === undefined || epoch === undefined) {
    throw new CloakroomError('KEY_WRONG', { what: 'the store: one of its own keys is missing' })
  }
  return { index: createPlaceholderIndex(indexKeys), epochKey: epoch.key }
}

type OpenedKey = { readonly row: WrappedKey; readonly key: KeyObject }

async function openStoreKey(provider: KeyProvider, storeId: Uint8Array, row: WrappedKey): Promise<OpenedKey> {
  try {
    return { row, key: keyFrom(await unwrapKey(provider, { kind: 'store-key', storeId }, row)) }
  } catch (cause) {
    if (isError(cause, 'KEY_WRONG')) throw new CloakroomError('KEY_WRONG', { what: 'the store' }, { cause })
    throw cause
  }
}

function createPlaceholderIndex(keys: readonly OpenedKey[]): PlaceholderIndex {
  const newestFirst = [...keys].sort((a, b) => b.row.version - a.row.version)
  const entry = ({ row, key }: OpenedKey, placeholder: string): IndexEntry => ({
    indexKey: row.version,
    index: mac(key, placeholder),
  })
  const [newest] = newestFirst
  invariant(newest !== undefined, 'a store has an index key')
  return {
    current: placeholder => entry(newest, placeholder),
    all: placeholder => newestFirst.map(key => entry(key, placeholder)),
  }
}
