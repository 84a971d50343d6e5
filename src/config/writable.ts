/**
 * Who else may change what this sidecar obeys: its configuration and its policy (threat-model.md B9).
 *
 * Rule of this file: it looks and tells; the caller warns. A directory counts too, since who may write there may put another file in
 * the place of ours.
 */
import { accessSync, constants, type Stats, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Config } from './schema.ts'

const OTHERS_WRITE = 0o022
const STICKY = 0o1000

/** Lists files and directories of configuration and policy that another user may change, each with the reason. */
export function writableByOthers(config: Pick<Config, 'file' | 'policy'>): readonly string[] {
  const files = [config.file, ...config.policy.files]
  return [...new Set([...files, ...files.map(file => dirname(file))])].flatMap(path => {
    const fault = faultOf(path)
    return fault === undefined ? [] : [`${path} ${fault}`]
  })
}

function faultOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined || isReadOnly(path)) return undefined // what is missing is reported by who reads it
  // Root may own it, and can change everything anyway.
  if (stat.uid !== process.getuid?.() && stat.uid !== 0) return `belongs to user ${stat.uid}`
  return isOpen(stat) ? `may be changed by others (mode 0${(stat.mode & 0o777).toString(8)})` : undefined
}

// In a sticky directory, such as /tmp, nobody can replace the file of another user.
function isOpen(stat: Stats): boolean {
  return (stat.mode & OTHERS_WRITE) !== 0 && !(stat.isDirectory() && (stat.mode & STICKY) !== 0)
}

// A ConfigMap is mounted with mode 0777, and read-only: nobody here can write.
function isReadOnly(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return false
  } catch (cause) {
    return cause instanceof Error && 'code' in cause && cause.code === 'EROFS'
  }
}
