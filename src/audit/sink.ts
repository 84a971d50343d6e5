/**
 * What the trail asks of a place that keeps records.
 */
import type { Milliseconds } from '../base/clock.ts'
import type { ChainTail } from './resume.ts'

/** The closed set that metrics use as a label. */
export const SINK_KINDS = ['file', 'stdout'] as const
export type SinkKind = (typeof SINK_KINDS)[number]

/** What happened to the place itself: it was closed as `file` and a new one begun, or somebody took it away. */
export type SinkChange = { readonly kind: 'rotated'; readonly file: string } | { readonly kind: 'replaced' }

export interface AuditSink {
  readonly kind: SinkKind
  /** A record counts as written only when every required sink has it. */
  readonly required: boolean
  /** Opens the place and tells where the chain in it stands; undefined when it cannot be read back or is empty. */
  open(): Promise<ChainTail | undefined>
  /**
   * Appends whole lines; resolves when they are as durable as configured, and never before.
   *
   * After a rejection the same bytes are given again, until they are in or the sink is closed; however often that happens, and
   * wherever the last try broke off, they stand there once. Called again only after the last call has settled.
   */
  write(lines: Buffer): Promise<void>
  /** Called between writes, after a checkpoint: the moment to rotate, or to see that the place is gone. */
  settle?(): Promise<SinkChange | undefined>
  close(): Promise<void>
}

/** What metrics want to know; called on the write path, so it counts and returns. */
export type AuditObserver = {
  /** Records became durable in a sink; `wall` is milliseconds since 1970. */
  onWritten(sink: SinkKind, records: number, duration: Milliseconds, wall: number): void
  /** A try failed and will be repeated. */
  onRetry(sink: SinkKind, records: number): void
  /** Records were given up: by an optional sink that fell behind, or at the end. */
  onDropped(sink: SinkKind, records: number): void
  /** An exchange was refused because its intent could not be written down. */
  onRefused(sink: SinkKind): void
  onCheckpoint(sink: SinkKind, wall: number): void
}

export const NO_OBSERVER: AuditObserver = {
  onWritten: () => undefined,
  onRetry: () => undefined,
  onDropped: () => undefined,
  onRefused: () => undefined,
  onCheckpoint: () => undefined,
}
