/**
 * One caller's connection: bytes to Inbound requests and answers back to bytes, through the codec of src/http1.
 *
 * Rules of this file: one request at a time (threat-model.md E7); a connection whose framing is in doubt is closed; nothing is written
 * after a reset, and a body that fails is ended by a reset, so that no answer looks whole when it is not.
 * What a request means is not decided here: that is proxy/exchange.ts.
 */
import type { Duplex } from 'node:stream'
import { CloakroomError } from '../base/errors.ts'
import { kib } from '../base/size.ts'
import { requestFraming } from '../http1/framing.ts'
import { parseRequestHead, type ReceivedRequestHead } from '../http1/head.ts'
import { type BodyConnection, RequestBody } from './http1-body.ts'
import type { CallerConnection, Http1Limits, Http1Options } from './http1-options.ts'
import { type FoundBody, Http1Request } from './http1-request.ts'
import { Linger } from './linger.ts'
import { Watchdog } from './watchdog.ts'

export type { Http1Limits, Http1Options }

const EMPTY: Buffer = Buffer.alloc(0)
const PENDING_LIMIT = kib(64) // what a caller may send ahead of being read
const NO_HEAD: ReceivedRequestHead = { method: '', rawTarget: '', minor: 1, headers: [] }

type Phase = 'head' | 'exchange' | 'linger' | 'closed' | 'detached'

export class Http1Connection implements CallerConnection {
  readonly socket: Duplex
  readonly options: Http1Options
  readonly #watchdog: Watchdog
  readonly #bodyConnection: BodyConnection
  #phase: Phase = 'head'
  #pending: Buffer = EMPTY
  #seen = 0 // how many pending bytes were found to be an incomplete head
  #body: RequestBody | undefined
  #hasEnded = false
  #isDraining = false
  #linger: Linger | undefined
  #request: Http1Request | undefined
  readonly #closed: (() => void)[] = []
  readonly #flushed: (() => void)[] = []

