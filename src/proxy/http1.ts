/**
 * One caller's connection: bytes to Inbound requests and answers back to bytes, through the codec of src/http1.
 *
 * Rules of this file: one request at a time (security.md E7); a connection whose framing is in doubt is closed; nothing is written
 * after a reset, and a body that fails is ended by a reset, so that no answer looks whole when it is not.
 * What a request means is not decided here: that is proxy/exchange.ts.
 */
import type { Duplex } from 'node:stream'
import type { Clock, Milliseconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { type Bytes, kib } from '../base/size.ts'
import { BodyReader } from '../http1/body-reader.ts'
import { requestFraming } from '../http1/framing.ts'
import { type HeadLimits, parseRequestHead, type ReceivedRequestHead } from '../http1/head.ts'
import { type Refusal, refusalError } from '../http1/refusal.ts'
import { type BodySink, type BodySource, headerValues } from '../model/message.ts'
import { Http1Request } from './http1-request.ts'
import type { ConnectionFacts, Inbound } from './inbound.ts'
import { Watchdog } from './watchdog.ts'

export type Http1Limits = {
  readonly head: HeadLimits
  /** From the first byte of a head to its last (security.md G1). */
  readonly headTimeout: Milliseconds
  /** Between two requests. */
  readonly keepAlive: Milliseconds
  /** Bytes a second that an upload must keep up, averaged over uploadWindow; 0: none (rulings.md 6). */
  readonly minUploadRate: Bytes
}

export type Http1Options = {
  readonly clock: Clock
  readonly limits: Http1Limits
  readonly facts: ConnectionFacts
  /** Carries one request; must answer or reset it, and must not throw. */
  readonly serve: (inbound: Inbound, connection: Http1Connection) => Promise<void>
}

const EMPTY = Buffer.alloc(0)
const PENDING_LIMIT = kib(64) // what a caller may send ahead of being read
const UPLOAD_WINDOW: Milliseconds = 10_000 // security.md G3
const LINGER: Milliseconds = 2_000 // for the caller to read our answer before the reset of its unread upload reaches it
const LINGER_LIMIT = kib(512)
const NO_HEAD: ReceivedRequestHead = { method: '', rawTarget: '', minor: 1, headers: [] }

type Phase = 'head' | 'exchange' | 'linger' | 'closed' | 'detached'

export class Http1Connection {
  readonly socket: Duplex
  readonly options: Http1Options
  readonly #watchdog: Watchdog
  #phase: Phase = 'head'
  #pending: Buffer = EMPTY
  #seen = 0 // how many pending bytes were found to be an incomplete head
  #reader: BodyReader | undefined
  #sink: BodySink | undefined
  #isBlocked = false
  #hasEnded = false
  #isDraining = false
  #uploaded = 0
  #lingered = 0
  #request: Http1Request | undefined
  readonly #closed: (() => void)[] = []

  constructor(socket: Duplex, options: Http1Options) {
    this.socket = socket
    this.options = options
    this.#watchdog = new Watchdog(options.clock)
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('close', this.#onClose)
    socket.on('error', this.#onError)
    socket.on('drain', this.#onDrain)
    this.#watchdog.arm(options.limits.headTimeout, this.#onHeadTimeout)
  }

  onClosed(run: () => void): void {
    this.#closed.push(run)
  }

  /** Ends the connection after the exchange under way, or now when there is none. */
  drain(): void {
    this.#isDraining = true
    if (this.#phase === 'head' && this.#pending.length === 0) this.#finish()
  }

  get isDraining(): boolean {
    return this.#isDraining
  }

  /** Gives the socket away, for a tunnel: nothing here touches it any more. */
  detach(): { readonly socket: Duplex; readonly rest: Buffer } {
    const rest = this.#pending
    this.#leave('detached')
    return { socket: this.socket, rest }
  }

  reset(): void {
    this.#leave('closed')
    this.socket.on('error', () => undefined) // a reset socket may still report what it was doing
    this.socket.destroy()
  }

  /** Called by the request when its answer has been given to the socket. */
  responseDone(mayContinue: boolean): void {
    const isRead = this.#reader?.isDone ?? true
    this.#request = undefined
    this.#sink = undefined
    if (mayContinue && isRead && !this.#isDraining && !this.#hasEnded) return this.#nextRequest()
    if (isRead) return this.#finish()
    this.#linger()
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#phase === 'linger') {
      this.#lingered += chunk.length
      if (this.#lingered > LINGER_LIMIT) this.reset()
      return
    }
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    if (this.#phase === 'head') this.#readHead()
    else if (this.#sink !== undefined) this.#readBody()
    if (this.#phase === 'exchange' && this.#pending.length > PENDING_LIMIT) this.socket.pause()
  }

  readonly #onEnd = (): void => {
    this.#hasEnded = true
    if (this.#phase === 'head') return this.#finish()
    if (this.#phase === 'linger') return this.reset()
    // RFC 9112 8: an upload that ends early is no message. A caller that has sent all may half-close and still read.
    if (this.#phase === 'exchange' && this.#sink !== undefined) this.#endOfInput()
  }

  readonly #onClose = (): void => {
    const request = this.#request
    this.#leave('closed')
    request?.gone(new CloakroomError('REQUEST_ABORTED', {}))
  }

  readonly #onError = (): void => {
    this.socket.destroy() // 'close' follows and tells the exchange
  }

  readonly #onDrain = (): void => {
    this.#request?.drained()
  }

  readonly #onHeadTimeout = (): void => {
    if (this.#pending.length === 0) return this.#finish()
    this.#dispatch(NO_HEAD, { kind: 'timeout' })
  }

  #nextRequest(): void {
    this.#phase = 'head'
    this.#reader = undefined
    this.#seen = 0
    this.socket.resume()
    if (this.#pending.length > 0) this.#readHead()
    else this.#watchdog.arm(this.options.limits.keepAlive, () => this.#finish())
  }

  #readHead(): void {
    if (this.#seen === 0) this.#watchdog.arm(this.options.limits.headTimeout, this.#onHeadTimeout)
    const parsed = parseRequestHead(this.#pending, this.options.limits.head, this.#seen)
    if (parsed.kind === 'incomplete') {
      this.#seen = this.#pending.length
      return
    }
    if (parsed.kind === 'refused') return this.#dispatch(NO_HEAD, { kind: 'refused', refusal: parsed })
    this.#pending = this.#pending.subarray(parsed.length)
    const framing = requestFraming(parsed.head)
    if (framing.kind === 'refused') return this.#dispatch(parsed.head, { kind: 'refused', refusal: framing })
    this.#reader = new BodyReader(framing, 'request')
    const length = framing.kind === 'length' ? framing.length : framing.kind === 'none' ? 0 : undefined
    this.#dispatch(parsed.head, { kind: 'body', source: this.#bodySource(length) })
  }

  #dispatch(
    head: ReceivedRequestHead,
    found: { kind: 'body'; source: BodySource } | { kind: 'refused'; refusal: Refusal } | { kind: 'timeout' },
  ): void {
    this.#phase = 'exchange'
    this.#watchdog.disarm()
    const request = new Http1Request(this, head, found)
    this.#request = request
    void this.options.serve(request, this)
  }

  #bodySource(length: number | undefined): BodySource {
    return {
      length,
      start: sink => this.#startBody(sink),
      resume: () => {
        this.#isBlocked = false
        this.#readBody()
      },
      cancel: () => {
        this.#sink = undefined
        this.#discardBody()
      },
    }
  }

  // Nobody wants the rest of this body. If it is all here, the connection goes on; else it ends after the answer.
  #discardBody(): void {
    if (this.#reader === undefined || this.#reader.isDone) return
    const bytes = this.#pending
    const progress = this.#reader.read(bytes, () => undefined)
    this.#pending = progress.kind === 'done' ? bytes.subarray(progress.consumed) : EMPTY
  }

  /** False while bytes of the request's body are still to come that nobody will read. */
  get mayServeAgain(): boolean {
    return this.#sink !== undefined || (this.#reader?.isDone ?? true)
  }

  #startBody(sink: BodySink): void {
    this.#sink = sink
    this.#uploaded = 0
    if (this.#reader?.isDone === true) return this.#endBody()
    // security.md E10: the caller is told to go on only now that policy has passed and the upstream is reached.
    if (this.#pending.length === 0) this.#request?.continueIfExpected()
    if (this.options.limits.minUploadRate > 0) this.#watchUpload()
    this.#readBody()
  }

  #readBody(): void {
    const sink = this.#sink
    const reader = this.#reader
    if (sink === undefined || reader === undefined || this.#isBlocked) return
    const bytes = this.#pending
    this.#pending = EMPTY
    const progress = reader.read(bytes, slice => {
      this.#uploaded += slice.length
      if (!sink.write(slice)) this.#isBlocked = true
    })
    if (this.#sink !== sink) return // cancelled by what it wrote
    if (progress.kind === 'refused') return this.#failBody(refusalError(progress, ''))
    if (progress.kind === 'done') {
      this.#pending = bytes.subarray(progress.consumed)
      return this.#endBody()
    }
    if (this.#hasEnded) return this.#endOfInput()
    if (this.#isBlocked) this.socket.pause()
    else this.socket.resume()
  }

  #endOfInput(): void {
    if (this.#pending.length > 0 || this.#reader?.isDone === true) return
    this.#failBody(new CloakroomError('REQUEST_ABORTED', {}))
  }

  #endBody(): void {
    const sink = this.#sink
    this.#sink = undefined
    this.#watchdog.disarm()
    sink?.end(this.#reader?.trailers ?? [])
  }

  #failBody(cause: unknown): void {
    const sink = this.#sink
    this.#sink = undefined
    this.#watchdog.disarm()
    sink?.fail(cause)
  }

  #watchUpload(): void {
    const before = this.#uploaded
    this.#watchdog.arm(UPLOAD_WINDOW, () => {
      const least = (this.options.limits.minUploadRate * UPLOAD_WINDOW) / 1000
      const isSlow = this.#uploaded - before < least && !this.#isBlocked
      if (isSlow) this.#failBody(new CloakroomError('REQUEST_TIMEOUT', { phase: 'body' }))
      else this.#watchUpload()
    })
  }

  // An answer is out while the caller still sends: let it read the answer before its unread bytes turn into a reset.
  #linger(): void {
    this.#phase = 'linger'
    this.#pending = EMPTY
    this.socket.end()
    this.socket.resume()
    this.#watchdog.arm(LINGER, () => this.reset())
  }

  #finish(): void {
    this.#watchdog.disarm()
    if (this.#phase === 'closed' || this.#phase === 'detached') return
    this.#phase = 'linger'
    this.#pending = EMPTY
    this.socket.end()
    this.socket.resume()
    if (this.#hasEnded) return
    this.#watchdog.arm(LINGER, () => this.reset())
  }

  #leave(phase: 'closed' | 'detached'): void {
    if (this.#phase === 'closed' || this.#phase === 'detached') return
    this.#phase = phase
    this.#watchdog.close()
    this.#pending = EMPTY
    const sink = this.#sink
    this.#sink = undefined
    this.socket.off('data', this.#onData)
    this.socket.off('end', this.#onEnd)
    this.socket.off('close', this.#onClose)
    this.socket.off('drain', this.#onDrain)
    if (phase === 'detached') this.socket.off('error', this.#onError)
    sink?.fail(new CloakroomError('REQUEST_ABORTED', {}))
    for (const run of this.#closed) run()
  }
}

/** Tells whether a request asks for its connection to end after the answer (RFC 9112 9.3). */
export function asksToClose(head: ReceivedRequestHead): boolean {
  if (head.minor === 0) return true // 1.0 callers get one exchange a connection: keep-alive there is a guess
  return headerValues(head.headers, 'connection').some(value =>
    value.split(',').some(option => option.trim().toLowerCase() === 'close'),
  )
}
