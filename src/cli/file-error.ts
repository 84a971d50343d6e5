/**
 * Says what the file system refused, as a person would: `cannot open /etc/x: permission denied`.
 */

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ENOENT: 'no such file',
  ENOTDIR: 'a part of the path is not a directory',
  EISDIR: 'it is a directory',
  EEXIST: 'it exists already',
  ENOSPC: 'no space left on the device',
  EROFS: 'the file system is read-only',
  ELOOP: 'too many symbolic links',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'the name is too long',
}

const VERBS: Readonly<Record<string, string>> = {
  open: 'open',
  read: 'read',
  write: 'write',
  mkdir: 'make',
  scandir: 'list',
  rename: 'rename',
  unlink: 'remove',
  rm: 'remove',
  chmod: 'change the mode of',
}

/** The text of an error of the file system; undefined for any other, and for one that names no path. */
export function describeFileError(cause: unknown): string | undefined {
  if (!(cause instanceof Error) || !('code' in cause) || !('syscall' in cause)) return undefined
  const path = 'path' in cause && typeof cause.path === 'string' ? cause.path : undefined
  if (path === undefined) return undefined
  const code = String(cause.code)
  return `cannot ${VERBS[String(cause.syscall)] ?? 'use'} ${path}: ${REASONS[code] ?? code}`
}
