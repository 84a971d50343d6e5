/**
 * The audit trail: an intent is written down before a credential leaves, and an outcome after (SECURITY I3, I8).
 *
 * Rules of this file. It fails closed and within a bound: what cannot be written down within the limit is refused, and while the log
 * hangs new exchanges are refused at once (threat-model.md K1). The event loop never waits: one write is under way, and the records that
 * arrive meanwhile share the next (rulings.md 23). A record that was given a place in the chain is written, however long that takes;
 * one that was refused before is taken out. It recovers by itself.
 */
import type { KeyObject } from 'node:crypto'
import { invariant } from '../base/assert.ts'
import { type Clock, type Milliseconds, seconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Part } from '../base/lifecycle.ts'
import { describeCause, type Log } from '../base/log.ts'
import type { AuditFields, AuditTrail, ExchangeRecord } from '../model/exchange.ts'
import { BatchMaker } from './batches.ts'
import { encodeIntents, encodeNote, encodeOutcome, encodeOwn } from './encode.ts'
import { blamed, Lane } from './lane.ts'
import { closeEarlierRun, openSinks } from './opening.ts'
import { type Entry, MOST_RECORDS, RecordQueue } from './queue.ts'
import { type AuditObserver, type AuditSink, NO_OBSERVER, type SinkChange, type SinkKind } from './sink.ts'

export type TrailOptions = {
  /** At least one is required. */
  readonly sinks: readonly AuditSink[]
  /** Names the writer; the chain in a file is one writer's. */
  readonly instance: string
  readonly clock: Clock
  readonly log: Log
  /** Ed25519, private: signs checkpoints. */
  readonly signingKey: KeyObject
  readonly observer?: AuditObserver
  /** How long an exchange may wait for its intent; default 2 s. */
  readonly waitLimit?: Milliseconds
  /** Members of the `start` record. */
  readonly startFields?: AuditFields
}

export type AuditHealth = { readonly ok: boolean; readonly detail?: string }
export type SinkStats = { readonly sink: SinkKind; readonly queued: number; readonly limit: number }

export type Trail = AuditTrail &
  Part & {
    /** Whether the next intent would be taken: for /readyz. */
    health(): AuditHealth
    /** Records that wait, for metrics at each scrape. */
    stats(): readonly SinkStats[]
  }

export function openTrail(options: TrailOptions): Trail {
  invariant(
    options.sinks.some(sink => sink.required),
    'an audit trail has a required sink',
  )
  invariant(options.signingKey.asymmetricKeyType === 'ed25519', 'the audit signing key is an Ed25519 key')
  return new ChainedTrail(options)
}

class ChainedTrail implements Trail {
  readonly name = 'audit'
  readonly #options: TrailOptions
  readonly #clock: Clock
  readonly #observer: AuditObserver
  readonly #queue: RecordQueue
  readonly #lanes: readonly Lane[]
  readonly #ending = new AbortController()
  readonly #waitLimit: Milliseconds
  readonly #batches: BatchMaker
  #state: 'closed' | 'open' | 'stopping' = 'closed'
  /** True from the first timeout until a batch is through. */
  #isStalled = false
  #isFlushing = false
  #flushed: Promise<void> = Promise.resolve()
  /** Refusals that found no room; told in the log when there is some again. */
  #untold = 0

