/**
 * Files that only their owner may read: written whole or not at all, checked when read.
 *
 * Rule of this file: what was opened is what is checked; sizes are bounded; errors name the file and never its content.
 */
import { type FileHandle, link, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { CloakroomError } from '../base/errors.ts'

const OTHERS_MASK = 0o077
const ONLY_OWNER_READS = 0o400

/**
 * Writes a file of mode 0400 durably: after a crash it is whole or it is not there.
 *
 * @param options - `replace` puts it in the place of an existing file in one step; without it that file stays.
 * @throws CONFIG_EXISTS, KEY_FILE_INVALID
 */
export async function writePrivateFile(
  path: string,
  content: Uint8Array,
  options: { readonly replace: boolean },
): Promise<void> {
  const draft = `${path}.new`
  try {
    await rm(draft, { force: true }) // left behind by a write that was interrupted
    await writeSynced(draft, content)
    // link() fails where a file stands already and rename() does not: no window between looking and writing.
    if (options.replace) await rename(draft, path)
    else await link(draft, path).finally(() => rm(draft, { force: true }))
    const directory = await open(dirname(path), 'r')
    await directory.sync().finally(() => directory.close())
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') throw new CloakroomError('CONFIG_EXISTS', { file: path }, { cause })
    throw invalidFile(path, `cannot be written (${codeOf(cause)})`, cause)
  }
}

async function writeSynced(path: string, content: Uint8Array): Promise<void> {
  const handle = await open(path, 'wx', ONLY_OWNER_READS)
  try {
    await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Reads a file that only its owner may use. @throws KEY_FILE_UNSAFE, KEY_FILE_INVALID */
export async function readPrivateFile(path: string, maxBytes: number): Promise<Buffer> {
  const handle = await openExisting(path)
  try {
    const stat = await handle.stat()
    const fault = faultOf(stat)
    if (fault !== undefined) throw new CloakroomError('KEY_FILE_UNSAFE', { file: path, what: fault })
    if (stat.size > maxBytes) throw invalidFile(path, 'it is too long')
    return await handle.readFile()
  } finally {
    await handle.close()
  }
}

async function openExisting(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (cause) {
    throw invalidFile(path, `cannot be read (${codeOf(cause)})`, cause)
  }
}

function faultOf(stat: { uid: number; mode: number; isFile(): boolean }): string | undefined {
  if (!stat.isFile()) return 'it is not a plain file'
  // Root may own it: a mounted secret belongs to root, and root can read everything anyway.
  if (stat.uid !== process.getuid?.() && stat.uid !== 0) return `it belongs to user ${stat.uid}`
  const mode = stat.mode & 0o777
  return (mode & OTHERS_MASK) === 0
    ? undefined
    : `others may use it (mode ${mode.toString(8).padStart(4, '0')})`
}

export function invalidFile(file: string, what: string, cause?: unknown): CloakroomError {
  return new CloakroomError('KEY_FILE_INVALID', { file, what }, { cause })
}

function codeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown'
}
