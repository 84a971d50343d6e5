/**
 * Finds out whether a caller that has sent its last byte is still there to read.
 *
 * The end of a caller's bytes is a half-close or a close, and TCP does not say which until something is sent. RFC 9110 15.2 makes
 * every client of HTTP/1.1 take a 100 that it did not expect: to one that is gone, the first brings a reset back and the second
 * finds it. So half-closed callers get their answer (acceptance.md 49), and what nobody will read is ended at the upstream (acceptance.md 47).
 */
import type { Clock, Milliseconds, Timer } from '../base/clock.ts'

const FIRST: Milliseconds = 250 // most answers come before it
const MOST = 4 // some clients count interim answers (Go: 5)

export class CallerProbe {
  readonly #clock: Clock
  readonly #send: () => void
  #timer: Timer | undefined
  #count = 0

  /** @param send - sends one interim answer. */
  constructor(clock: Clock, send: () => void) {
    this.#clock = clock
    this.#send = send
  }

  /** Probes after a while, and again after twice that time, until stopped. Starts once. */
  start(): void {
    if (this.#count === 0) this.#next()
  }

  stop(): void {
    this.#timer?.cancel()
    this.#count = MOST
  }

  #next(): void {
    if (this.#count >= MOST) return
    this.#timer = this.#clock.after(FIRST * 2 ** this.#count++, () => {
      this.#send()
      this.#next()
    })
  }
}
