/**
 * Replaces many byte patterns in a stream, in one pass. No HTTP and no secrets in it.
 *
 * Rules of this file: at each place the longest of the patterns that start there is taken, matches are taken left to right,
 * and what was put in is never looked at again. The result does not depend on how the stream is cut. Held back is only the
 * longest end of the stream that may yet become a pattern; everything else goes on at once.
 *
 * The search is that of Wu and Manber (1994): it looks at two bytes, and skips as far as no pattern can start, so that most
 * bytes are never read. Its cost falls with the length of the shortest pattern.
 */
import { invariant } from './assert.ts'

/** `pattern` has at least two bytes. Both buffers are taken over: `dispose` overwrites the patterns. */
export type Replacement = { readonly pattern: Buffer; readonly by: Buffer }

/** The patterns, compiled once for any number of streams. */
export type Replacer = {
  /** Starts a stream of its own. */
  stream(): ReplacerStream
  /** Replaces in bytes that are all there; returns `bytes` itself where nothing matches. */
  replaceAll(bytes: Buffer): { readonly bytes: Buffer; readonly count: number }
  /** Overwrites the patterns and all that was derived from them; nothing is found afterwards. */
  dispose(): void
}

export type ReplacerStream = {
  /** Takes the next bytes, returns those that are decided. Where nothing matches, the result shares memory with `chunk`. */
  push(chunk: Buffer): Buffer
  /** Ends the stream and returns what was held back. */
  flush(): Buffer
  /** Overwrites what is held back. */
  dispose(): void
  /** Replacements made so far. */
  readonly count: number
}

type Compiled = {
  /** Longest first, so that the first that fits is the longest. */
  readonly replacements: readonly Replacement[]
  readonly shortest: number
  readonly longest: number
  /** By hash of two bytes: how far the window may move on when it ends in them. */
  readonly shifts: Uint8Array
  /** By hash of two bytes: the patterns whose window ends in them. */
  readonly candidates: ReadonlyMap<number, readonly Replacement[]>
  /** 1 for each byte that some pattern starts with. */
  readonly firsts: Uint8Array
}

/** What one look over bytes gives: the output pieces, and where the undecided rest starts. */
type Pass = { readonly pieces: Buffer[]; readonly count: number; readonly rest: number }

const EMPTY = Buffer.alloc(0)
const HASHES = 4096
// A window is the start of each pattern, as long as the shortest of them, and at most this.
const LONGEST_WINDOW = 64

/** Compiles patterns; of equal ones the first counts. */
export function createReplacer(replacements: readonly Replacement[]): Replacer {
  let compiled = compile(replacements)
  return {
    stream: () => createStream(() => compiled),
    replaceAll(bytes) {
      const { pieces, count } = pass(compiled, bytes, false)
      return { bytes: count === 0 ? bytes : Buffer.concat(pieces), count }
    },
    dispose() {
      for (const { pattern } of compiled.replacements) pattern.fill(0)
      compiled.shifts.fill(0)
      compiled.firsts.fill(0)
      compiled = compile([])
    },
  }
}

function createStream(compiled: () => Compiled): ReplacerStream {
  let held: Buffer = EMPTY
  let count = 0
  const take = (bytes: Buffer, more: boolean): Buffer => {
    const done = pass(compiled(), bytes, more)
    count += done.count
    const rest = bytes.subarray(done.rest)
    // A copy: the caller may use the chunk's memory again, and a few bytes must not keep a large chunk alive.
    const next = rest.length === 0 ? EMPTY : Buffer.allocUnsafeSlow(rest.length)
    next.set(rest)
    if (held !== bytes) held.fill(0)
    held = next
    return done.pieces.length === 1 && done.pieces[0] !== undefined
      ? done.pieces[0]
      : Buffer.concat(done.pieces)
  }
  return {
    push: chunk => take(held.length === 0 ? chunk : Buffer.concat([held, chunk]), true),
    flush: () => take(held, false),
    dispose() {
      held.fill(0)
      held = EMPTY
    },
    get count() {
      return count
    },
  }
}

