/**
 * Sends one armed request over an upstream connection and reads the answer: our own client, through the codec of src/http1.
 *
 * Rules of this file: a connection goes back to the pool only after a whole, unambiguous exchange with nothing left over;
 * every doubt destroys it (security.md A11, E5, E8). Nothing is retried once a byte of the request may have been written
 * (rulings.md 6). A response that ends early is an error, never an end.
 */
import type { Duplex } from 'node:stream'
import type { Clock, Milliseconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { BodyReader } from '../http1/body-reader.ts'
import { BodyWriter } from '../http1/body-writer.ts'
import { type Framing, framingHeaders, responseFraming } from '../http1/framing.ts'
import { type HeadLimits, parseResponseHead, type ReceivedResponseHead } from '../http1/head.ts'
import { type Refusal, refusalError } from '../http1/refusal.ts'
import { writeRequestHead } from '../http1/write.ts'
import {
  type BodySink,
  type BodySource,
  EMPTY_BODY,
  type HeaderList,
  headerValues,
  type OutboundHead,
  type ResponseHead,
} from '../model/message.ts'
import { formatTarget } from '../model/target.ts'
import { Watchdog } from './watchdog.ts'

/** One connection to an upstream, ours until it is released or destroyed. */
export interface Lease {
  readonly socket: Duplex
  readonly reused: boolean
  release(): void
  destroy(cause?: unknown): void
}

export type ForwardOptions = {
  readonly clock: Clock
  readonly head: HeadLimits
  /** From the end of the request, or its last byte so far, to the response head. */
  readonly headTimeout: Milliseconds
  /** Without a byte of the response body while we are ready to take one. */
  readonly idleTimeout: Milliseconds
  /** Called for each interim answer but 100 and 101. */
  readonly onInterim: (head: ResponseHead) => void
  /** Called with the number of body bytes given to the upstream. */
  readonly onSent: (bytes: number) => void
  /** Is given a function that ends the exchange from outside. */
  readonly onCancel: (run: (cause: unknown) => void) => void
}

export type UpstreamAnswer = { readonly head: ResponseHead; readonly body: BodySource }

const EMPTY = Buffer.alloc(0)
const MAX_INTERIM = 8 // security.md E5

/**
 * Sends the request and resolves with the answer's head; the answer's body is read by its consumer.
 *
 * Takes the lease over: it is released or destroyed here, on every path. `body` must be cancelled by the caller when this throws.
 *
 * @param isChunked - the framing that the head announces: chunked, or else exactly `body.length` bytes.
 * @throws UPSTREAM_* by phase, and whatever the request's body fails with.
 */
export function forward(
  lease: Lease,
  outbound: OutboundHead,
  body: BodySource,
  options: ForwardOptions,
): Promise<UpstreamAnswer> {
  return new UpstreamExchange(lease, outbound, options).run(body)
}

class UpstreamExchange {
  readonly #lease: Lease
  readonly #outbound: OutboundHead
  readonly #options: ForwardOptions
  readonly #target: string
  readonly #watchdog: Watchdog
  #pending: Buffer = EMPTY
  #seen = 0
  #interim = 0
  #answered = false
  #answerHead: ReceivedResponseHead | undefined
  #reader: BodyReader | undefined
  #sink: BodySink | undefined
  #isBlocked = false
  #requestBody: BodySource = EMPTY_BODY
  #isRequestSent = false
  #isOver = false
  #failure: unknown
  #resolve: (answer: UpstreamAnswer) => void = () => undefined
  #reject: (cause: unknown) => void = () => undefined

  constructor(lease: Lease, outbound: OutboundHead, options: ForwardOptions) {
    this.#lease = lease
    this.#outbound = outbound
    this.#options = options
    this.#target = formatTarget(outbound.armed.target)
    this.#watchdog = new Watchdog(options.clock)
  }

  run(body: BodySource): Promise<UpstreamAnswer> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      this.#listen()
      this.#armHeadTimeout()
      this.#options.onCancel(cause => this.#fail(cause))
      if (this.#isOver) return
      try {
        this.#send(body)
      } catch (cause) {
        this.#fail(cause)
      }
    })
  }

  #listen(): void {
    const socket = this.#lease.socket
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('close', this.#onEnd)
    socket.on('error', this.#onEnd)
    socket.on('drain', this.#onDrain)
    socket.resume() // the pool gives back what it paused, and a paused socket does not start at a listener
  }

  #unlisten(): void {
    const socket = this.#lease.socket
    socket.off('data', this.#onData)
    socket.off('end', this.#onEnd)
    socket.off('close', this.#onEnd)
    socket.off('error', this.#onEnd)
    socket.off('drain', this.#onDrain)
  }

  #armHeadTimeout(): void {
    const waited = this.#options.headTimeout
    this.#watchdog.arm(waited, () =>
      this.#fail(new CloakroomError('UPSTREAM_HEAD_TIMEOUT', { target: this.#target, waited })),
    )
  }

  #send(body: BodySource): void {
    const { method, path, headers } = this.#outbound.armed
    const socket = this.#lease.socket
    const writer = new BodyWriter(requestFramingOf(body.length))
    const bytes = writeRequestHead(method, path, headers)
    // The head holds a credential: overwritten as soon as the socket has taken it (security.md N6).
    socket.cork()
    socket.write(bytes, () => bytes.fill(0))
    this.#requestBody = body
    body.start({
      write: chunk => this.#sendPieces(socket, () => writer.frame(chunk), chunk.length),
      end: trailers => {
        this.#sendPieces(socket, () => writer.end(trailers), 0)
        this.#isRequestSent = true
        this.#watchdog.touch()
        if (this.#isAnswerRead()) this.#conclude()
      },
      fail: cause => this.#fail(cause),
    })
    process.nextTick(() => socket.uncork())
  }

  // What the head announced is what is sent, or the exchange fails: a byte too many would be the next request (E1, C12).
  #sendPieces(socket: Duplex, frame: () => readonly Buffer[], length: number): boolean {
    if (this.#isOver) return false
    try {
      let isOpen = true
      for (const piece of frame()) isOpen = socket.write(piece)
      this.#options.onSent(length)
      if (!this.#answered) this.#watchdog.touch()
      return isOpen
    } catch (cause) {
      this.#fail(cause)
      return false
    }
  }

  readonly #onDrain = (): void => {
    if (!this.#isRequestSent) this.#requestBody.resume()
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    if (!this.#answered) this.#readHead()
    else if (this.#sink === undefined || this.#isBlocked) this.#lease.socket.pause()
    else this.#readBody()
  }

  // FIN, reset and error mean the same here: no more bytes. What had come is read first.
  readonly #onEnd = (cause?: unknown): void => {
    if (this.#isOver) return
    if (!this.#answered) {
      const isTls = cause instanceof Error
      return this.#fail(
        new CloakroomError('UPSTREAM_CLOSED', { target: this.#target }, isTls ? { cause } : {}),
      )
    }
    if (this.#sink !== undefined && !this.#isBlocked) this.#endOfInput()
    else this.#failure ??= 'ended' // told when the consumer has taken what is pending
  }

  #endOfInput(): void {
    if (this.#reader?.finish() === 'done') return this.#conclude()
    this.#fail(new CloakroomError('UPSTREAM_TRUNCATED', { target: this.#target }))
  }

  #readHead(): void {
    const parsed = parseResponseHead(this.#pending, this.#options.head, this.#seen)
    if (parsed.kind === 'incomplete') {
      this.#seen = this.#pending.length
      return
    }
    if (parsed.kind === 'refused') return this.#refuse(parsed)
    this.#pending = this.#pending.subarray(parsed.length)
    this.#seen = 0
    if (parsed.head.status < 200) return this.#interimAnswer(parsed.head)
    this.#finalAnswer(parsed.head)
  }

  #interimAnswer(head: ReceivedResponseHead): void {
    // security.md D10: we never ask for an upgrade, so a 101 is an attack or a fault.
    if (head.status === 101) return this.#malformed('101 without a request for it')
    if (++this.#interim > MAX_INTERIM) return this.#malformed('too many interim answers')
    // An interim answer has no body; one that announces two is malformed all the same.
    const framing = responseFraming(head, this.#outbound.armed.method)
    if (framing.kind === 'refused') return this.#refuse(framing)
    if (head.status !== 100)
      this.#options.onInterim({ status: head.status, reason: head.reason, headers: head.headers })
    if (this.#pending.length > 0) this.#readHead()
  }

  #finalAnswer(head: ReceivedResponseHead): void {
    if (head.status === 407)
      return this.#fail(new CloakroomError('UPSTREAM_PROXY_AUTH', { target: this.#target }))
    const framing = responseFraming(head, this.#outbound.armed.method)
    if (framing.kind === 'refused') return this.#refuse(framing)
    this.#answered = true
    this.#answerHead = head
    this.#reader = new BodyReader(framing, 'response')
    this.#watchdog.disarm()
    this.#lease.socket.pause()
    const length = framing.kind === 'length' ? framing.length : framing.kind === 'none' ? 0 : undefined
    const isEmpty = this.#reader.isDone
    this.#resolve({
      head: { status: head.status, reason: head.reason, headers: head.headers },
      body: isEmpty ? EMPTY_BODY : this.#source(length),
    })
    if (isEmpty) this.#conclude()
  }

  #source(length: number | undefined): BodySource {
    return {
      length,
      start: sink => {
        if (this.#isOver) return sink.fail(this.#failure) // failed between the head and the first wish for its body
        this.#sink = sink
        this.#watchIdle()
        this.#readBody()
      },
      resume: () => {
        this.#isBlocked = false
        this.#watchIdle()
        this.#readBody()
      },
      cancel: cause => this.#fail(cause ?? new CloakroomError('REQUEST_ABORTED', {})),
    }
  }

  #watchIdle(): void {
    const waited = this.#options.idleTimeout
    this.#watchdog.arm(waited, () =>
      this.#fail(new CloakroomError('UPSTREAM_IDLE_TIMEOUT', { target: this.#target, waited })),
    )
  }

  #readBody(): void {
    const sink = this.#sink
    if (this.#isOver || sink === undefined || this.#reader === undefined) return
    const bytes = this.#pending
    this.#pending = EMPTY
    this.#watchdog.touch()
    const progress = this.#reader.read(bytes, slice => {
      if (!this.#isOver && !sink.write(slice)) this.#isBlocked = true
    })
    if (this.#isOver) return
    if (progress.kind === 'refused') return this.#refuse(progress)
    if (progress.kind === 'done') {
      this.#pending = bytes.subarray(progress.consumed)
      return this.#conclude()
    }
    if (this.#failure !== undefined) return this.#endOfInput()
    if (!this.#isBlocked) return void this.#lease.socket.resume()
    this.#watchdog.disarm() // it is the caller that is slow
    this.#lease.socket.pause()
  }

  #isAnswerRead(): boolean {
    return this.#answered && this.#reader?.isDone === true
  }

  // The answer is whole. The connection may serve again only if the request is, too, and nothing is left over.
  #conclude(): void {
    if (this.#isOver) return
    const trailers = this.#reader?.trailers ?? []
    const sink = this.#sink
    const mayReuse =
      this.#isRequestSent && this.#pending.length === 0 && this.#failure === undefined && this.#keepsAlive()
    this.#close()
    if (mayReuse) this.#lease.release()
    else {
      this.#requestBody.cancel(undefined)
      this.#lease.destroy()
    }
    sink?.end(trailers)
  }

  #keepsAlive(): boolean {
    const head = this.#answerHead
    if (head === undefined || head.minor === 0 || this.#reader?.isDone !== true) return false
    return !headerValues(head.headers, 'connection').some(value => /(?:^|,)\s*close\s*(?:$|,)/i.test(value))
  }

  #refuse(refusal: Refusal): void {
    this.#fail(refusalError(refusal, this.#target))
  }

  #malformed(what: string): void {
    this.#fail(new CloakroomError('UPSTREAM_MALFORMED', { target: this.#target, what }))
  }

  #fail(cause: unknown): void {
    if (this.#isOver) return
    const sink = this.#sink
    this.#close()
    this.#requestBody.cancel(cause)
    this.#lease.destroy(cause)
    this.#failure = cause
    if (this.#answered) sink?.fail(cause)
    else this.#reject(cause)
  }

  #close(): void {
    this.#isOver = true
    this.#watchdog.close()
    this.#unlisten()
  }
}

/** Headers that say how the body is framed, for a head that is to be armed (security.md E1, E9: for every method). */
export function requestFramingHeaders(method: string, length: number | undefined): HeaderList {
  const saysZero = method === 'POST' || method === 'PUT' || method === 'PATCH' // RFC 9110 8.6
  return length === 0 && saysZero ? [['Content-Length', '0']] : framingHeaders(requestFramingOf(length))
}

function requestFramingOf(length: number | undefined): Framing {
  if (length === undefined) return { kind: 'chunked' }
  return length === 0 ? { kind: 'none' } : { kind: 'length', length }
}
