/**
 * Paths that two parsers could read differently, told apart from those that mean one thing only.
 *
 * Rules of this file (threat-model.md A6, B1; docs/policy.md has the table): policy compares the very bytes that are sent, so a
 * spelling that an upstream may resolve to another path must never be compared. What is refused everywhere is little; where
 * any rule for the caller and target names paths, or a placeholder stands in the path, the whole of B1 is refused.
 */
import { decodePercentOnce, hasDotSegment } from '../base/dot-segments.ts'

/** The part before "?", which is what path patterns are compared with. */
export function withoutQuery(path: string): string {
  const question = path.indexOf('?')
  return question < 0 ? path : path.slice(0, question)
}

const OUTSIDE_ORIGIN_FORM = /[^\x21-\x7e]|[\\#]/

/** Tells whether no rule whatever may let this path pass: it could name another host or climb out of any prefix. */
export function isNeverAcceptable(path: string): boolean {
  if (!path.startsWith('/') || path.startsWith('//') || OUTSIDE_ORIGIN_FORM.test(path)) return true
  return hasDotSegment(withoutQuery(path))
}

/** Tells whether a path could be read in two ways by somebody behind us; `path` is without its query. */
export function isAmbiguous(path: string): boolean {
  if (path.includes('//') || path.includes(';')) return true
  if (!path.includes('%')) return false
  if (/%(?![0-9A-Fa-f]{2})/.test(path)) return true
  // "%25" hides a second round; a character that needs no coding is coded only to slip past a comparison of bytes.
  if (/%(?:2[dDeEfF5]|3[0-9bB]|4[1-9a-fA-F]|5[0-9aAcCfF]|6[1-9a-fA-F]|7[0-9aA])/.test(path)) return true
  return !isCleanText(decodePercentOnce(path))
}

function isCleanText(decoded: string): boolean {
  if (/[\x00-\x1f\x7f]/.test(decoded)) return false
  const bytes = Buffer.from(decoded, 'latin1')
  return bytes.every(byte => byte < 0x80) || isUtf8Text(bytes)
}

function isUtf8Text(bytes: Buffer): boolean {
  try {
    // C1 controls and overlong forms: the first are controls, the second are not UTF-8 to this decoder.
    return !/[\u0080-\u009f]/.test(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    return false
  }
}
