/**
 * What a caller's HTTP/1.1 connection is given by the listener that made it.
 */
import type { Duplex } from 'node:stream'
import type { Clock, Milliseconds } from '../base/clock.ts'
import type { Bytes } from '../base/size.ts'
import type { HeadLimits } from '../http1/head.ts'
import type { ConnectionFacts, Inbound } from './inbound.ts'

export type Http1Limits = {
  readonly head: HeadLimits
  /** From the first byte of a head to its last (threat-model.md G1). */
  readonly headTimeout: Milliseconds
  /** Between two requests. */
  readonly keepAlive: Milliseconds
  /** Bytes a second that an upload must keep up, averaged over ten seconds; 0: none (rulings.md 6). */
  readonly minUploadRate: Bytes
}

/** The connection as its requests and who serves them see it. */
export interface CallerConnection {
  readonly socket: Duplex
  readonly options: Http1Options
  readonly isDraining: boolean
  /** False while bytes of the request's body are still to come that nobody will read. */
  readonly isRequestRead: boolean
  /** Gives the socket away, for a tunnel, with the bytes that were read ahead. */
  detach(): { readonly socket: Duplex; readonly rest: Buffer }
  reset(): void
  /** Called by the request when its answer has been given to the socket. */
  responseDone(mayContinue: boolean): void
}

export type Http1Options = {
  readonly clock: Clock
  readonly limits: Http1Limits
  readonly facts: ConnectionFacts
  /** Carries one request; must answer or reset it, and must not throw. */
  readonly serve: (inbound: Inbound, connection: CallerConnection) => Promise<void>
  /** Ends the transport with a reset: where the close ends a body, an orderly close would make half an answer look whole. */
  readonly resetTransport?: () => void
}
