/**
 * The end of a caller's connection: our side first, then what it still sends is read and dropped for a while.
 *
 * Closing on unread bytes makes the kernel send a reset, which can overtake our answer in the caller's buffers (RFC 9112 9.6): a
 * caller whose upload was refused would never see why.
 */
import type { Duplex } from 'node:stream'
import type { Clock, Milliseconds } from '../base/clock.ts'
import { mib } from '../base/size.ts'
import { Watchdog } from './watchdog.ts'

const QUIET: Milliseconds = 2_000 // without a byte of the caller
const TOTAL: Milliseconds = 30_000
const MOST = mib(64)

export type LingerOptions = {
  readonly clock: Clock
  /** Longest wait for a slow reader to take what is still in our memory. */
  readonly flush: Milliseconds
  readonly onFlushed: () => void
  /** Ends the connection for good. */
  readonly reset: () => void
}

export class Linger {
  readonly #options: LingerOptions
  readonly #watchdog: Watchdog
  readonly #since: Milliseconds
  #dropped = 0

  /** Ends our side of the socket. */
  constructor(socket: Duplex, options: LingerOptions) {
    const { clock, flush, onFlushed, reset } = options
    this.#options = options
    this.#since = clock.monotonic()
    this.#watchdog = new Watchdog(clock)
    this.#watchdog.arm(flush, reset)
    socket.end(() => {
      onFlushed()
      if (!socket.destroyed) this.#watchdog.arm(QUIET, reset)
    })
    socket.resume()
  }

  /** The caller sent bytes that nobody wants. */
  drop(bytes: number): void {
    this.#dropped += bytes
    const isLong = this.#options.clock.monotonic() - this.#since > TOTAL
    if (isLong || this.#dropped > MOST) this.#options.reset()
    else this.#watchdog.touch()
  }

  close(): void {
    this.#watchdog.close()
  }
}