  constructor(options: TrailOptions) {
    this.#options = options
    this.#clock = options.clock
    this.#observer = options.observer ?? NO_OBSERVER
    this.#waitLimit = options.waitLimit ?? seconds(2)
    const { clock } = options
    this.#queue = new RecordQueue({ clock, waitLimit: this.#waitLimit, onTimeout: () => this.#stall() })
    this.#batches = new BatchMaker({
      clock,
      queue: this.#queue,
      instance: options.instance,
      signingKey: options.signingKey,
      onCheckpointDue: () => this.#flush(),
    })
    const context = {
      clock,
      log: options.log,
      observer: this.#observer,
      signal: this.#ending.signal,
      onChange: (sink: AuditSink, change: SinkChange) => this.#tellChange(sink, change),
      onHole: (sink: AuditSink, records: number) =>
        this.#tell('audit.gap', { cause: 'sink_behind', sink: sink.kind, records }),
    }
    this.#lanes = options.sinks.map(sink => new Lane(sink, context))
  }

  async start(): Promise<void> {
    const tail = await openSinks(this.#options.sinks, this.#options.log)
    this.#state = 'open'
    const first = this.#entry(encodeOwn('start', this.#options.startFields ?? {}))
    if (tail === undefined) return this.#write([first])
    this.#batches.continueAfter(tail)
    for (const { request, seq } of tail.unfinished) this.#queue.reopen(request, seq)
    await this.#write([first, ...closeEarlierRun(tail, this.#clock.now())])
  }

  async stop(): Promise<void> {
    if (this.#state !== 'open') return
    this.#state = 'stopping'
    this.#queue.push(this.#entry(encodeOwn('stop', {})))
    this.#batches.demandCheckpoint()
    this.#flush()
    const limit = this.#clock.after(this.#waitLimit, () => this.#ending.abort(unavailable()))
    const ended = new Promise<void>(resolve => this.#ending.signal.addEventListener('abort', () => resolve()))
    try {
      await Promise.race([this.#flushed.then(() => this.#allIdle()).then(() => this.#closeSinks()), ended])
    } finally {
      limit.cancel()
      this.#batches.close()
      this.#state = 'closed'
      this.#queue.close()
    }
  }

  intend(record: Readonly<ExchangeRecord>): Promise<void> {
    if (this.#state !== 'open' || this.#isStalled || this.#queue.isFull) return this.#refuse()
    this.#queue.reserve(record.request)
    if (record.swaps.length === 0) return Promise.resolve()
    const time = this.#clock.now()
    return this.#write(encodeIntents(record).map(members => ({ members, time, opens: record.request })))
  }

  async conclude(record: Readonly<ExchangeRecord>): Promise<void> {
    if (this.#state === 'closed') return
    const isReserved = this.#queue.isReserved(record.request)
    if (!isReserved && this.#queue.isFull) {
      this.#untold++
      this.#observer.onDropped(blamed(this.#lanes), 1)
      return
    }
    const members = encodeOutcome(record)
    const time = this.#clock.now()
    this.#queue.push(isReserved ? { members, time, closes: record.request } : { members, time })
    this.#flush()
  }

  note(event: string, fields: AuditFields): Promise<void> {
    const entry = this.#entry(encodeNote(event, fields))
    if (this.#state !== 'open' || this.#isStalled || this.#queue.isFull) return Promise.reject(unavailable())
    return this.#write([entry])
  }

  health(): AuditHealth {
    if (this.#state !== 'open') return { ok: false, detail: 'not open' }
    if (this.#isStalled) return { ok: false, detail: 'the log cannot be written' }
    return this.#queue.isFull ? { ok: false, detail: 'too many records wait' } : { ok: true }
  }

  stats(): readonly SinkStats[] {
    return this.#lanes.map(lane => ({
      sink: lane.sink.kind,
      queued: lane.waiting + (lane.sink.required ? this.#queue.length : 0),
      limit: MOST_RECORDS,
    }))
  }

  #refuse(): Promise<never> {
    this.#observer.onRefused(blamed(this.#lanes))
    return Promise.reject(unavailable())
  }

  #write(entries: readonly Entry[]): Promise<void> {
    const done = this.#queue.pushAndWait(entries, () => unavailable())
    this.#flush()
    return done
  }

  #entry(members: string): Entry {
    return { members, time: this.#clock.now() }
  }

  // For the trail's own news: in front, bounded by how often they can happen.
  #tell(event: string, fields: AuditFields): void {
    if (this.#state === 'closed') return
    this.#queue.unshift(this.#entry(encodeOwn(event, fields)))
    this.#flush()
  }

  #tellChange(sink: AuditSink, change: SinkChange): void {
    if (change.kind === 'rotated') this.#tell('rotated', { sink: sink.kind, file: change.file })
    else this.#tell('audit.gap', { cause: 'sink_replaced', sink: sink.kind, last_seq: this.#batches.lastSeq })
  }

  #stall(): void {
    if (!this.#isStalled) this.#options.log.error('audit records wait too long; requests are refused')
    this.#isStalled = true
    this.#queue.refuseAll()
  }

  // Gathers what this turn of the event loop brings, then writes until nothing is left.
  #flush(): void {
    if (this.#isFlushing) return
    this.#isFlushing = true
    this.#flushed = new Promise(resolve => setImmediate(resolve)).then(() => this.#flushAll())
  }

  async #flushAll(): Promise<void> {
    try {
      while (this.#queue.length > 0 || this.#batches.isCheckpointDue) {
        if (this.#untold > 0) this.#tell('audit.gap', { cause: 'queue_full', records: this.#untold })
        this.#untold = 0
        const { batch, entries } = this.#batches.next(this.#state === 'open')
        await Promise.all(this.#lanes.map(lane => lane.deliver(batch)))
        this.#isStalled = false
        this.#queue.settle(entries)
      }
    } catch (cause) {
      // Only the end of the trail ends the retries: what is left is lost with the process, and those who wait are refused.
      this.#options.log.error('audit records were given up at the end', { cause: describeCause(cause) })
      this.#queue.refuseAll()
    } finally {
      this.#isFlushing = false
    }
  }

  async #allIdle(): Promise<void> {
    await Promise.all(this.#lanes.map(lane => lane.idle()))
  }

  async #closeSinks(): Promise<void> {
    for (const { sink } of this.#lanes) {
      await sink.close().catch(cause => {
        const fields = { sink: sink.kind, cause: describeCause(cause) }
        this.#options.log.warn('an audit sink did not close well', fields)
      })
    }
  }
}

function unavailable(): CloakroomError<'AUDIT_UNAVAILABLE'> {
  return new CloakroomError('AUDIT_UNAVAILABLE', {})
}
