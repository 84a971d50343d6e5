/**
 * What node:sqlite throws, in words that never quote a value.
 */
import { CloakroomError } from '../base/errors.ts'

const BUSY = 5
const LOCKED = 6
const PRIMARY_CODE = 0xff

/** Tells whether another connection holds what was asked for. */
export function isBusy(cause: unknown): boolean {
  const code = codeOf(cause)
  return code === BUSY || code === LOCKED
}

/** SQLite's own fixed text for the code; the message itself may name columns and is not used. */
export function describeSqlite(cause: unknown): string {
  if (cause instanceof Error && 'errstr' in cause) return String(cause.errstr)
  return cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown fault'
}

export function storageFailed(cause: unknown): CloakroomError {
  if (cause instanceof CloakroomError) return cause
  return new CloakroomError('STORAGE_FAILED', { what: describeSqlite(cause) }, { cause })
}

function codeOf(cause: unknown): number | undefined {
  return cause instanceof Error && 'errcode' in cause ? Number(cause.errcode) & PRIMARY_CODE : undefined
}
