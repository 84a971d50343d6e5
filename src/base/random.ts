/**
 * The only source of random bytes and of ids.
 *
 * Rule of this file: everything here comes from the operating system's generator; nothing is seeded.
 */
import { randomBytes as bytesFromSystem, randomFillSync } from 'node:crypto'

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** Returns `count` random bytes in memory of their own (never a slice of Node's shared pool, threat-model.md N6). */
export function randomBytes(count: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(count)
  return randomFillSync(bytes)
}

/** Returns `count` characters of 0-9A-Za-z, each equally likely (rejection sampling). */
export function randomBase62(count: number): string {
  let text = ''
  while (text.length < count) {
    for (const byte of bytesFromSystem(count)) {
      if (byte < 248 && text.length < count) text += BASE62[byte % 62]
    }
  }
  return text
}

const pool = Buffer.alloc(1024)
let used = pool.length

/** Returns a ULID: 10 characters of time and 16 of randomness, so that ids sort by time. */
export function newRequestId(now: number): string {
  if (used + 16 > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  let text = ''
  let rest = now
  for (let i = 0; i < 10; i++) {
    text = CROCKFORD[rest % 32] + text
    rest = Math.floor(rest / 32)
  }
  for (let i = 0; i < 16; i++) text += CROCKFORD[(pool[used++] ?? 0) & 31]
  return text
}
