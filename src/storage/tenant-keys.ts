/**
 * Rows of tenant keys, wrapped.
 */
import type { Database, Statement } from './database.ts'
import { insertKey, type KeyRow, keyRow } from './meta.ts'

const COLUMNS = 'owner, version, provider, wrapped, created_at'

export interface TenantKeyTable {
  latest(tenant: string): Promise<KeyRow | undefined>
  byVersion(tenant: string, version: number): Promise<KeyRow | undefined>
  /** Tenants that have a key, in order. */
  tenants(): Promise<readonly string[]>
}

export function tenantKeyTable(database: Database): TenantKeyTable {
  return {
    async latest(tenant) {
      const sql = `SELECT ${COLUMNS} FROM tenant_keys WHERE owner = ? ORDER BY version DESC LIMIT 1`
      const [row] = await database.query(sql, [tenant])
      return row && keyRow(row)
    },
    async byVersion(tenant, version) {
      const sql = `SELECT ${COLUMNS} FROM tenant_keys WHERE owner = ? AND version = ?`
      const [row] = await database.query(sql, [tenant, version])
      return row && keyRow(row)
    },
    async tenants() {
      const rows = await database.query('SELECT DISTINCT owner FROM tenant_keys ORDER BY owner', [])
      return rows.map(row => String(row[0]))
    },
  }
}

export function insertTenantKey(row: KeyRow): Statement {
  return insertKey('tenant_keys', row)
}
