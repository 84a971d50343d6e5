/**
 * Sends one armed request over an upstream connection and reads the answer: our own client, through the codec of src/http1.
 *
 * Rules of this file: a connection goes back to the pool only after a whole, unambiguous exchange with nothing left over;
 * every doubt destroys it (threat-model.md A11, E5, E8). Nothing is retried once a byte of the request may have been written
 * (rulings.md 6). A response that ends early is an error, never an end.
 */
import type { Duplex } from 'node:stream'
import type { Clock, Milliseconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import type { HeadLimits, ReceivedResponseHead } from '../http1/head.ts'
import {
  type BodySource,
  EMPTY_BODY,
  headerValues,
  type OutboundHead,
  type ResponseHead,
} from '../model/message.ts'
import { formatTarget } from '../model/target.ts'
import { AnswerBody, type InputEnd } from './answer-body.ts'
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
  #answer: { readonly head: ReceivedResponseHead; readonly body: AnswerBody } | undefined
  #isOver = false
  #hasInputEnded = false
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
        if (this.#answer === undefined) this.#watchdog.touch()
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
    if (this.#answer === undefined) this.#readHead(chunk)
    else this.#answer.body.push(chunk)
  }

  readonly #onEnd = (): void => this.#inputOver('ended', undefined)

  readonly #onBroken = (cause?: unknown): void => this.#inputOver('broken', cause)

  #inputOver(how: InputEnd, cause: unknown): void {
    if (this.#isOver || this.#hasInputEnded) return
    this.#hasInputEnded = true
    if (this.#answer !== undefined) return this.#answer.body.inputOver(how)
    const details = { target: this.#target }
    this.#fail(new CloakroomError('UPSTREAM_CLOSED', details, cause instanceof Error ? { cause } : {}))
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
    const body = new AnswerBody(framing, rest, {
      target: this.#target,
      setFlowing: isFlowing => {
        if (isFlowing) this.#lease.socket.resume()
        else this.#lease.socket.pause()
      },
      onProgress: waitsFor => this.#watchIdle(waitsFor),
      onWhole: () => this.#conclude(),
      onFailure: cause => this.#fail(cause),
    })
    this.#answer = { head, body }
    this.#lease.socket.pause()
    const { status, reason, headers } = head
    const isEmpty = body.isWhole
    this.#resolve({ head: { status, reason, headers }, body: isEmpty ? EMPTY_BODY : body })
    if (isEmpty) this.#conclude()
    else this.#watchIdle('reader') // who may yet refuse the head
  }

  // The answer is whole. The connection may serve again only if the request is, too, and nothing is left over (A11, E8).
  #conclude(): void {
    if (this.#isOver || this.#answer === undefined) return
    const { head, body } = this.#answer
    const isClean = body.isWhole && !body.hasLeftOver && !this.#hasInputEnded
    const mayReuse = isClean && this.#sender.isSent && keepsAlive(head)
    this.#close(undefined)
    if (mayReuse) this.#lease.release()
    else this.#lease.destroy()
    body.settle()
  }

  #fail(cause: unknown): void {
    if (this.#isOver) return
    this.#close(cause)
    this.#lease.destroy(cause)
    if (this.#answer === undefined) this.#reject(cause)
    else this.#answer.body.settle({ cause })
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
  #watchIdle(waitsFor: 'upstream' | 'reader'): void {
    const waited = this.#options.idleTimeout
    const target = this.#target
    this.#watchdog.arm(waited, () =>
      this.#fail(
        waitsFor === 'reader'
          ? new CloakroomError('REQUEST_ABORTED', {})
          : new CloakroomError('UPSTREAM_IDLE_TIMEOUT', { target, waited }),
      ),
    )
  }
}

function keepsAlive(head: ReceivedResponseHead): boolean {
  if (head.minor === 0) return false
  return !headerValues(head.headers, 'connection').some(value => /(?:^|,)\s*close\s*(?:$|,)/i.test(value))
}
