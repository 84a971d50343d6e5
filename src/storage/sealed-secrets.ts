/**
 * Rows of secrets and of their versions: sealed bytes and authenticated columns, as they stand in the database.
 *
 * Rule of this file: no crypto and no opinion. Reading checks types only; whether a row is genuine is for who has the keys.
 */
import { type ColumnReader, readColumns } from './columns.ts'
import type { Database, SqlParameter, SqlRow, Statement } from './database.ts'

export type SecretRow = {
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
  readonly mac: Uint8Array
}

export type VersionRow = {
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
  readonly mac: Uint8Array
}

/** A secret with one of its versions. */
export type StoredSecret = { readonly secret: SecretRow; readonly version: VersionRow }

/** Where a page of a list goes on: after this name, in the order of tenant and name. */
export type ListPage = { readonly after: readonly [tenant: string, name: string]; readonly limit: number }

export interface SecretTable {
  byPlaceholder(index: Uint8Array, indexKey: number): Promise<StoredSecret | undefined>
  /** The secret with its current version. */
  current(tenant: string, name: string): Promise<StoredSecret | undefined>
  version(tenant: string, name: string, version: number): Promise<StoredSecret | undefined>
  /** Every version, newest first. */
  versions(secretId: Uint8Array): Promise<readonly VersionRow[]>
  list(page: ListPage, tenant?: string): Promise<readonly StoredSecret[]>
  count(tenant: string): Promise<number>
}

const SECRET =
  's.id, s.tenant, s.name, s.index_key, s.placeholder_index, s.state, s.current_version, s.key_version, s.max_uses, ' +
  's.uses_left, s.idle_expires_after, s.last_used_at, s.archived_at, s.held, s.labels, s.created_at, s.updated_at, ' +
  's.epoch, s.mac'
const VERSION =
  'v.secret_id, v.version, v.stage, v.targets, v.not_before, v.expires_at, v.key_version, v.created_at, v.epoch, ' +
  'v.sealed, v.mac'
const FROM_CURRENT = `SELECT ${SECRET}, ${VERSION} FROM secrets s
  JOIN secret_versions v ON v.secret_id = s.id AND v.version = s.current_version`

export function secretTable(database: Database): SecretTable {
  const one = async (sql: string, parameters: readonly SqlParameter[]) => {
    const [row] = await database.query(sql, parameters)
    return row && storedSecret(row)
  }
  return {
    byPlaceholder: (index, indexKey) =>
      one(`${FROM_CURRENT} WHERE s.placeholder_index = ? AND s.index_key = ?`, [index, indexKey]),
    current: (tenant, name) => one(`${FROM_CURRENT} WHERE s.tenant = ? AND s.name = ?`, [tenant, name]),
    version: (tenant, name, version) =>
      one(
        `SELECT ${SECRET}, ${VERSION} FROM secrets s JOIN secret_versions v ON v.secret_id = s.id AND v.version = ?
          WHERE s.tenant = ? AND s.name = ?`,
        [version, tenant, name],
      ),
    async versions(secretId) {
      const sql = `SELECT ${VERSION} FROM secret_versions v WHERE v.secret_id = ? ORDER BY v.version DESC`
      return (await database.query(sql, [secretId])).map(row => versionRow(readColumns(row)))
    },
    async list({ after, limit }, tenant) {
      const only = tenant === undefined ? '' : 'AND s.tenant = ?'
      const sql = `${FROM_CURRENT} WHERE (s.tenant, s.name) > (?, ?) ${only} ORDER BY s.tenant, s.name LIMIT ?`
      const parameters = [...after, ...(tenant === undefined ? [] : [tenant]), limit]
      return (await database.query(sql, parameters)).map(storedSecret)
    },
    async count(tenant) {
      const [row] = await database.query('SELECT count(*) FROM secrets WHERE tenant = ?', [tenant])
      return row === undefined ? 0 : readColumns(row).number()
    },
  }
}

