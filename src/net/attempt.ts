/**
 * One TCP connection to the first of several addresses that accepts (RFC 8305, simplified).
 *
 * Rule of this file: it dials IP addresses as given, never names: what was checked is what is dialled (SECURITY I5). All
 * attempts but the winner are destroyed on every path.
 */
import { connect, type Socket } from 'node:net'
import { type Clock, type Milliseconds, seconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { formatTarget, type Target } from '../model/target.ts'
import type { Endpoint } from './address.ts'
import { errorFrom } from './failure.ts'

const STAGGER: Milliseconds = 250 // RFC 8305 5: the recommended connection attempt delay
const MAX_ATTEMPTS = 8
const KEEP_ALIVE_DELAY = seconds(60) // below the idle limits of common NAT gateways (AWS: 350 s)

export type AttemptOptions = {
  readonly target: Target
  readonly clock: Clock
  /** For all addresses together. */
  readonly timeout: Milliseconds
  readonly signal: AbortSignal
}

export type Attempted<E extends Endpoint> = { readonly socket: Socket; readonly endpoint: E }

/**
 * Connects to the first endpoint that accepts; a new attempt starts when one fails, or after 250 ms.
 *
 * @throws UPSTREAM_REFUSED, UPSTREAM_UNREACHABLE, UPSTREAM_CLOSED of the first that failed; UPSTREAM_CONNECT_TIMEOUT; the
 * signal's reason.
 */
export function connectFirst<E extends Endpoint>(
  endpoints: readonly E[],
  options: AttemptOptions,
): Promise<Attempted<E>> {
  return new Promise((resolve, reject) => new Race(endpoints, options, resolve, reject).start())
}

class Race<E extends Endpoint> {
  readonly #waiting: E[]
  readonly #options: AttemptOptions
  readonly #resolve: (won: Attempted<E>) => void
  readonly #reject: (cause: unknown) => void
  readonly #running = new Set<Socket>()
  readonly #timers: { cancel(): void }[] = []
  #firstFailure: unknown
  #isOver = false

  constructor(
    endpoints: readonly E[],
    options: AttemptOptions,
    resolve: (won: Attempted<E>) => void,
    reject: (cause: unknown) => void,
  ) {
    this.#waiting = endpoints.slice(0, MAX_ATTEMPTS)
    this.#options = options
    this.#resolve = resolve
    this.#reject = reject
  }

  start(): void {
    const { clock, signal, target, timeout: waited } = this.#options
    if (signal.aborted) return this.#lose(signal.reason)
    signal.addEventListener('abort', this.#onAbort, { once: true })
    const tooLate = () =>
      this.#lose(new CloakroomError('UPSTREAM_CONNECT_TIMEOUT', { target: formatTarget(target), waited }))
    this.#timers.push(clock.after(waited, tooLate))
    this.#next()
  }

  #next(): void {
    const endpoint = this.#waiting.shift()
    if (this.#isOver || endpoint === undefined) return
    if (this.#waiting.length > 0) this.#timers.push(this.#options.clock.after(STAGGER, () => this.#next()))
    try {
      this.#attempt(endpoint)
    } catch (cause) {
      this.#failed(cause) // a port or address that Node dislikes throws at once
    }
  }

  #attempt(endpoint: E): void {
    const socket = connect({
      host: endpoint.address,
      port: endpoint.port,
      noDelay: true,
      allowHalfOpen: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_DELAY,
    })
    this.#running.add(socket)
    socket.once('connect', () => {
      this.#running.delete(socket)
      if (this.#isOver) return void socket.destroy()
      this.#end()
      this.#resolve({ socket, endpoint })
    })
    // Stays for the life of the socket: whoever uses it learns of its end by `close`, and nothing ends the process.
    socket.on('error', cause => {
      if (this.#running.delete(socket)) this.#failed(cause)
    })
  }

  #failed(cause: unknown): void {
    this.#firstFailure ??= cause
    if (this.#waiting.length > 0) this.#next()
    else if (this.#running.size === 0) this.#lose(errorFrom(this.#firstFailure, this.#options.target, 'tcp'))
  }

  readonly #onAbort = (): void => this.#lose(this.#options.signal.reason)

  #lose(cause: unknown): void {
    if (this.#isOver) return
    this.#end()
    this.#reject(cause)
  }

  #end(): void {
    this.#isOver = true
    this.#options.signal.removeEventListener('abort', this.#onAbort)
    for (const timer of this.#timers) timer.cancel()
    for (const socket of this.#running) socket.destroy()
    this.#running.clear()
  }
}
