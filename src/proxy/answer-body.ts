/**
 * The body of an upstream's answer, as a source that can be paused.
 *
 * Rules of this file: where the framing does not say that the body is whole, it is not, whatever ended it (acceptance.md 48); what the
 * sink cannot take stays in the socket (threat-model.md G5).
 */
import { CloakroomError } from '../base/errors.ts'
import { BodyReader } from '../http1/body-reader.ts'
import type { Framing } from '../http1/framing.ts'
import { refusalError } from '../http1/refusal.ts'
import type { BodyLength, BodySink, BodySource } from '../model/message.ts'

/** `ended`: an orderly end. `broken`: a reset, or a close without an end. */
export type InputEnd = 'ended' | 'broken'

/** What a body needs of the exchange that it comes in. */
export interface BodyExchange {
  /** formatTarget form, for errors. */
  readonly target: string
  /** Stops and starts reading from the upstream. */
  setFlowing(isFlowing: boolean): void
  /** Something moved; the next thing to wait for is the upstream, or the one who reads. */
  onProgress(waitsFor: 'upstream' | 'reader'): void
  /** The body is whole. */
  onWhole(): void
  /** The body failed, or nobody wants it any more. */
  onFailure(cause: unknown): void
}

const EMPTY: Buffer = Buffer.alloc(0)

export class AnswerBody implements BodySource {
  readonly length: BodyLength
  readonly #exchange: BodyExchange
  readonly #reader: BodyReader
  #pending: Buffer
  #sink: BodySink | undefined
  #isBlocked = false
  #inputEnd: InputEnd | undefined
  #over: { readonly failure: unknown } | undefined

  /** @param rest - what came with the head. */
  constructor(framing: Framing, rest: Buffer, exchange: BodyExchange) {
    this.length = framing.kind === 'length' ? framing.length : undefined
    this.#exchange = exchange
    this.#reader = new BodyReader(framing, 'response')
    this.#pending = rest
  }

  /** True when the framing says that all has come. */
  get isWhole(): boolean {
    return this.#reader.isDone
  }

  /** True when bytes came that are not the body's, once it is whole. */
  get hasLeftOver(): boolean {
    return this.#pending.length > 0
  }

  start(sink: BodySink): void {
    if (this.#over !== undefined) return sink.fail(this.#over.failure) // failed before anybody wanted it
    this.#sink = sink
    this.#advance()
  }

  resume(): void {
    this.#isBlocked = false
    this.#advance()
  }

  cancel(cause: unknown): void {
    this.#exchange.onFailure(cause ?? new CloakroomError('REQUEST_ABORTED', {}))
  }

  /** Bytes came. */
  push(chunk: Buffer): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    if (this.#isWanted()) this.#advance()
    else this.#exchange.setFlowing(false)
  }

  /** No more bytes will come. */
  inputOver(how: InputEnd): void {
    this.#inputEnd ??= how
    if (this.#isWanted()) this.#endOfInput() // else told when what came before is taken
  }

  /** Called by the exchange when it is over: tells the sink. */
  settle(failure?: { readonly cause: unknown }): void {
    if (this.#over !== undefined) return
    this.#over = { failure: failure?.cause }
    if (failure === undefined) this.#sink?.end(this.#reader.trailers)
    else this.#sink?.fail(failure.cause)
  }

  #isWanted(): boolean {
    return this.#sink !== undefined && !this.#isBlocked
  }

  #advance(): void {
    const sink = this.#sink
    if (this.#over !== undefined || sink === undefined) return
    const bytes = this.#pending
    this.#pending = EMPTY
    const progress = this.#reader.read(bytes, slice => {
      if (this.#over === undefined && !sink.write(slice)) this.#isBlocked = true
    })
    if (this.#over !== undefined) return
    if (progress.kind === 'refused')
      return this.#exchange.onFailure(refusalError(progress, this.#exchange.target))
    if (progress.kind === 'done') {
      this.#pending = bytes.subarray(progress.consumed)
      return this.#exchange.onWhole()
    }
    if (this.#inputEnd !== undefined && !this.#isBlocked) return this.#endOfInput()
    this.#exchange.onProgress(this.#isBlocked ? 'reader' : 'upstream')
    this.#exchange.setFlowing(!this.#isBlocked)
  }

  // SECURITY: only an orderly end ends a body that the close ends. Over TLS, Node shows a FIN without close_notify as one: whoever
  // can forge a FIN can cut such a body, and no framed one.
  #endOfInput(): void {
    if (this.#inputEnd === 'ended' && this.#reader.finish() === 'done') return this.#exchange.onWhole()
    this.#exchange.onFailure(new CloakroomError('UPSTREAM_TRUNCATED', { target: this.#exchange.target }))
  }
}
