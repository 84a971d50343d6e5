/**
 * Records that wait to be written, and the callers that wait for them.
 *
 * Rules of this file. Bounded by number and bytes, with a place kept for the outcome of every exchange that was let through, so that
 * no intent ever stands without its outcome for want of room (threat-model.md K1, K5). Who waits longer than the limit is refused, and
 * the record that nobody acted on is taken out unless it is being written already.
 */
import type { Clock, Milliseconds, Timer } from '../base/clock.ts'

export const MOST_RECORDS = 10_000
export const MOST_BYTES = 16 * 1024 * 1024

export type Waiter = {
  readonly deadline: Milliseconds
  readonly resolve: () => void
  readonly reject: () => void
}

/** Members of a record still without a place in the chain. */
export type Entry = {
  readonly members: string
  /** Wall clock, milliseconds since 1970. */
  readonly time: number
  /** The exchange whose intent this is, or whose end. */
  readonly opens?: string
  readonly closes?: string
  readonly waiter?: Waiter
  /** The last of those that the waiter waits for. */
  readonly isLast?: boolean
}

export class RecordQueue {
  readonly #clock: Clock
  readonly #waitLimit: Milliseconds
  readonly #onTimeout: () => void
  #entries: Entry[] = []
  #bytes = 0
  /** Exchanges let through and not ended: the seq of their first intent, 0 while none is written. */
  readonly #open = new Map<string, number>()
  /** Oldest first, as deadlines are. */
  readonly #waiters = new Set<Waiter>()
  #timer: Timer | undefined

  constructor(options: { clock: Clock; waitLimit: Milliseconds; onTimeout: () => void }) {
    this.#clock = options.clock
    this.#waitLimit = options.waitLimit
    this.#onTimeout = options.onTimeout
  }

  get length(): number {
    return this.#entries.length
  }

  /** True when one more exchange, with the outcome that it will need, has no room. */
  get isFull(): boolean {
    return this.#entries.length + this.#open.size >= MOST_RECORDS || this.#bytes >= MOST_BYTES
  }

  /** Keeps a place for the outcome of this exchange. */
  reserve(request: string): void {
    if (!this.#open.has(request)) this.#open.set(request, 0)
  }

  /** Takes over an intent that an earlier run left open, so that checkpoints point to it until its end is written. */
  reopen(request: string, seq: number): void {
    this.#open.set(request, seq)
  }

  /** True when a place is kept, so that the outcome is taken whatever else waits. */
  isReserved(request: string): boolean {
    return this.#open.has(request)
  }

  push(entry: Entry): void {
    this.#entries.push(entry)
    this.#bytes += entry.members.length
  }

  /** Puts entries in front: what must be the next in the chain. */
  unshift(...entries: readonly Entry[]): void {
    this.#entries.unshift(...entries)
    for (const entry of entries) this.#bytes += entry.members.length
  }

  /** Adds records of which the last one is waited for; resolves when `settle` was called for it, rejects at the deadline. */
  pushAndWait(entries: readonly Entry[], refusal: () => Error): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        deadline: this.#clock.monotonic() + this.#waitLimit,
        resolve: () => resolve(),
        reject: () => reject(refusal()),
      }
      this.#waiters.add(waiter)
      for (const [i, entry] of entries.entries())
        this.push({ ...entry, waiter, isLast: i === entries.length - 1 })
      if (this.#timer === undefined) this.#arm(this.#waitLimit)
    })
  }

  /** Takes up to `count` entries out, oldest first. */
  take(count: number): readonly Entry[] {
    const taken = this.#entries.splice(0, count)
    for (const entry of taken) this.#bytes -= entry.members.length
    return taken
  }

  /** Notes the place in the chain that an entry got. */
  placed(entry: Entry, seq: number): void {
    if (entry.opens !== undefined && this.#open.get(entry.opens) === 0) this.#open.set(entry.opens, seq)
    if (entry.closes !== undefined) this.#open.delete(entry.closes)
  }

  /** The seq of the oldest intent without an outcome, if any. */
  oldestOpen(): number | undefined {
    let oldest: number | undefined
    for (const seq of this.#open.values()) {
      if (seq > 0 && (oldest === undefined || seq < oldest)) oldest = seq
    }
    return oldest
  }

  /** Tells those who wait that these records are durable; a waiter of several is told with the last. */
  settle(entries: readonly Entry[]): void {
    for (const { waiter, isLast } of entries) {
      if (waiter !== undefined && isLast && this.#waiters.delete(waiter)) waiter.resolve()
    }
  }

  /** Refuses everybody who waits; their records that are not being written are taken out. */
  refuseAll(): void {
    for (const waiter of this.#waiters) waiter.reject()
    this.#waiters.clear()
    this.#entries = this.#entries.filter(entry => {
      if (entry.waiter !== undefined) this.#bytes -= entry.members.length
      return entry.waiter === undefined
    })
  }

  /** Refuses everybody and ends. */
  close(): void {
    this.refuseAll()
    this.#timer?.cancel()
  }

  // One timer at most, set anew when it fires early: cheaper than one for each record.
  #arm(delay: Milliseconds): void {
    this.#timer = this.#clock.after(delay, () => {
      this.#timer = undefined
      const [oldest] = this.#waiters
      if (oldest === undefined) return
      const left = oldest.deadline - this.#clock.monotonic()
      if (left > 0) this.#arm(left)
      else this.#onTimeout()
    })
  }
}
