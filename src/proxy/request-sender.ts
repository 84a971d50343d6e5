/**
 * Writes one armed request to an upstream: head, body, trailers.
 *
 * Rule of this file: what the head announced is what is sent, or the exchange fails; a byte too many would be read as the next
 * request (threat-model.md E1, C12). The head holds a credential and is overwritten as soon as the socket has taken it (N6).
 */
import type { Duplex } from 'node:stream'
import { BodyWriter } from '../http1/body-writer.ts'
import { type Framing, framingHeaders } from '../http1/framing.ts'
import { writeRequestHead } from '../http1/write.ts'
import { type BodySource, EMPTY_BODY, type HeaderList, type OutboundHead } from '../model/message.ts'

export type SenderEvents = {
  /** Called with the number of body bytes given to the socket, 0 at the end. */
  readonly onSent: (bytes: number) => void
  /** The body failed, or was not what its head announced. */
  readonly onFailure: (cause: unknown) => void
}

export class RequestSender {
  readonly #socket: Duplex
  readonly #events: SenderEvents
  #body: BodySource = EMPTY_BODY
  #state: 'sending' | 'sent' | 'stopped' = 'sending'

  constructor(socket: Duplex, events: SenderEvents) {
    this.#socket = socket
    this.#events = events
  }

  get isSent(): boolean {
    return this.#state === 'sent'
  }

  /** Writes the head and starts the body. */
  start(outbound: OutboundHead, body: BodySource): void {
    const { method, path, headers } = outbound.armed
    const socket = this.#socket
    const writer = new BodyWriter(requestFramingOf(body.length))
    const bytes = writeRequestHead(method, path, headers)
    socket.cork()
    process.nextTick(() => socket.uncork())
    socket.write(bytes, () => bytes.fill(0))
    this.#body = body
    body.start({
      write: chunk => this.#write(() => writer.frame(chunk), chunk.length),
      end: trailers => {
        if (this.#state !== 'sending') return
        this.#write(() => writer.end(trailers), 0)
        if (this.#state === 'sending') this.#state = 'sent'
      },
      fail: cause => {
        if (this.#state === 'sending') this.#events.onFailure(cause)
      },
    })
  }

  /** The socket takes bytes again. */
  drained(): void {
    if (this.#state === 'sending') this.#body.resume()
  }

  /** Writes nothing more; a body that has not ended is cancelled. */
  stop(cause: unknown): void {
    if (this.#state !== 'sending') return
    this.#state = 'stopped'
    this.#body.cancel(cause)
  }

  #write(frame: () => readonly Buffer[], length: number): boolean {
    if (this.#state !== 'sending') return false
    const socket = this.#socket
    let isOpen = !socket.writableNeedDrain
    socket.cork() // the pieces of a chunk in one packet and one TLS record
    try {
      for (const piece of frame()) isOpen = socket.write(piece)
    } catch (cause) {
      this.#events.onFailure(cause)
      return false
    } finally {
      socket.uncork()
    }
    this.#events.onSent(length)
    return isOpen
  }
}

/** Headers that say how the body is framed, for a head that is to be armed (threat-model.md E1, E9: for every method). */
export function requestFramingHeaders(method: string, length: number | undefined): HeaderList {
  const saysZero = method === 'POST' || method === 'PUT' || method === 'PATCH' // RFC 9110 8.6
  return length === 0 && saysZero ? [['Content-Length', '0']] : framingHeaders(requestFramingOf(length))
}

function requestFramingOf(length: number | undefined): Framing {
  if (length === undefined) return { kind: 'chunked' }
  return length === 0 ? { kind: 'none' } : { kind: 'length', length }
}