  constructor(socket: Duplex, options: Http1Options) {
    this.socket = socket
    this.options = options
    this.#watchdog = new Watchdog(options.clock)
    this.#bodyConnection = this.#asBodyConnection()
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

  /** Calls `run` when nothing more will be sent and the last byte has left our memory, or the connection is closed. */
  onFlushed(run: () => void): void {
    this.#flushed.push(run)
  }

  /** Ends the connection after the exchange under way, or now when there is none. */
  drain(): void {
    this.#isDraining = true
    const isIdle = this.#pending.length === 0 || this.#seen > 0 // half a head is no request yet
    if (this.#phase === 'head' && isIdle) this.#finish()
  }

  get isDraining(): boolean {
    return this.#isDraining
  }

  /** True when no byte of the request under way is still to come or to be read. */
  get isRequestRead(): boolean {
    return this.#body?.isRead ?? true
  }

  /** Gives the socket away, for a tunnel: nothing here touches it any more. `rest` came after the request. */
  detach(): { readonly socket: Duplex; readonly rest: Buffer } {
    const rest = this.#pending
    this.#leave('detached')
    return { socket: this.socket, rest }
  }

  reset(): void {
    this.#leave('closed')
    this.socket.on('error', () => undefined) // a reset socket may still report what it was doing
    this.options.resetTransport?.()
    this.socket.destroy()
  }

  /** Called by the request when its answer has been given to the socket. */
  responseDone(mayContinue: boolean): void {
    if (this.#phase !== 'exchange') return
    this.#request = undefined
    this.#body?.cancel()
    const isOver = this.#isDraining || (this.#hasEnded && this.#pending.length === 0)
    if (mayContinue && this.isRequestRead && !isOver) this.#nextRequest()
    else this.#finish()
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#linger !== undefined) return this.#linger.drop(chunk.length)
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    if (this.#phase === 'head') return this.#readHead()
    this.#body?.advance()
    if (this.#phase === 'exchange' && this.#pending.length > PENDING_LIMIT) this.socket.pause()
  }

  readonly #onEnd = (): void => {
    this.#hasEnded = true
    if (this.#phase === 'linger') return // what we send may still be read; 'close' follows when it is out
    if (this.#phase === 'head') {
      const isUnread = this.#pending.length > 0 && this.#seen === 0 // a whole request may wait there
      return isUnread ? undefined : this.#finish()
    }
    this.#body?.advance()
    this.#request?.callerEnded() // a caller that has sent all may half-close and still read its answer (acceptance.md 49)
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
    this.#body = undefined
    this.#seen = 0
    this.socket.resume()
    if (this.#pending.length === 0)
      return this.#watchdog.arm(this.options.limits.keepAlive, () => this.#finish())
    // In a turn of its own: thousands of small requests in one packet would otherwise nest, and starve everybody else (G8).
    setImmediate(() => {
      if (this.#phase === 'head' && this.#seen === 0 && this.#pending.length > 0) this.#readHead()
    })
  }

  #readHead(): void {
    const { limits } = this.options
    if (this.#seen === 0) this.#watchdog.arm(limits.headTimeout, this.#onHeadTimeout)
    const parsed = parseRequestHead(this.#pending, limits.head, this.#seen)
    if (parsed.kind === 'incomplete') {
      this.#seen = this.#pending.length
      if (this.#hasEnded) this.#finish()
      return
    }
    if (parsed.kind === 'refused') return this.#dispatch(NO_HEAD, { kind: 'refused', refusal: parsed })
    this.#pending = this.#pending.subarray(parsed.length)
    const framing = requestFraming(parsed.head)
    if (framing.kind === 'refused') return this.#dispatch(parsed.head, { kind: 'refused', refusal: framing })
    this.#body = new RequestBody(framing, this.#bodyConnection)
    this.#dispatch(parsed.head, { kind: 'body', source: this.#body })
  }

  #dispatch(head: ReceivedRequestHead, found: FoundBody): void {
    this.#phase = 'exchange'
    this.#watchdog.disarm()
    const request = new Http1Request(this, head, found)
    this.#request = request
    if (this.#hasEnded) request.callerEnded()
    void this.options.serve(request, this)
  }

  #asBodyConnection(): BodyConnection {
    const self = this
    return {
      clock: self.options.clock,
      minUploadRate: self.options.limits.minUploadRate,
      get hasEnded() {
        return self.#hasEnded
      },
      take() {
        const bytes = self.#pending
        self.#pending = EMPTY
        return bytes
      },
      putBack(rest) {
        self.#pending = rest
      },
      setFlowing(isFlowing) {
        if (isFlowing) self.socket.resume()
        else self.socket.pause()
      },
      onWanted() {
        if (self.#pending.length === 0) self.#request?.continueIfExpected()
      },
    }
  }

  #finish(): void {
    if (this.#phase === 'linger' || this.#phase === 'closed' || this.#phase === 'detached') return
    this.#phase = 'linger'
    this.#pending = EMPTY
    this.#watchdog.close()
    this.#linger = new Linger(this.socket, {
      clock: this.options.clock,
      flush: this.options.limits.keepAlive,
      onFlushed: () => this.#tellFlushed(),
      reset: () => this.reset(),
    })
  }

  #tellFlushed(): void {
    for (const run of this.#flushed.splice(0)) run()
  }

  #leave(phase: 'closed' | 'detached'): void {
    if (this.#phase === 'closed' || this.#phase === 'detached') return
    this.#phase = phase
    this.#watchdog.close()
    this.#linger?.close()
    this.#pending = EMPTY
    this.socket.off('data', this.#onData)
    this.socket.off('end', this.#onEnd)
    this.socket.off('close', this.#onClose)
    this.socket.off('drain', this.#onDrain)
    if (phase === 'detached') this.socket.off('error', this.#onError)
    this.#body?.fail(new CloakroomError('REQUEST_ABORTED', {}))
    this.#tellFlushed()
    for (const run of this.#closed.splice(0)) run()
  }
}
