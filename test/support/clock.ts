/**
 * A clock that stands still until a test moves it.
 */
import type { Clock, Timer } from '../../src/base/clock.ts'

export type ManualClock = Clock & {
  /** Moves both clocks forward and runs the timers that are due, in order. */
  advance(millis: number): void
  /** Moves the wall clock alone, also backward: what NTP or an operator does. */
  setWall(millis: number): void
  pendingTimers(): number
}

export function manualClock(start = Date.UTC(2026, 10, 23)): ManualClock {
  let wall = start
  let mono = 1000
  let timers: { at: number; run: () => void }[] = []
  const after = (delay: number, run: () => void): Timer => {
    const timer = { at: mono + delay, run }
    timers.push(timer)
    return {
      cancel: () => {
        timers = timers.filter(other => other !== timer)
      },
    }
  }
  return {
    now: () => wall,
    monotonic: () => mono,
    after,
    sleep: (delay, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason)
        const timer = after(delay, resolve)
        signal?.addEventListener('abort', () => {
          timer.cancel()
          reject(signal.reason)
        })
      }),
    advance(millis) {
      const until = mono + millis
      for (;;) {
        const due = timers.filter(timer => timer.at <= until).sort((a, b) => a.at - b.at)[0]
        if (due === undefined) break
        timers = timers.filter(timer => timer !== due)
        wall += due.at - mono
        mono = due.at
        due.run()
      }
      wall += until - mono
      mono = until
    },
    setWall: millis => {
      wall = millis
    },
    pendingTimers: () => timers.length,
  }
}
