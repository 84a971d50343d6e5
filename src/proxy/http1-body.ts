/**
 * The body of one request on a caller's connection, as a source that can be paused.
 *
 * Rules of this file: nothing is taken from the connection before somebody wants it; what the sink cannot take stays in the socket,
 * so that a slow upstream slows the caller and not our memory (threat-model.md G5); a body that ends early is a failure, never an end.
 */
import type { Clock, Milliseconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Bytes } from '../base/size.ts'
import { BodyReader } from '../http1/body-reader.ts'
import type { Framing } from '../http1/framing.ts'
import { refusalError } from '../http1/refusal.ts'
import type { BodyLength, BodySink, BodySource } from '../model/message.ts'
import { Watchdog } from './watchdog.ts'

/** What a body needs of the connection that it comes on. */
export interface BodyConnection {
  readonly clock: Clock
  /** Bytes a second that an upload must keep up; 0: none. */
  readonly minUploadRate: Bytes
  /** True when the caller will send nothing more. */
  readonly hasEnded: boolean
  /** Takes all bytes that have come. */
  take(): Buffer
  /** Puts back what came after the body. */
  putBack(rest: Buffer): void
  /** Stops and starts reading. */
  setFlowing(isFlowing: boolean): void
  /** The body is wanted, and nothing of it has come yet. */
  onWanted(): void
}

const UPLOAD_WINDOW: Milliseconds = 10_000 // threat-model.md G3

export class RequestBody implements BodySource {
  readonly length: BodyLength
  readonly #connection: BodyConnection
  readonly #reader: BodyReader
  readonly #watchdog: Watchdog
  #sink: BodySink | undefined
  #isBlocked = false
  #uploaded = 0

  constructor(framing: Framing, connection: BodyConnection) {
    this.length = framing.kind === 'length' ? framing.length : framing.kind === 'none' ? 0 : undefined
    this.#connection = connection
    this.#reader = new BodyReader(framing, 'request')
    this.#watchdog = new Watchdog(connection.clock)
  }

  /** True when the whole body was taken off the connection. */
  get isRead(): boolean {
    return this.#reader.isDone
  }

  start(sink: BodySink): void {
    this.#sink = sink
    if (this.#reader.isDone) return this.#end()
    this.#connection.onWanted()
    this.#watch()
    this.advance()
  }

  resume(): void {
    if (this.#sink === undefined) return
    if (this.#isBlocked) this.#watch() // the time that the upstream took is not the caller's
    this.#isBlocked = false
    this.advance()
  }

  /** Nobody wants the rest any more: if it is all here the connection can go on, else it ends after the answer. */
  cancel(): void {
    this.#settle()
    if (this.#reader.isDone) return
    const bytes = this.#connection.take()
    const progress = this.#reader.read(bytes, () => undefined)
    if (progress.kind === 'done') this.#connection.putBack(bytes.subarray(progress.consumed))
  }

  /** Hands on what has come; called when bytes or the end have come. */
  advance(): void {
    const sink = this.#sink
    if (sink === undefined || this.#isBlocked) return
    const bytes = this.#connection.take()
    const progress = this.#reader.read(bytes, slice => {
      this.#uploaded += slice.length
      if (!sink.write(slice)) this.#isBlocked = true
    })
    if (progress.kind === 'done') this.#connection.putBack(bytes.subarray(progress.consumed))
    if (this.#sink !== sink) return // cancelled by what it was given
    if (progress.kind === 'refused') return this.fail(refusalError(progress, ''))
    if (progress.kind === 'done') return this.#end()
    // RFC 9112 8: an upload that ends early is no message.
    if (this.#connection.hasEnded) return this.fail(new CloakroomError('REQUEST_ABORTED', {}))
    this.#connection.setFlowing(!this.#isBlocked)
  }

  fail(cause: unknown): void {
    this.#settle()?.fail(cause)
  }

  #end(): void {
    this.#settle()?.end(this.#reader.trailers)
  }

  #settle(): BodySink | undefined {
    const sink = this.#sink
    this.#sink = undefined
    this.#watchdog.close()
    return sink
  }

  // threat-model.md G3: averaged over a window, so that a pause is no fault.
  #watch(): void {
    const { minUploadRate } = this.#connection
    if (minUploadRate === 0) return
    const before = this.#uploaded
    this.#watchdog.arm(UPLOAD_WINDOW, () => {
      const least = (minUploadRate * UPLOAD_WINDOW) / 1000
      if (this.#isBlocked || this.#uploaded - before >= least) return this.#watch()
      this.fail(new CloakroomError('REQUEST_TIMEOUT', { phase: 'body' }))
    })
  }
}
