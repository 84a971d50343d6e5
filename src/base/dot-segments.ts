/**
 * Whether somebody behind us could climb out of a path: the one reading that policy and swapping share.
 *
 * Rule of this file: a dot segment counts in every spelling that a server may undo (threat-model.md A6, B1).
 */

/** Tells whether a path (without its query) holds a segment "." or "..", as it is or decoded once or twice. */
export function hasDotSegment(path: string): boolean {
  if (!path.includes('/.') && !path.includes('%')) return false
  const once = decodePercentOnce(path)
  return [path, once, decodePercentOnce(once)].some(hasPlainDotSegment)
}

/** Decodes byte by byte as latin1: malformed escapes stay, nothing throws. */
export function decodePercentOnce(path: string): string {
  return path.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

function hasPlainDotSegment(path: string): boolean {
  return (
    path
      .split(/[/\\]/)
      // "..;x" is a dot segment to servlet containers, which cut matrix parameters off first.
      .map(segment => segment.replace(/;.*$/s, ''))
      .some(segment => segment === '.' || segment === '..')
  )
}