export function insertSecret(row: SecretRow): Statement {
  return {
    sql: `INSERT INTO secrets (tenant, name, index_key, placeholder_index, state, current_version, key_version, max_uses,
      uses_left, idle_expires_after, last_used_at, archived_at, held, labels, created_at, updated_at, epoch, mac, id)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    parameters: secretParameters(row),
  }
}

/** Replaces every column of a secret but its id. */
export function updateSecret(row: SecretRow): Statement {
  return {
    sql: `UPDATE secrets SET tenant = ?, name = ?, index_key = ?, placeholder_index = ?, state = ?, current_version = ?,
      key_version = ?, max_uses = ?, uses_left = ?, idle_expires_after = ?, last_used_at = ?, archived_at = ?, held = ?,
      labels = ?, created_at = ?, updated_at = ?, epoch = ?, mac = ? WHERE id = ?`,
    parameters: secretParameters(row),
    changes: 1,
  }
}

/** Writes a version, also in the place of the one with its number. */
export function writeVersion(row: VersionRow): Statement {
  return {
    sql: `INSERT INTO secret_versions (secret_id, version, stage, targets, not_before, expires_at, key_version, created_at,
      epoch, sealed, mac) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET stage = excluded.stage, targets = excluded.targets, not_before = excluded.not_before,
      expires_at = excluded.expires_at, key_version = excluded.key_version, created_at = excluded.created_at,
      epoch = excluded.epoch, sealed = excluded.sealed, mac = excluded.mac`,
    parameters: [
      row.secretId,
      row.version,
      row.stage,
      row.targets.join('\n'),
      row.notBefore ?? null,
      row.expiresAt ?? null,
      row.keyVersion,
      row.createdAt,
      row.epoch,
      row.sealed,
      row.mac,
    ],
    changes: 1,
  }
}

export function deleteVersion(secretId: Uint8Array, version: number): Statement {
  return {
    sql: 'DELETE FROM secret_versions WHERE secret_id = ? AND version = ?',
    parameters: [secretId, version],
    changes: 1,
  }
}

/** Removes a secret and all of its versions. */
export function deleteSecret(id: Uint8Array): readonly Statement[] {
  return [
    { sql: 'DELETE FROM secret_versions WHERE secret_id = ?', parameters: [id] },
    { sql: 'DELETE FROM secrets WHERE id = ?', parameters: [id], changes: 1 },
  ]
}

function secretParameters(row: SecretRow): readonly SqlParameter[] {
  return [
    row.tenant,
    row.name,
    row.indexKey,
    row.placeholderIndex,
    row.state,
    row.currentVersion,
    row.keyVersion,
    row.maxUses ?? null,
    row.usesLeft ?? null,
    row.idleExpiresAfter ?? null,
    row.lastUsedAt ?? null,
    row.archivedAt ?? null,
    row.held,
    row.labels,
    row.createdAt,
    row.updatedAt,
    row.epoch,
    row.mac,
    row.id,
  ]
}

function storedSecret(row: SqlRow): StoredSecret {
  const columns = readColumns(row)
  return { secret: secretRow(columns), version: versionRow(columns) }
}

// The order of these reads is that of SECRET and VERSION above.
function secretRow(columns: ColumnReader): SecretRow {
  return {
    id: columns.bytes(),
    tenant: columns.text(),
    name: columns.text(),
    indexKey: columns.number(),
    placeholderIndex: columns.bytes(),
    state: columns.text(),
    currentVersion: columns.number(),
    keyVersion: columns.number(),
    maxUses: columns.optionalNumber(),
    usesLeft: columns.optionalNumber(),
    idleExpiresAfter: columns.optionalNumber(),
    lastUsedAt: columns.optionalNumber(),
    archivedAt: columns.optionalNumber(),
    held: columns.number(),
    labels: columns.text(),
    createdAt: columns.number(),
    updatedAt: columns.number(),
    epoch: columns.number(),
    mac: columns.bytes(),
  }
}

function versionRow(columns: ColumnReader): VersionRow {
  return {
    secretId: columns.bytes(),
    version: columns.number(),
    stage: columns.text(),
    targets: columns.text().split('\n'),
    notBefore: columns.optionalNumber(),
    expiresAt: columns.optionalNumber(),
    keyVersion: columns.number(),
    createdAt: columns.number(),
    epoch: columns.number(),
    sealed: columns.bytes(),
    mac: columns.bytes(),
  }
}
