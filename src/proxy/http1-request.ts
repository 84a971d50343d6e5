/**
 * One request on a caller's HTTP/1.1 connection, and its answer.
 *
 * Rule of this file: the framing of an answer is decided here, from the method, the status and what the source knows (RFC 9112 6),
 * and never copied; a source that fails after the head is out ends in a reset.
 */

import { CloakroomError } from '../base/errors.ts'
import { BodyWriter } from '../http1/body-writer.ts'
import { type Framing, framingHeaders } from '../http1/framing.ts'
import type { ReceivedRequestHead } from '../http1/head.ts'
import { type Refusal, refusalError } from '../http1/refusal.ts'
import { isForbiddenTrailer } from '../http1/trailers.ts'
import { writeResponseHead } from '../http1/write.ts'
import {
  type BodySource,
  EMPTY_BODY,
  type HeaderList,
  headerValues,
  type ResponseHead,
} from '../model/message.ts'
import { CallerProbe } from './caller-probe.ts'
import { takesTrailers } from './hop-by-hop.ts'
import type { CallerConnection } from './http1-options.ts'
import type { ConnectionFacts, Inbound, RespondOptions } from './inbound.ts'

/** What stands behind a head: a body, or why there is no request. */
export type FoundBody =
  | { readonly kind: 'body'; readonly source: BodySource }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  | { readonly kind: 'timeout' }

const CONTINUE = Buffer.from('HTTP/1.1 100 Continue\r\n\r\n', 'latin1')

export class Http1Request implements Inbound {
  readonly facts: ConnectionFacts
  readonly head: ReceivedRequestHead
  readonly body: BodySource
  readonly startedAt: number
  readonly refused: CloakroomError | undefined
  readonly #connection: CallerConnection
  #gone: ((cause: unknown) => void) | undefined
  #goneCause: unknown
  #answer: BodySource | undefined
  #abandon: ((cause: unknown) => void) | undefined
  #expectsContinue: boolean
  #bytesSent = 0
  readonly #probe: CallerProbe
  #state: 'open' | 'responding' | 'done' | 'reset' = 'open'

