/**
 * Gives waiting records their place in the chain, a batch at a time, and signs checkpoints among them.
 *
 * Rule of this file: a record that has a place is written; there is no way back. A checkpoint follows 1,000 records or one minute after
 * the first unsigned one, and the end (threat-model.md K2).
 */
import type { KeyObject } from 'node:crypto'
import { type Clock, formatTime, minutes, type Timer } from '../base/clock.ts'
import { type ChainHead, EMPTY_CHAIN, type Link, linkCheckpoint, linkRecord } from './chain.ts'
import { quote } from './encode.ts'
import type { Batch } from './lane.ts'
import type { Entry, RecordQueue } from './queue.ts'
import type { ChainTail } from './resume.ts'

export type BatchMakerOptions = {
  readonly clock: Clock
  readonly queue: RecordQueue
  readonly instance: string
  readonly signingKey: KeyObject
  readonly onCheckpointDue: () => void
}

// A batch this large takes about a millisecond to chain; more would be felt by the data path.
const MOST_IN_BATCH = 256
const CHECKPOINT_RECORDS = 1000
const CHECKPOINT_INTERVAL = minutes(1)
const INSTANCE_BYTES = 128

export class BatchMaker {
  readonly #options: BatchMakerOptions
  readonly #instance: string
  #head: ChainHead = EMPTY_CHAIN
  #sinceCheckpoint = 0
  #isCheckpointDue = false
  #timer: Timer | undefined
  /** The last time that was written out: most records of a batch share it. */
  #written = { time: -1, text: '' }

  constructor(options: BatchMakerOptions) {
    this.#options = options
    this.#instance = quote(options.instance, INSTANCE_BYTES)
  }

  get lastSeq(): number {
    return this.#head.seq
  }

  get isCheckpointDue(): boolean {
    return this.#isCheckpointDue
  }

  continueAfter(tail: ChainTail): void {
    this.#head = tail.head
    this.#sinceCheckpoint = tail.sinceCheckpoint
  }

  /** Makes the next batch end in a checkpoint. */
  demandCheckpoint(): void {
    this.#isCheckpointDue = true
  }

  /** Takes the next records out of the queue and links them. @param maySettle - more will follow. */
  next(maySettle: boolean): { readonly batch: Batch; readonly entries: readonly Entry[] } {
    const { queue } = this.#options
    const entries = queue.take(MOST_IN_BATCH)
    let text = ''
    for (const entry of entries) {
      text += this.#append(linkRecord(entry.members, this.#frame(entry.time)))
      queue.placed(entry, this.#head.seq)
    }
    this.#sinceCheckpoint += entries.length
    const hasCheckpoint = this.#isCheckpointDue || this.#sinceCheckpoint >= CHECKPOINT_RECORDS
    if (hasCheckpoint) text += this.#checkpoint()
    else this.#armTimer()
    const bytes = Buffer.from(text, 'latin1') // encode.ts gives ASCII only
    const records = entries.length + (hasCheckpoint ? 1 : 0)
    return { batch: { bytes, records, hasCheckpoint, maySettle }, entries }
  }

  close(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #append(link: Link): string {
    this.#head = link.head
    return `${link.line}\n`
  }

  #frame(time: number): { after: ChainHead; time: string; instance: string } {
    if (time !== this.#written.time) this.#written = { time, text: formatTime(time) }
    return { after: this.#head, time: this.#written.text, instance: this.#instance }
  }

  #checkpoint(): string {
    const { clock, queue, signingKey } = this.#options
    this.#isCheckpointDue = false
    this.#sinceCheckpoint = 0
    this.close()
    const open = queue.oldestOpen() ?? this.#head.seq + 1
    return this.#append(linkCheckpoint(open, this.#frame(clock.now()), signingKey))
  }

  #armTimer(): void {
    this.#timer ??= this.#options.clock.after(CHECKPOINT_INTERVAL, () => {
      this.#isCheckpointDue = true
      this.#timer = undefined
      this.#options.onCheckpointDue()
    })
  }
}
