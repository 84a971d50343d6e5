/**
 * Durations as people write them ("30s", "15m", "90d") and as the program counts them.
 */
import type { Milliseconds } from './clock.ts'

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Parses a whole number with one unit of ms, s, m, h, d; "0" alone is allowed; undefined when malformed. */
export function parseDuration(text: string): Milliseconds | undefined {
  if (text === '0') return 0
  const match = /^(0|[1-9][0-9]{0,8})(ms|s|m|h|d)$/.exec(text)
  if (match === null) return undefined
  return Number(match[1]) * UNITS[match[2] as keyof typeof UNITS]
}

/** Writes a duration in the largest unit that divides it. */
export function formatDuration(duration: Milliseconds): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    if (duration >= UNITS[unit] && duration % UNITS[unit] === 0) return `${duration / UNITS[unit]}${unit}`
  }
  return duration === 0 ? '0' : `${duration}ms`
}
