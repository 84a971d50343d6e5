/**
 * The only source of time: wall clock, monotonic clock and timers.
 *
 * Rule of this file: everything that waits or compares times takes a Clock, so that tests can move it.
 * Durations are measured on the monotonic clock; a wall clock that jumps never ends a wait early.
 */

/** A whole or fractional number of milliseconds. */
export type Milliseconds = number

export type Timer = { cancel(): void }

export interface Clock {
  /** Milliseconds since 1970 by the wall clock. */
  now(): number
  /** Milliseconds since an arbitrary start; never goes backward. */
  monotonic(): Milliseconds
  /** Calls `run` once after `delay`; the timer does not keep the process alive. */
  after(delay: Milliseconds, run: () => void): Timer
  /** Resolves after `delay`, or rejects with the signal's reason. */
  sleep(delay: Milliseconds, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delay, run) {
    const timer = setTimeout(run, delay)
    timer.unref()
    return { cancel: () => clearTimeout(timer) }
  },
  sleep(delay, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const onAbort = () => {
        clearTimeout(timer)
        reject(signal?.reason)
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }, delay)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  },
}

export const seconds = (count: number): Milliseconds => count * 1000
export const minutes = (count: number): Milliseconds => count * 60_000
export const hours = (count: number): Milliseconds => count * 3_600_000
export const days = (count: number): Milliseconds => count * 86_400_000

/** The RFC 3339 form with milliseconds that logs and audit records carry. */
export function formatTime(millis: number): string {
  return new Date(millis).toISOString()
}
