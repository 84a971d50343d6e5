/**
 * The lock on a state directory: one process at a time changes what is in it (rulings.md 19).
 *
 * It is an exclusive transaction on a small database of its own, which the kernel ends with the process: a lock that outlives a
 * kill -9 would need a person to remove it. POSIX locks fall when any descriptor of the file in the same process is closed, so
 * nothing else may open lock.db.
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { CloakroomError } from '../base/errors.ts'
import { checkPrivateDirectory, ensurePrivateFile } from './private-directory.ts'
import { describeSqlite, isBusy } from './sqlite-fault.ts'

export type StateLock = { release(): void }

/** Takes the lock or fails at once. @throws STORAGE_LOCKED, STORAGE_UNSAFE, STORAGE_FAILED */
export function lockState(directory: string): StateLock {
  checkPrivateDirectory(directory)
  const path = join(directory, 'lock.db')
  ensurePrivateFile(path)
  const database = new DatabaseSync(path, { timeout: 0 })
  try {
    // The journal stays in memory: nothing is written, and no file is left beside the lock.
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (cause) {
    database.close()
    if (isBusy(cause)) throw new CloakroomError('STORAGE_LOCKED', { directory }, { cause })
    throw new CloakroomError('STORAGE_FAILED', { what: `the lock: ${describeSqlite(cause)}` }, { cause })
  }
  return {
    release() {
      if (database.isOpen) database.close()
    },
  }
}
