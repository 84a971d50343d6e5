/**
 * Directories and files that only their owner may use.
 *
 * Rule of this file: whoever else could write to the state directory could replace what is in it, so a directory that others may
 * use is refused, not mended (threat-model.md J12, rulings.md 18).
 */
import { closeSync, lstatSync, mkdirSync, openSync, type Stats } from 'node:fs'
import { CloakroomError } from '../base/errors.ts'

const OTHERS_MASK = 0o077
const OWNER_ONLY_DIRECTORY = 0o700
const OWNER_ONLY_FILE = 0o600

/** Makes the directory when it is missing, and checks it. @throws STORAGE_UNSAFE */
export function ensurePrivateDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: OWNER_ONLY_DIRECTORY })
  } catch (cause) {
    if (codeOf(cause) !== 'EEXIST') throw unsafe(path, `cannot be made (${codeOf(cause)})`, cause)
  }
  checkPrivateDirectory(path)
}

/** Checks that `path` is a directory of ours that nobody else may use. @throws STORAGE_UNSAFE */
export function checkPrivateDirectory(path: string): void {
  const stat = statOf(path)
  if (!stat.isDirectory()) throw unsafe(path, 'it is not a directory')
  checkOwner(path, stat)
}

/** Makes the file when it is missing, with mode 0600, and checks it. @throws STORAGE_UNSAFE */
export function ensurePrivateFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx', OWNER_ONLY_FILE))
  } catch (cause) {
    if (codeOf(cause) !== 'EEXIST') throw unsafe(path, `cannot be made (${codeOf(cause)})`, cause)
  }
  const stat = statOf(path)
  if (!stat.isFile()) throw unsafe(path, 'it is not a plain file')
  checkOwner(path, stat)
}

function checkOwner(path: string, stat: Stats): void {
  if (stat.uid !== process.getuid?.()) throw unsafe(path, `it belongs to user ${stat.uid}`)
  const mode = stat.mode & 0o777
  if ((mode & OTHERS_MASK) !== 0) throw unsafe(path, `others may use it (mode 0${mode.toString(8)})`)
}

// lstat: a symbolic link in the place of the directory or file would lead elsewhere after the check.
function statOf(path: string): Stats {
  try {
    return lstatSync(path)
  } catch (cause) {
    throw unsafe(path, `cannot be read (${codeOf(cause)})`, cause)
  }
}

function unsafe(path: string, what: string, cause?: unknown): CloakroomError {
  return new CloakroomError('STORAGE_UNSAFE', { path, what }, { cause })
}

function codeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown'
}