function compile(replacements: readonly Replacement[]): Compiled {
  const sorted = [...replacements].sort((a, b) => b.pattern.length - a.pattern.length)
  const shortest = Math.min(LONGEST_WINDOW, sorted.at(-1)?.pattern.length ?? LONGEST_WINDOW)
  invariant(shortest >= 2, 'a pattern has at least two bytes')
  const shifts = new Uint8Array(HASHES).fill(shortest - 1)
  const candidates = new Map<number, Replacement[]>()
  const firsts = new Uint8Array(256)
  for (const replacement of sorted) {
    const { pattern } = replacement
    firsts[pattern[0] ?? 0] = 1
    for (let end = 1; end < shortest; end++) {
      const hash = hashAt(pattern, end)
      shifts[hash] = Math.min(shifts[hash] ?? 0, shortest - 1 - end)
    }
    const last = hashAt(pattern, shortest - 1)
    candidates.set(last, [...(candidates.get(last) ?? []), replacement])
  }
  return {
    replacements: sorted,
    shortest,
    longest: sorted[0]?.pattern.length ?? 0,
    shifts,
    candidates,
    firsts,
  }
}

function hashAt(bytes: Buffer, end: number): number {
  return (((bytes[end - 1] ?? 0) << 5) ^ (bytes[end] ?? 0)) & (HASHES - 1)
}

/** Replaces in `bytes`; with `more` to come, stops where a pattern may have begun that the end cuts off. */
function pass(compiled: Compiled, bytes: Buffer, more: boolean): Pass {
  const pieces: Buffer[] = []
  let count = 0
  let done = 0
  let limit = more ? firstUndecided(compiled, bytes, 0) : bytes.length
  for (;;) {
    const match = findNext(compiled, bytes, done, limit)
    if (match === undefined) break
    if (match.start > done) pieces.push(bytes.subarray(done, match.start))
    pieces.push(match.replacement.by)
    count++
    done = match.start + match.replacement.pattern.length
    // A match may reach over the bytes that looked undecided: what counts is the end behind it.
    if (done > limit) limit = firstUndecided(compiled, bytes, done)
  }
  if (limit > done) pieces.push(bytes.subarray(done, limit))
  return { pieces, count, rest: Math.max(done, limit) }
}

type Match = { readonly start: number; readonly replacement: Replacement }

/** The leftmost match that starts in [from, before), and the longest there. */
function findNext(compiled: Compiled, bytes: Buffer, from: number, before: number): Match | undefined {
  const { shifts, shortest, candidates } = compiled
  const stop = Math.min(bytes.length, before + shortest - 1)
  let end = from + shortest - 1
  while (end < stop) {
    const hash = (((bytes[end - 1] as number) << 5) ^ (bytes[end] as number)) & (HASHES - 1)
    const shift = shifts[hash] as number
    if (shift > 0) {
      end += shift
      continue
    }
    const start = end - shortest + 1
    for (const replacement of candidates.get(hash) ?? []) {
      if (standsAt(replacement.pattern, bytes, start)) return { start, replacement }
    }
    end++
  }
  return undefined
}

function standsAt(pattern: Buffer, bytes: Buffer, start: number): boolean {
  const length = pattern.length
  if (start + length > bytes.length) return false
  for (let i = 0; i < length; i++) if (bytes[start + i] !== pattern[i]) return false
  return true
}

/** Where the longest end of `bytes`, from `from` on, starts that is the beginning of a pattern and not all of it. */
function firstUndecided(compiled: Compiled, bytes: Buffer, from: number): number {
  const { firsts, longest, replacements } = compiled
  for (let start = Math.max(from, bytes.length - longest + 1); start < bytes.length; start++) {
    if (firsts[bytes[start] as number] === 0) continue
    for (const { pattern } of replacements) {
      if (isCutOff(pattern, bytes, start)) return start
    }
  }
  return bytes.length
}

function isCutOff(pattern: Buffer, bytes: Buffer, start: number): boolean {
  const length = bytes.length - start
  if (length >= pattern.length) return false
  for (let i = 0; i < length; i++) if (bytes[start + i] !== pattern[i]) return false
  return true
}
