/**
 * What a replacer must give, written so simply that it can be believed: leftmost, then longest, never looked at again.
 */
import type { Replacement } from '../../src/base/replacer.ts'

export function naiveReplace(bytes: Buffer, replacements: readonly Replacement[]): Buffer {
  const longestFirst = [...replacements].sort((a, b) => b.pattern.length - a.pattern.length)
  const out: Buffer[] = []
  let at = 0
  while (at < bytes.length) {
    const here = bytes.subarray(at)
    const match = longestFirst.find(({ pattern }) => here.subarray(0, pattern.length).equals(pattern))
    out.push(match?.by ?? here.subarray(0, 1))
    at += match?.pattern.length ?? 1
  }
  return Buffer.concat(out)
}

/** Every way to cut `length` bytes into `parts` pieces, empty ones included, as offsets of the cuts. */
export function* cuts(length: number, parts: 2 | 3): Generator<readonly number[]> {
  for (let a = 0; a <= length; a++) {
    if (parts === 2) yield [a]
    else for (let b = a; b <= length; b++) yield [a, b]
  }
}

/** Cuts bytes at the offsets given. */
export function pieces(bytes: Buffer, offsets: readonly number[]): Buffer[] {
  return [0, ...offsets].map((start, i) => bytes.subarray(start, offsets[i] ?? bytes.length))
}
