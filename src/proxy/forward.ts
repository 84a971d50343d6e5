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
import type { HeadLimits, ReceivedResponseHead } from '../http1/head.ts'
import { refusalError } from '../http1/refusal.ts'
import {
  type BodySink,
  type BodySource,
  EMPTY_BODY,
  headerValues,
  type OutboundHead,
  type ResponseHead,
} from '../model/message.ts'
import { formatTarget } from '../model/target.ts'
import { type AnswerHead, AnswerHeadReader } from './answer-head.ts'
import { RequestSender } from './request-sender.ts'
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
  /** Without a byte of the response body, either from the upstream or taken by the caller. */
  readonly idleTimeout: Milliseconds
  /** Called for each interim answer but 100 and 101. */
  readonly onInterim: (head: ResponseHead) => void
  /** Called with the number of body bytes given to the upstream. */
  readonly onSent: (bytes: number) => void
  /** Is given a function that ends the exchange from outside. */
  readonly onCancel: (run: (cause: unknown) => void) => void
}

export type UpstreamAnswer = { readonly head: ResponseHead; readonly body: BodySource }

const EMPTY: Buffer = Buffer.alloc(0)

/**
 * Sends the request and resolves with the answer's head; the answer's body is read by its consumer.
 *
 * Takes the lease over: it is released or destroyed here, on every path. `body` must be cancelled by the caller when this throws.
 *
 * @param outbound - its head announces the framing that `body.length` says.
 * @throws UPSTREAM_* by phase, and whatever the request's body fails with.
 */
export function forward(
  lease: Lease,
  outbound: OutboundHead,
  body: BodySource,
  options: ForwardOptions,
): Promise<UpstreamAnswer> {
  return new UpstreamExchange(lease, outbound, options).run(outbound, body)
}

class UpstreamExchange {
  readonly #lease: Lease
  readonly #options: ForwardOptions
  readonly #target: string
  readonly #watchdog: Watchdog
  readonly #sender: RequestSender
  readonly #headReader: AnswerHeadReader
  #pending: Buffer = EMPTY // of the body, while nobody takes it
  #answerHead: ReceivedResponseHead | undefined
  #reader: BodyReader | undefined
  #sink: BodySink | undefined
  #isBlocked = false
  #isOver = false
  /** How the upstream's bytes ended, while what came before them is not taken. */
  #inputEnd: 'ended' | 'broken' | undefined
  #failure: unknown
  #resolve: (answer: UpstreamAnswer) => void = () => undefined
  #reject: (cause: unknown) => void = () => undefined

