/**
 * The lock between a private sidecar and those who use it: each user holds a share, and who wants to end it claims the whole.
 *
 * Like the state lock (state-lock.ts) it is a lock on a small database of its own, which the kernel ends with the process: a user
 * that was killed keeps nothing alive.
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { CloakroomError } from '../base/errors.ts'
import { checkPrivateDirectory, ensurePrivateFile } from './private-directory.ts'
import { describeSqlite, isBusy } from './sqlite-fault.ts'

export type UseHold = { release(): void }

/** Takes a share; undefined while somebody claims the whole. @throws STORAGE_UNSAFE, STORAGE_FAILED */
export function shareUse(directory: string): UseHold | undefined {
  return take(directory, 'BEGIN; SELECT count(*) FROM sqlite_schema')
}

/** Takes the whole; undefined while anybody holds a share. @throws STORAGE_UNSAFE, STORAGE_FAILED */
export function claimUse(directory: string): UseHold | undefined {
  return take(directory, 'BEGIN EXCLUSIVE')
}

function take(directory: string, sql: string): UseHold | undefined {
  checkPrivateDirectory(directory)
  const path = join(directory, 'exec.db')
  ensurePrivateFile(path)
  const database = new DatabaseSync(path, { timeout: 0 })
  try {
    database.exec('PRAGMA journal_mode = MEMORY') // nothing is written, and no file is left beside the lock
    database.exec(sql)
  } catch (cause) {
    database.close()
    if (isBusy(cause)) return undefined
    throw new CloakroomError('STORAGE_FAILED', { what: `the lock: ${describeSqlite(cause)}` }, { cause })
  }
  return {
    release() {
      if (database.isOpen) database.close()
    },
  }
}