  constructor(connection: CallerConnection, head: ReceivedRequestHead, found: FoundBody) {
    this.#connection = connection
    this.facts = connection.options.facts
    this.head = head
    this.startedAt = connection.options.clock.monotonic()
    this.body = found.kind === 'body' ? found.source : EMPTY_BODY
    this.refused = refusalOf(found)
    this.#probe = new CallerProbe(connection.options.clock, () => {
      if (this.#state === 'open') connection.socket.write(CONTINUE)
    })
    this.#expectsContinue =
      head.minor === 1 &&
      headerValues(head.headers, 'expect').some(value => value.toLowerCase() === '100-continue')
  }

  get bytesSent(): number {
    return this.#bytesSent
  }

  get hasResponded(): boolean {
    return this.#state !== 'open'
  }

  onGone(run: (cause: unknown) => void): void {
    this.#gone = run
    if (this.#goneCause !== undefined) run(this.#goneCause)
  }

  /** Called by the connection when the caller is gone. */
  gone(cause: unknown): void {
    this.#probe.stop()
    this.#goneCause = cause
    this.#gone?.(cause)
    this.#abandon?.(cause)
  }

  /** Called by the connection when its socket takes bytes again. */
  drained(): void {
    this.#answer?.resume()
  }

  /** Called by the connection when the body is wanted and nothing of it has come. */
  continueIfExpected(): void {
    if (!this.#expectsContinue || this.#state !== 'open') return
    this.#expectsContinue = false
    this.#connection.socket.write(CONTINUE)
  }

  /** Called by the connection when the caller will send nothing more. */
  callerEnded(): void {
    if (this.head.minor === 1) this.#probe.start()
  }

  inform(head: ResponseHead): void {
    if (this.head.minor === 0 || this.#state !== 'open') return
    this.#connection.socket.write(writeResponseHead(1, head.status, head.reason, head.headers))
  }

  respond(head: ResponseHead, body: BodySource, options: RespondOptions = {}): Promise<void> {
    if (this.#goneCause !== undefined) {
      body.cancel(this.#goneCause)
      return Promise.reject(this.#goneCause)
    }
    this.#state = 'responding'
    this.#probe.stop()
    const framing = this.#framingOf(head, body)
    const close = options.close === true || framing.kind === 'until-close' || this.#mustClose()
    // RFC 9110 9.3.2: HEAD tells the length that GET would have; 304 likewise. Every other length is ours to say.
    const keepsLength = this.head.method === 'HEAD' || head.status === 304
    const headers: HeaderList = [
      ...(keepsLength
        ? head.headers
        : head.headers.filter(([name]) => name.toLowerCase() !== 'content-length')),
      ...framingHeaders(framing),
      ...(close ? [['Connection', 'close'] as const] : []),
    ]
    const socket = this.#connection.socket
    socket.cork()
    process.nextTick(() => socket.uncork())
    socket.write(writeResponseHead(1, head.status, head.reason, headers))
    if (framing.kind === 'none') {
      body.cancel(undefined)
      this.#done(!close)
      return Promise.resolve()
    }
    return this.#sendBody(body, framing, close)
  }

  reset(): void {
    this.#state = 'reset'
    this.#probe.stop()
    this.#connection.reset()
  }

  // E7: after an answer that came before the whole request was read, and after bytes that were no request, nothing is read any more.
  #mustClose(): boolean {
    const connection = this.#connection
    const isUnread = this.refused !== undefined || !connection.isRequestRead
    return isUnread || connection.isDraining || asksToClose(this.head)
  }

  #framingOf(head: ResponseHead, body: BodySource): Framing {
    const isBodiless =
      this.head.method === 'HEAD' || head.status === 204 || head.status === 304 || head.status < 200
    if (isBodiless) return { kind: 'none' }
    if (body.length !== undefined) return { kind: 'length', length: body.length }
    return this.head.minor === 1 ? { kind: 'chunked' } : { kind: 'until-close' }
  }

  #sendBody(body: BodySource, framing: Framing, close: boolean): Promise<void> {
    this.#answer = body
    const writer = new BodyWriter(framing)
    return new Promise((resolve, reject) => {
      const fail = (cause: unknown) => {
        if (this.#state !== 'responding') return
        body.cancel(cause)
        this.reset()
        reject(cause)
      }
      const attempt = (work: () => boolean): boolean => {
        if (this.#state !== 'responding') return false
        try {
          return work()
        } catch (cause) {
          fail(cause) // longer or shorter than announced: the caller would take the next answer for the rest of this one
          return false
        }
      }
      this.#abandon = fail
      body.start({
        write: chunk =>
          attempt(() => {
            const isOpen = this.#write(writer.frame(chunk))
            this.#bytesSent += chunk.length
            return isOpen
          }),
        end: trailers =>
          void attempt(() => {
            this.#write(writer.end(this.#carried(trailers)))
            this.#done(!close)
            resolve()
            return true
          }),
        fail,
      })
    })
  }

  // Corked: the pieces of a chunk in one packet and one TLS record.
  #write(pieces: readonly Buffer[]): boolean {
    const { socket } = this.#connection
    let isOpen = !socket.writableNeedDrain
    socket.cork()
    for (const piece of pieces) isOpen = socket.write(piece)
    socket.uncork()
    return isOpen
  }

  // RFC 9110 6.5.1: trailers only to who said that it takes them, and never the names that frame, route or authenticate.
  #carried(trailers: HeaderList): HeaderList {
    if (trailers.length === 0) return trailers
    return takesTrailers(this.head.headers) ? trailers.filter(([name]) => !isForbiddenTrailer(name)) : []
  }

  #done(mayContinue: boolean): void {
    this.#state = 'done'
    this.#answer = undefined
    this.#abandon = undefined
    this.#connection.responseDone(mayContinue)
  }
}

/** Tells whether a request asks for its connection to end after the answer (RFC 9112 9.3). */
function asksToClose(head: ReceivedRequestHead): boolean {
  if (head.minor === 0) return true // 1.0 callers get one exchange a connection: keep-alive there is a guess
  return headerValues(head.headers, 'connection').some(value =>
    value.split(',').some(option => option.trim().toLowerCase() === 'close'),
  )
}

function refusalOf(found: FoundBody): CloakroomError | undefined {
  switch (found.kind) {
    case 'body':
      return undefined
    case 'refused':
      return refusalError(found.refusal, '')
    case 'timeout':
      return new CloakroomError('REQUEST_TIMEOUT', { phase: 'head' })
  }
}
