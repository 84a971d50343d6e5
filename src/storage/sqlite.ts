/**
 * The embedded database: one SQLite file, in WAL mode, through the runtime's own module.
 *
 * Rules of this file: readers never wait (rulings.md 19); writes go through one connection, each transaction synced to the disk
 * before it is acknowledged; SQL in the file itself is not trusted.
 */
import { dirname } from 'node:path'
import type { Database, SqlParameter, SqlRow } from './database.ts'
import { migrate } from './migrate.ts'
import { checkPrivateDirectory, ensurePrivateFile } from './private-directory.ts'
import { type Connection, connectReader, connectWriter } from './sqlite-connection.ts'
import { storageFailed } from './sqlite-fault.ts'
import { type Writer, writeHere, writeOnThread } from './sqlite-writer.ts'

export type SqliteOptions = {
  readonly file: string
  /** `thread` for a process that serves traffic; `here`, the default, for one that does nothing else meanwhile. */
  readonly writer?: 'here' | 'thread'
  /** Told when an older file was upgraded, with the path of the copy made before. */
  readonly onUpgrade?: (copy: string) => void
}

/**
 * Opens the database, makes it when it is missing, upgrades it when it is older.
 *
 * @throws STORAGE_UNSAFE, STORAGE_TOO_NEW, STORAGE_FAILED
 */
export function openSqlite(options: SqliteOptions): Database {
  const { file } = options
  checkPrivateDirectory(dirname(file))
  ensurePrivateFile(file)
  upgrade(options)
  return createDatabase(
    connectReader(file),
    options.writer === 'thread' ? writeOnThread(file) : writeHere(file),
  )
}

function upgrade({ file, onUpgrade }: SqliteOptions): void {
  const { database } = connectWriter(file)
  try {
    const copy = migrate(database, file)
    if (copy !== undefined) onUpgrade?.(copy)
  } catch (cause) {
    throw storageFailed(cause)
  } finally {
    database.close()
  }
}

function createDatabase(reader: Connection, writer: Writer): Database {
  // Asked on the writer, our own writes do not count as changes. A writer on a thread cannot be asked at once: then they
  // do count, and cost the caches a reload.
  const witness = writer.connection ?? reader
  let seen = dataVersion(witness)
  return {
    query: async (sql, parameters) => queryRows(reader, sql, parameters),
    transaction: statements => writer.run(statements),
    changedElsewhere() {
      const now = dataVersion(witness)
      const changed = now !== seen
      seen = now
      return changed
    },
    async close() {
      // The last connection to close writes the log back into the file.
      await writer.close()
      reader.database.close()
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

/** A number that changes when another connection has committed (sqlite.org/pragma.html#pragma_data_version). */
function dataVersion(connection: Connection): number {
  try {
    const row = connection.prepare('PRAGMA data_version').get() as unknown as SqlRow | undefined
    return Number(row?.[0])
  } catch (cause) {
    throw storageFailed(cause)
  }
}
