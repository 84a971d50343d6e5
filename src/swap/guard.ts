/**
 * Stops a placeholder that leaves in a body, where nothing is swapped (rulings.md 2).
 *
 * Rules of this file: not one byte of a placeholder is passed on; a byte that cannot belong to one is never held back, so that
 * interactive streams do not stall. Bodies are scanned raw: a placeholder that is compressed, encoded, or written as
 * UTF-16 passes, stays a placeholder, and is worth nothing to who gets it (rulings.md 8, 15). A look-alike whose checksum is
 * wrong passes too. A sealed one is known by its 43rd character, without waiting for where it ends.
 */
import {
  isBase64url,
  isPlaceholder,
  PLACEHOLDER_ANCHOR,
  PLACEHOLDER_LENGTH,
  SEALED_MIN_LENGTH,
} from './placeholder.ts'

/**
 * Looks through one body, chunk by chunk.
 *
 * `push` returns what may be sent now, in order, or 'found': then nothing more may be sent, and every later call says so again.
 * The chunks returned share memory with those given. `flush` ends the body and returns what was still held back.
 */
export type BodyGuard = { push(chunk: Buffer): Buffer[] | 'found'; flush(): Buffer[] }

type Verdict = 'placeholder' | 'incomplete' | 'none'

const EMPTY = Buffer.alloc(0)
const ANCHOR = Buffer.from(PLACEHOLDER_ANCHOR, 'latin1')
const KIND = ANCHOR.length
const BODY = KIND + 1
const STORED_KIND = 0x72
const SEALED_KIND = 0x73

export function createBodyGuard(): BodyGuard {
  // At most SEALED_MIN_LENGTH - 1 bytes: the start of what may become a placeholder.
  let held: Buffer = EMPTY
  let found = false
  return {
    push(chunk) {
      if (found) return 'found'
      const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk])
      const hold = firstUndecided(bytes)
      if (hold === undefined) {
        found = true
        held = EMPTY
        return 'found'
      }
      held = hold < bytes.length ? Buffer.from(bytes.subarray(hold)) : EMPTY
      return hold > 0 ? [bytes.subarray(0, hold)] : []
    },
    flush() {
      const rest = held
      held = EMPTY
      return rest.length > 0 ? [rest] : []
    },
  }
}

/** Offset of the first byte that may yet turn out to start a placeholder; undefined when there is a whole one. */
function firstUndecided(bytes: Buffer): number | undefined {
  let at = bytes.indexOf(ANCHOR)
  let undecided: number | undefined
  while (at >= 0) {
    const verdict = judge(bytes, at)
    if (verdict === 'placeholder') return undefined
    if (verdict === 'incomplete') undecided ??= at
    at = bytes.indexOf(ANCHOR, at + ANCHOR.length)
  }
  return undecided ?? startOfAnchorAtEnd(bytes)
}

function judge(bytes: Buffer, at: number): Verdict {
  const kind = bytes[at + KIND]
  if (kind === undefined) return 'incomplete'
  if (kind === STORED_KIND) return judgeStored(bytes, at)
  return kind === SEALED_KIND ? judgeSealed(bytes, at) : 'none'
}

function judgeStored(bytes: Buffer, at: number): Verdict {
  const end = at + PLACEHOLDER_LENGTH
  if (end <= bytes.length) return isPlaceholder(bytes.toString('latin1', at, end)) ? 'placeholder' : 'none'
  for (let i = at + BODY; i < bytes.length; i++) if (!isBase62(bytes[i] ?? 0)) return 'none'
  return 'incomplete'
}

function judgeSealed(bytes: Buffer, at: number): Verdict {
  const end = Math.min(at + SEALED_MIN_LENGTH, bytes.length)
  for (let i = at + BODY; i < end; i++) if (!isBase64url(bytes[i] ?? 0)) return 'none'
  return end === at + SEALED_MIN_LENGTH ? 'placeholder' : 'incomplete'
}

function startOfAnchorAtEnd(bytes: Buffer): number {
  for (let length = Math.min(ANCHOR.length - 1, bytes.length); length > 0; length--) {
    const start = bytes.length - length
    if (bytes.compare(ANCHOR, 0, length, start) === 0) return start
  }
  return bytes.length
}

function isBase62(code: number): boolean {
  return isBase64url(code) && code !== 0x2d && code !== 0x5f
}
