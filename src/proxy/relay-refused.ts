/**
 * A request that the relay refuses itself, through the same exchange: with a record and an answer like all others (SECURITY I8).
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '../base/clock.ts'
import type { CloakroomError } from '../base/errors.ts'
import type { ReceivedRequestHead } from '../http1/head.ts'
import type { Presented } from '../model/caller.ts'
import { type BodySource, EMPTY_BODY, type ResponseHead } from '../model/message.ts'
import type { Inbound } from './inbound.ts'

/** Node's two halves of one exchange. */
export type Pair = { readonly request: IncomingMessage; readonly response: ServerResponse }

export type Refusal = {
  readonly head: ReceivedRequestHead
  readonly presented: Presented
  readonly error: CloakroomError
}

export class RefusedAtRelay implements Inbound {
  readonly facts: Inbound['facts']
  readonly head: ReceivedRequestHead
  readonly refused: CloakroomError
  readonly body: BodySource = EMPTY_BODY
  readonly startedAt: number
  readonly bytesSent = 0
  readonly #response: ServerResponse

  constructor(response: ServerResponse, refusal: Refusal, clock: Clock) {
    this.#response = response
    this.facts = { entrance: 'relay', presented: refusal.presented }
    this.head = refusal.head
    this.refused = refusal.error
    this.startedAt = clock.monotonic()
  }

  get hasResponded(): boolean {
    return this.#response.headersSent
  }

  onGone(): void {
    return // it is answered in this turn of the event loop
  }

  inform(): void {
    return
  }

  async respond(head: ResponseHead, body: BodySource): Promise<void> {
    const response = this.#response
    response.writeHead(head.status, head.reason, [...head.headers, ['Connection', 'close'] as const].flat())
    body.start({
      write: chunk => response.write(chunk),
      end: () => response.end(),
      fail: () => response.destroy(),
    })
  }

  reset(): void {
    this.#response.destroy()
  }
}
