/**
 * The border between a protocol adapter and the exchange: one request as it came, and the ways to answer it.
 */
import type { CloakroomError } from '../base/errors.ts'
import type { ReceivedRequestHead } from '../http1/head.ts'
import type { Presented } from '../model/caller.ts'
import type { Entrance } from '../model/exchange.ts'
import type { BodySource, HeaderList, ResponseHead } from '../model/message.ts'
import type { Target } from '../model/target.ts'

/** What a connection is, for every request on it. */
export type ConnectionFacts = {
  readonly entrance: Entrance
  /** Undefined in the relay's private listener until the request's nonce has been read. */
  readonly presented: Presented
  /** The one canonical authority of a tunnel, taken from CONNECT (threat-model.md A1); undefined outside a tunnel. */
  readonly tunnel?: Target
}

/**
 * One request.
 *
 * `respond` and `fail` are called once, one of them. After the response has begun, `fail` resets the connection: it never
 * appends anything to what was sent.
 */
export interface Inbound {
  readonly facts: ConnectionFacts
  readonly head: ReceivedRequestHead
  /** Set when the bytes were no acceptable request; `head` is then empty. */
  readonly refused: CloakroomError | undefined
  readonly body: BodySource
  /** Monotonic milliseconds at which the head was complete. */
  readonly startedAt: number
  /** Bytes of the answer's body given to the socket so far. */
  readonly bytesSent: number
  /** Called once when the caller goes away before the answer is complete. */
  onGone(run: (cause: unknown) => void): void
  /** Passes an interim answer on (RFC 9110 15.2); ignored for HTTP/1.0. */
  inform(head: ResponseHead): void
  /** Sends the answer; resolves when its last byte has been given to the socket. @throws what the body fails with. */
  respond(head: ResponseHead, body: BodySource, options?: RespondOptions): Promise<void>
  /** Ends the connection without another byte. */
  reset(): void
  readonly hasResponded: boolean
}

export type RespondOptions = {
  /** Close the connection afterwards (misdirected requests, refusals before the body was read, drain). */
  readonly close?: boolean
  /** What the caller may be told after the body, besides what the source gives. */
  readonly trailers?: HeaderList
}
