/**
 * The embedded database: one SQLite file, in WAL mode, through the runtime's own module.
 *
 * Rules of this file: readers never wait (busy time-out 0, rulings.md 19) and in WAL mode never have to; writes go through one
 * connection, each transaction synced to the disk before it is acknowledged; SQL in the file itself is not trusted.
 */
import { dirname } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { Milliseconds } from '../base/clock.ts'
import type { Database, SqlParameter, SqlRow, Statement, TransactionResult } from './database.ts'
import { migrate } from './migrate.ts'
import { checkPrivateDirectory, ensurePrivateFile } from './private-directory.ts'
import { storageFailed } from './sqlite-fault.ts'

export type SqliteOptions = {
  readonly file: string
  /** Told when an older file was upgraded, with the path of the copy made before. */
  readonly onUpgrade?: (copy: string) => void
}

// Who writes waits this long for another process of ours, such as a command that was started a moment ago.
const WRITER_WAIT: Milliseconds = 2000

// trusted_schema off: views and triggers that someone put into the file run no functions (sqlite.org/security.html).
// secure_delete: deleted rows are overwritten in pages that are written anyway. temp_store: no files elsewhere (J12).
const EVERY_CONNECTION =
  'PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;'
const WRITER_ONLY = 'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = FAST;'

/** Opens the database, makes it when it is missing, upgrades it when it is older. @throws STORAGE_UNSAFE, STORAGE_TOO_NEW, STORAGE_FAILED */
export function openSqlite(options: SqliteOptions): Database {
  checkPrivateDirectory(dirname(options.file))
  ensurePrivateFile(options.file)
  const writer = connect(options.file, WRITER_WAIT)
  try {
    writer.database.exec(WRITER_ONLY)
    const copy = migrate(writer.database, options.file)
    if (copy !== undefined) options.onUpgrade?.(copy)
    return createDatabase(writer, connect(options.file, 0))
  } catch (cause) {
    writer.database.close()
    throw storageFailed(cause)
  }
}

type Connection = { readonly database: DatabaseSync; prepare(sql: string): StatementSync }

function connect(file: string, timeout: Milliseconds): Connection {
  try {
    const database = new DatabaseSync(file, {
      timeout,
      allowExtension: false,
      defensive: true,
      returnArrays: true,
      enableDoubleQuotedStringLiterals: false,
    })
    database.exec(EVERY_CONNECTION)
    return { database, prepare: statementCache(database) }
  } catch (cause) {
    throw storageFailed(cause)
  }
}

// The program's SQL is a fixed set of texts, so this map is bounded by the source.
function statementCache(database: DatabaseSync): (sql: string) => StatementSync {
  const statements = new Map<string, StatementSync>()
  return sql => {
    const known = statements.get(sql)
    if (known !== undefined) return known
    const statement = database.prepare(sql)
    statements.set(sql, statement)
    return statement
  }
}

function createDatabase(writer: Connection, reader: Connection): Database {
  let seen = dataVersion(writer)
  return {
    query: async (sql, parameters) => queryRows(reader, sql, parameters),
    transaction: async statements => runTransaction(writer, statements),
    changedElsewhere() {
      const now = dataVersion(writer)
      const changed = now !== seen
      seen = now
      return changed
    },
    async close() {
      reader.database.close()
      writer.database.close()
    },
  }
}

function queryRows(reader: Connection, sql: string, parameters: readonly SqlParameter[]): readonly SqlRow[] {
  try {
    return reader.prepare(sql).all(...parameters) as unknown as readonly SqlRow[]
  } catch (cause) {
    throw storageFailed(cause)
  }
}

function runTransaction(writer: Connection, statements: readonly Statement[]): TransactionResult {
  try {
    writer.database.exec('BEGIN IMMEDIATE')
    for (const { sql, parameters, changes } of statements) {
      const result = writer.prepare(sql).run(...parameters)
      if (changes !== undefined && result.changes !== changes) {
        writer.database.exec('ROLLBACK')
        return 'conflict'
      }
    }
    writer.database.exec('COMMIT')
    return 'done'
  } catch (cause) {
    if (writer.database.isTransaction) writer.database.exec('ROLLBACK')
    throw storageFailed(cause)
  }
}

/** Changes when another connection has committed; asked on the writer, so that our own writes do not count. */
function dataVersion(writer: Connection): number {
  try {
    const row = writer.prepare('PRAGMA data_version').get() as unknown as SqlRow | undefined
    return Number(row?.[0])
  } catch (cause) {
    throw storageFailed(cause)
  }
}
