/**
 * Sizes as people write them ("32KiB", "1MiB") and as the program counts them.
 */

/** A whole number of bytes. */
export type Bytes = number

const UNITS = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const

export const kib = (count: number): Bytes => count * UNITS.KiB
export const mib = (count: number): Bytes => count * UNITS.MiB

/** Parses a whole number with one unit of B, KiB, MiB, GiB; undefined when malformed. */
export function parseSize(text: string): Bytes | undefined {
  const match = /^(0|[1-9][0-9]{0,8})(B|KiB|MiB|GiB)$/.exec(text)
  if (match === null) return undefined
  return Number(match[1]) * UNITS[match[2] as keyof typeof UNITS]
}

/** Writes a size in the largest unit that divides it. */
export function formatSize(size: Bytes): string {
  for (const unit of ['GiB', 'MiB', 'KiB'] as const) {
    if (size >= UNITS[unit] && size % UNITS[unit] === 0) return `${size / UNITS[unit]}${unit}`
  }
  return `${size}B`
}
