/**
 * Notes of what has already happened, written as soon as the audit trail can be written.
 *
 * Rules of this file: what a note tells of never waits for it (rulings.md 20); nobody is told of a failure but the log, because
 * nothing can be undone; notes keep their order, and one may be written twice when an answer came too late. There is a bound:
 * past it the oldest but one is left out, and the next that is written says how many were.
 */
import { type Clock, type Milliseconds, seconds, type Timer } from '../base/clock.ts'
import { isError } from '../base/errors.ts'
import { describeCause, type Log } from '../base/log.ts'
import type { AuditFields } from '../model/exchange.ts'

export type Note = (event: string, fields: AuditFields) => Promise<void>

export type PendingNotesOptions = {
  readonly note: Note
  readonly clock: Clock
  readonly log: Log
}

const RETRY_EVERY: Milliseconds = seconds(1)
const MOST_PENDING = 100

type Pending = { readonly event: string; readonly fields: AuditFields }

export class PendingNotes {
  readonly #options: PendingNotesOptions
  readonly #pending: Pending[] = []
  #leftOut = 0
  #writing: Promise<void> | undefined
  #retry: Timer | undefined
  #isFailing = false
  #isClosed = false

  constructor(options: PendingNotesOptions) {
    this.#options = options
  }

  /** Resolves when it has been written, or cannot be for now; never rejects. */
  add(event: string, fields: AuditFields): Promise<void> {
    this.#pending.push({ event, fields })
    if (this.#pending.length > MOST_PENDING) {
      this.#pending.splice(1, 1) // not the first: it may be on its way
      this.#leftOut++
    }
    return this.#write()
  }

  /** Tries once more, and gives up what cannot be written. */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#pending.length > 0) await this.#write()
    this.#retry?.cancel()
    if (this.#pending.length === 0) return
    const events = this.#pending.map(({ event }) => event)
    this.#options.log.error('events were not recorded', { events: events.join(' '), leftOut: this.#leftOut })
  }

  #write(): Promise<void> {
    this.#writing ??= this.#writeAll()
    return this.#writing
  }

  // Called with a note in the list only: so it waits at least once, and what is added later finds it gone or still at work.
  async #writeAll(): Promise<void> {
    this.#retry?.cancel()
    try {
      for (let next = this.#pending[0]; next !== undefined; next = this.#pending[0]) {
        if (!(await this.#isSettled(next))) {
          if (!this.#isClosed) this.#retry = this.#options.clock.after(RETRY_EVERY, () => void this.#write())
          return
        }
        this.#pending.shift()
      }
    } finally {
      this.#writing = undefined
    }
  }

  async #isSettled({ event, fields }: Pending): Promise<boolean> {
    const { note, log } = this.#options
    const leftOut = this.#leftOut
    try {
      await note(event, leftOut === 0 ? fields : { ...fields, left_out: leftOut })
      this.#leftOut -= leftOut
      this.#isFailing = false
      return true
    } catch (cause) {
      const isWorthRetrying = isError(cause, 'AUDIT_UNAVAILABLE')
      if (!this.#isFailing || !isWorthRetrying)
        log.error('an event is in force and not recorded yet', {
          event,
          retried: isWorthRetrying,
          cause: describeCause(cause),
        })
      this.#isFailing = isWorthRetrying
      return !isWorthRetrying
    }
  }
}
