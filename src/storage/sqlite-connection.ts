/**
 * One connection to the embedded database, with the settings that every connection has.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { Milliseconds } from '../base/clock.ts'
import type { Statement, TransactionResult } from './database.ts'
import { storageFailed } from './sqlite-fault.ts'

export type Connection = { readonly database: DatabaseSync; prepare(sql: string): StatementSync }

// Who writes waits this long for another process of ours, such as a command that was started a moment ago.
const WRITER_WAIT: Milliseconds = 2000

// trusted_schema off: views and triggers that someone put into the file run no functions (sqlite.org/security.html).
// temp_store: no temporary files elsewhere (threat-model.md J12).
const EVERY_CONNECTION =
  'PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;'
// synchronous: a commit is on the disk before it is acknowledged. secure_delete: what was deleted is overwritten.
const WRITER_ONLY = 'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = FAST;'

/** Opens a connection that reads; it never waits for a lock (rulings.md 19), and in WAL mode never has to. */
export function connectReader(file: string): Connection {
  return connect(file, 0, EVERY_CONNECTION)
}

/** Opens a connection that writes. */
export function connectWriter(file: string): Connection {
  return connect(file, WRITER_WAIT, EVERY_CONNECTION + WRITER_ONLY)
}

function connect(file: string, timeout: Milliseconds, settings: string): Connection {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(file, {
      timeout,
      allowExtension: false,
      defensive: true,
      returnArrays: true,
      enableDoubleQuotedStringLiterals: false,
    })
    database.exec(settings)
    return { database, prepare: statementCache(database) }
  } catch (cause) {
    database?.close()
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

/** Runs statements in order, all or none. @throws STORAGE_FAILED */
export function runTransaction(writer: Connection, statements: readonly Statement[]): TransactionResult {
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
