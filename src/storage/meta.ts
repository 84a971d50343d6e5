/**
 * What is known of the store as a whole: its id, its own keys, its epoch.
 */
import { readColumns } from './columns.ts'
import type { Database, SqlRow, Statement } from './database.ts'

export type KeyRow = {
  readonly owner: string
  readonly version: number
  readonly provider: string
  readonly wrapped: Uint8Array
  readonly createdAt: number
}

/** The count of the store's changes, as it stands in the file. */
export type EpochRow = { readonly epoch: number; readonly mac: Uint8Array }

const STORE_ID = 'store_id'
const EPOCH = 'epoch'
const EPOCH_BYTES = 8

/** The store's id; undefined when the store has not been made yet. */
export async function readStoreId(database: Database): Promise<Uint8Array | undefined> {
  return readMeta(database, STORE_ID)
}

export async function readEpoch(database: Database): Promise<EpochRow | undefined> {
  const value = await readMeta(database, EPOCH)
  if (value === undefined || value.length < EPOCH_BYTES) return undefined
  const epoch = Buffer.from(value.buffer, value.byteOffset, EPOCH_BYTES).readBigUInt64BE()
  return { epoch: Number(epoch), mac: value.subarray(EPOCH_BYTES) }
}

export async function readStoreKeys(database: Database): Promise<readonly KeyRow[]> {
  const sql = 'SELECT owner, version, provider, wrapped, created_at FROM store_keys ORDER BY owner, version'
  return (await database.query(sql, [])).map(keyRow)
}

/** What makes a store: its id, its keys and epoch. A conflict when another process was faster. */
export function insertStore(id: Uint8Array, keys: readonly KeyRow[], epoch: EpochRow): readonly Statement[] {
  const meta = 'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING'
  return [
    { sql: meta, parameters: [STORE_ID, id], changes: 1 },
    { sql: meta, parameters: [EPOCH, epochBytes(epoch)], changes: 1 },
    ...keys.map(row => insertKey('store_keys', row)),
  ]
}

/** Moves the epoch on; a conflict when it is not `before` any more: somebody else has written. */
export function updateEpoch(before: EpochRow, after: EpochRow): Statement {
  return {
    sql: 'UPDATE meta SET value = ? WHERE name = ? AND value = ?',
    parameters: [epochBytes(after), EPOCH, epochBytes(before)],
    changes: 1,
  }
}

export function keyRow(row: SqlRow): KeyRow {
  const columns = readColumns(row)
  return {
    owner: columns.text(),
    version: columns.number(),
    provider: columns.text(),
    wrapped: columns.bytes(),
    createdAt: columns.number(),
  }
}

export function insertKey(table: 'store_keys' | 'tenant_keys', row: KeyRow): Statement {
  return {
    sql: `INSERT INTO ${table} (owner, version, provider, wrapped, created_at) VALUES (?, ?, ?, ?, ?)`,
    parameters: [row.owner, row.version, row.provider, row.wrapped, row.createdAt],
  }
}

async function readMeta(database: Database, name: string): Promise<Uint8Array | undefined> {
  const [row] = await database.query('SELECT value FROM meta WHERE name = ?', [name])
  return row === undefined ? undefined : readColumns(row).bytes()
}

function epochBytes(row: EpochRow): Buffer {
  const bytes = Buffer.alloc(EPOCH_BYTES)
  bytes.writeBigUInt64BE(BigInt(row.epoch))
  return Buffer.concat([bytes, row.mac])
}
