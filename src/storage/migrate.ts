/**
 * Brings a database file to the schema that this version knows.
 *
 * Rules of this file: steps run in order, once, each in a transaction with its number; before a file that holds something is
 * changed, a copy of it is made; a file that a newer version wrote is refused, never guessed at (rulings.md 31).
 */
import { rmSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'
import { CloakroomError } from '../base/errors.ts'
import { FIRST_SCHEMA } from './migrations/001-first.ts'
import { ensurePrivateFile } from './private-directory.ts'

/** The schema's steps: number N is at index N - 1. Append only. */
export const MIGRATIONS: readonly string[] = [FIRST_SCHEMA]

// "CLKR": tells our file from any other SQLite database, also to file(1).
const APPLICATION_ID = 0x434c4b52

/**
 * Runs the steps that are missing.
 *
 * @returns the path of the copy that was made before an upgrade; undefined when there was nothing to upgrade.
 * @throws STORAGE_TOO_NEW, STORAGE_FAILED when the file is another program's
 */
export function migrate(
  database: DatabaseSync,
  file: string,
  migrations: readonly string[] = MIGRATIONS,
): string | undefined {
  const found = pragma(database, 'user_version')
  const known = migrations.length
  if (found > known) throw new CloakroomError('STORAGE_TOO_NEW', { file, found, known })
  if (found === 0) refuseForeign(database)
  else if (pragma(database, 'application_id') !== APPLICATION_ID) throw notOurs()
  if (found === known) return undefined
  const copy = found === 0 ? undefined : copyBefore(database, `${file}.before-schema-${known}`)
  for (let step = found; step < known; step++) runStep(database, migrations[step] ?? '', step + 1)
  return copy
}

function runStep(database: DatabaseSync, sql: string, version: number): void {
  database.exec('BEGIN IMMEDIATE')
  try {
    database.exec(sql)
    database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${version}`)
    database.exec('COMMIT')
  } catch (cause) {
    database.exec('ROLLBACK')
    throw cause
  }
}

/** A consistent copy, also while others read; made anew when an upgrade was interrupted. */
function copyBefore(database: DatabaseSync, copy: string): string {
  rmSync(copy, { force: true })
  ensurePrivateFile(copy) // VACUUM INTO takes an empty file and keeps its mode
  database.prepare('VACUUM INTO ?').run(copy)
  return copy
}

// Number 0 is also what a database of another program may have: it must be empty to become ours.
function refuseForeign(database: DatabaseSync): void {
  const tables = firstColumn(database, 'SELECT count(*) FROM sqlite_schema')
  if (tables !== 0 || pragma(database, 'application_id') !== 0) throw notOurs()
}

function notOurs(): CloakroomError {
  return new CloakroomError('STORAGE_FAILED', { what: 'the file is a database of another program' })
}

function pragma(database: DatabaseSync, name: 'user_version' | 'application_id'): number {
  return firstColumn(database, `PRAGMA ${name}`)
}

function firstColumn(database: DatabaseSync, sql: string): number {
  return Number(Object.values(database.prepare(sql).get() ?? {})[0])
}