  constructor(lease: Lease, outbound: OutboundHead, options: ForwardOptions) {
    const { target, method } = outbound.armed
    this.#lease = lease
    this.#options = options
    this.#target = formatTarget(target)
    this.#watchdog = new Watchdog(options.clock)
    this.#sender = new RequestSender(lease.socket, {
      onSent: bytes => {
        options.onSent(bytes)
        if (this.#answerHead === undefined) this.#watchdog.touch()
      },
      onFailure: cause => this.#fail(cause),
    })
    const { head: limits, onInterim } = options
    this.#headReader = new AnswerHeadReader({ target: this.#target, method, limits, onInterim })
  }

  run(outbound: OutboundHead, body: BodySource): Promise<UpstreamAnswer> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      this.#listen()
      this.#watchHead()
      this.#options.onCancel(cause => this.#fail(cause))
      if (this.#isOver) return
      try {
        this.#sender.start(outbound, body)
      } catch (cause) {
        this.#fail(cause)
      }
    })
  }

  #listen(): void {
    const { socket } = this.#lease
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('close', this.#onBroken)
    socket.on('error', this.#onBroken)
    socket.on('drain', this.#onDrain)
    socket.resume() // the pool gives back what it paused, and a paused socket does not start at a listener
  }

  #unlisten(): void {
    const { socket } = this.#lease
    socket.off('data', this.#onData)
    socket.off('end', this.#onEnd)
    socket.off('close', this.#onBroken)
    socket.off('error', this.#onBroken)
    socket.off('drain', this.#onDrain)
  }

  readonly #onDrain = (): void => {
    this.#sender.drained()
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#answerHead === undefined) return this.#readHead(chunk)
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    if (this.#sink === undefined || this.#isBlocked) this.#lease.socket.pause()
    else this.#readBody()
  }

  readonly #onEnd = (): void => this.#inputOver('ended', undefined)

  // A reset, or a close without an end. SECURITY: never the end of a body that the close would end; that is a FIN alone. (Over TLS a
  // FIN without close_notify looks the same to Node: whoever can forge one can cut such a body, and framed ones not.)
  readonly #onBroken = (cause?: unknown): void => this.#inputOver('broken', cause)

  #inputOver(how: 'ended' | 'broken', cause: unknown): void {
    if (this.#isOver || this.#inputEnd !== undefined) return
    this.#inputEnd = how
    if (this.#answerHead === undefined) {
      const details = { target: this.#target }
      this.#fail(new CloakroomError('UPSTREAM_CLOSED', details, cause instanceof Error ? { cause } : {}))
    } else if (this.#sink !== undefined && !this.#isBlocked) this.#endOfInput()
    // else told when the consumer has taken what is pending
  }

  #endOfInput(): void {
    if (this.#inputEnd === 'ended' && this.#reader?.finish() === 'done') return this.#conclude()
    this.#fail(new CloakroomError('UPSTREAM_TRUNCATED', { target: this.#target }))
  }

  #readHead(chunk: Buffer): void {
    try {
      const found = this.#headReader.push(chunk)
      if (found !== undefined) this.#answered(found)
    } catch (cause) {
      this.#fail(cause)
    }
  }

  #answered({ head, framing, rest }: AnswerHead): void {
    this.#answerHead = head
    this.#pending = rest
    this.#reader = new BodyReader(framing, 'response')
    this.#lease.socket.pause()
    const { status, reason, headers } = head
    const length = framing.kind === 'length' ? framing.length : undefined
    const isEmpty = this.#reader.isDone
    this.#resolve({ head: { status, reason, headers }, body: isEmpty ? EMPTY_BODY : this.#source(length) })
    if (isEmpty) return this.#conclude()
    this.#watchIdle() // also until the consumer starts
  }

  #source(length: number | undefined): BodySource {
    return {
      length,
      start: sink => {
        if (this.#isOver) return sink.fail(this.#failure) // failed between the head and the first wish for its body
        this.#sink = sink
        this.#readBody()
      },
      resume: () => {
        this.#isBlocked = false
        this.#readBody()
      },
      cancel: cause => this.#fail(cause ?? new CloakroomError('REQUEST_ABORTED', {})),
    }
  }

  #readBody(): void {
    const sink = this.#sink
    if (this.#isOver || sink === undefined || this.#reader === undefined) return
    const bytes = this.#pending
    this.#pending = EMPTY
    const progress = this.#reader.read(bytes, slice => {
      if (!this.#isOver && !sink.write(slice)) this.#isBlocked = true
    })
    if (this.#isOver) return
    if (progress.kind === 'refused') return this.#fail(refusalError(progress, this.#target))
    if (progress.kind === 'done') {
      this.#pending = bytes.subarray(progress.consumed)
      return this.#conclude()
    }
    if (this.#inputEnd !== undefined && !this.#isBlocked) return this.#endOfInput()
    this.#watchIdle()
    if (this.#isBlocked) this.#lease.socket.pause()
    else this.#lease.socket.resume()
  }

  // The answer is whole. The connection may serve again only if the request is, too, and nothing is left over (A11, E8).
  #conclude(): void {
    if (this.#isOver) return
    const trailers = this.#reader?.trailers ?? []
    const sink = this.#sink
    const isClean = this.#pending.length === 0 && this.#inputEnd === undefined
    const mayReuse = isClean && this.#sender.isSent && this.#keepsAlive()
    this.#close(undefined)
    if (mayReuse) this.#lease.release()
    else this.#lease.destroy()
    sink?.end(trailers)
  }

  #keepsAlive(): boolean {
    const head = this.#answerHead
    if (head === undefined || head.minor === 0 || this.#reader?.isDone !== true) return false
    return !headerValues(head.headers, 'connection').some(value => /(?:^|,)\s*close\s*(?:$|,)/i.test(value))
  }

  #fail(cause: unknown): void {
    if (this.#isOver) return
    const sink = this.#sink
    this.#failure = cause
    this.#close(cause)
    this.#lease.destroy(cause)
    if (this.#answerHead === undefined) this.#reject(cause)
    else sink?.fail(cause)
  }

  #close(cause: unknown): void {
    this.#isOver = true
    this.#watchdog.close()
    this.#unlisten()
    this.#sender.stop(cause)
  }

  #watchHead(): void {
    const waited = this.#options.headTimeout
    this.#watchdog.arm(waited, () =>
      this.#fail(new CloakroomError('UPSTREAM_HEAD_TIMEOUT', { target: this.#target, waited })),
    )
  }

  // Either side may pause for so long and no longer: a caller that stops reading holds an upstream connection, too.
  #watchIdle(): void {
    const waited = this.#options.idleTimeout
    this.#watchdog.arm(waited, () => {
      const isCallers = this.#isBlocked || this.#sink === undefined
      const target = this.#target
      this.#fail(
        isCallers
          ? new CloakroomError('REQUEST_ABORTED', {})
          : new CloakroomError('UPSTREAM_IDLE_TIMEOUT', { target, waited }),
      )
    })
  }
}
