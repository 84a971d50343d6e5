/**
 * Brings batches of lines into one sink, in order, again and again until they are in.
 *
 * Rules of this file: a required sink is waited for and never skipped; an optional one gets its batches behind the others' back, from a
 * bounded backlog, and what does not fit is dropped, counted and told (so that the hole is in the log itself).
 */
import type { Clock } from '../base/clock.ts'
import { describeCause, type Log } from '../base/log.ts'
import type { AuditObserver, AuditSink, SinkChange, SinkKind } from './sink.ts'

/** Lines that go into one write. */
export type Batch = {
  readonly bytes: Buffer
  readonly records: number
  /** The last of them signs the rest. */
  readonly hasCheckpoint: boolean
  /** More will follow: a checkpoint is then the moment to rotate. */
  readonly maySettle: boolean
}

export type LaneContext = {
  readonly clock: Clock
  readonly log: Log
  readonly observer: AuditObserver
  /** Ends the retries; set off when the trail has waited long enough at its stop. */
  readonly signal: AbortSignal
  readonly onChange: (sink: AuditSink, change: SinkChange) => void
  readonly onHole: (sink: AuditSink, records: number) => void
}

const RETRY_AFTER = 250
const MOST_BACKLOG_BYTES = 4 * 1024 * 1024

export class Lane {
  readonly sink: AuditSink
  readonly #context: LaneContext
  #last: Promise<void> = Promise.resolve()
  #backlogBytes = 0
  #backlogRecords = 0
  #dropped = 0
  #isFailing = false

  constructor(sink: AuditSink, context: LaneContext) {
    this.sink = sink
    this.#context = context
  }

  /** True while the last try has failed. */
  get isFailing(): boolean {
    return this.#isFailing
  }

  /** Records that wait for this sink. */
  get waiting(): number {
    return this.#backlogRecords
  }

  /** Takes a batch; for a required sink resolves when it is durable there, for an optional one at once. */
  deliver(batch: Batch): Promise<void> {
    if (!this.sink.required && this.#backlogBytes + batch.bytes.length > MOST_BACKLOG_BYTES) {
      this.#dropped += batch.records
      this.#context.observer.onDropped(this.sink.kind, batch.records)
      return Promise.resolve()
    }
    this.#backlogBytes += batch.bytes.length
    this.#backlogRecords += batch.records
    const done = this.#last.then(() => this.#write(batch))
    this.#last = done.catch(() => undefined) // reported through `done`, or counted as dropped
    return this.sink.required ? done : Promise.resolve()
  }

  /** Resolves when nothing is under way. */
  idle(): Promise<void> {
    return this.#last
  }

  async #write(batch: Batch): Promise<void> {
    const { observer, signal, clock } = this.#context
    try {
      while (!(await this.#tryWrite(batch))) await clock.sleep(RETRY_AFTER, signal)
    } catch (cause) {
      observer.onDropped(this.sink.kind, batch.records)
      throw cause
    } finally {
      this.#backlogBytes -= batch.bytes.length
      this.#backlogRecords -= batch.records
    }
    if (batch.hasCheckpoint && batch.maySettle) await this.#settle()
    this.#tellHole()
  }

  async #tryWrite(batch: Batch): Promise<boolean> {
    const { observer, clock, log, signal } = this.#context
    signal.throwIfAborted()
    const began = clock.monotonic()
    try {
      await this.sink.write(batch.bytes)
    } catch (cause) {
      if (!this.#isFailing)
        log.error('the audit log cannot be written', { sink: this.sink.kind, cause: describeCause(cause) })
      this.#isFailing = true
      observer.onRetry(this.sink.kind, batch.records)
      return false
    }
    if (this.#isFailing) log.info('the audit log can be written again', { sink: this.sink.kind })
    this.#isFailing = false
    observer.onWritten(this.sink.kind, batch.records, clock.monotonic() - began, clock.now())
    if (batch.hasCheckpoint) observer.onCheckpoint(this.sink.kind, clock.now())
    return true
  }

  async #settle(): Promise<void> {
    try {
      const change = await this.sink.settle?.()
      if (change !== undefined) this.#context.onChange(this.sink, change)
    } catch (cause) {
      // The next write opens the file anew, or fails and is repeated; nothing is lost here.
      this.#context.log.warn('the audit log cannot be rotated', {
        sink: this.sink.kind,
        cause: describeCause(cause),
      })
    }
  }

  #tellHole(): void {
    if (this.#dropped === 0) return
    this.#context.onHole(this.sink, this.#dropped)
    this.#dropped = 0
  }
}

/** The sink that the trail waits for at this moment: the one that fails, or the one that is busy. */
export function blamed(lanes: readonly Lane[]): SinkKind {
  const required = lanes.filter(lane => lane.sink.required)
  const lane = required.find(({ isFailing }) => isFailing) ?? required.find(({ waiting }) => waiting > 0)
  return (lane ?? required[0])?.sink.kind ?? 'file'
}
