/**
 * One deadline that is moved often and expires seldom.
 *
 * Rule of this file: touching costs a subtraction, not a timer. A phase names itself, so that its expiry has an error of its own.
 */
import type { Clock, Milliseconds, Timer } from '../base/clock.ts'

export class Watchdog {
  readonly #clock: Clock
  #deadline = 0
  #delay: Milliseconds = 0
  #expire: (() => void) | undefined
  #timer: Timer | undefined
  #timerEnds = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Starts a phase: `expire` is called once when `delay` passes without a touch. Replaces the phase before. */
  arm(delay: Milliseconds, expire: () => void): void {
    this.#delay = delay
    this.#expire = expire
    this.#deadline = this.#clock.monotonic() + delay
    if (this.#timer !== undefined && this.#timerEnds <= this.#deadline) return
    this.#schedule(delay)
  }

  /** Gives the phase its whole delay again. */
  touch(): void {
    this.#deadline = this.#clock.monotonic() + this.#delay
  }

  /** Ends the phase; nothing expires until the next `arm`. The timer is kept, as the next phase mostly comes soon. */
  disarm(): void {
    this.#expire = undefined
  }

  /** Ends the phase and its timer, for good. */
  close(): void {
    this.#expire = undefined
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #schedule(delay: Milliseconds): void {
    this.#timer?.cancel()
    this.#timerEnds = this.#clock.monotonic() + delay
    this.#timer = this.#clock.after(delay, () => this.#fire())
  }

  #fire(): void {
    this.#timer = undefined
    const expire = this.#expire
    if (expire === undefined) return
    const left = this.#deadline - this.#clock.monotonic()
    if (left > 0) return this.#schedule(left)
    this.#expire = undefined
    expire()
  }
}
