/**
 * Reads columns of a row with the type that they must have.
 *
 * Rule of this file: a row is input like any other: who can write to the file chooses its types. What does not fit throws
 * STORAGE_FAILED and goes no further.
 */
import { CloakroomError } from '../base/errors.ts'
import type { SqlRow } from './database.ts'

export type ColumnReader = {
  text(): string
  bytes(): Uint8Array
  number(): number
  optionalNumber(): number | undefined
}

/** Reads the columns of one row from left to right. */
export function readColumns(row: SqlRow): ColumnReader {
  let at = 0
  return {
    text() {
      const value = row[at++]
      return typeof value === 'string' ? value : malformed(at)
    },
    bytes() {
      const value = row[at++]
      return value instanceof Uint8Array ? value : malformed(at)
    },
    number() {
      const value = row[at++]
      return isCount(value) ? value : malformed(at)
    },
    optionalNumber() {
      const value = row[at++]
      if (value === null) return undefined
      return isCount(value) ? value : malformed(at)
    },
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

function malformed(column: number): never {
  throw new CloakroomError('STORAGE_FAILED', { what: `column ${column} of a row has a wrong type` })
}
