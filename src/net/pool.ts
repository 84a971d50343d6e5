/**
 * Connections to upstreams that are kept for the next exchange of the same tenant, rule and target.
 *
 * Rules of this file: a connection never leaves its key (threat-model.md A11: neither sockets nor TLS sessions are shared between
 * tenants or rules); one that receives anything while nobody asked, or that is not clean when it is given back, is destroyed.
 */
import type { Duplex } from 'node:stream'
import { SizedCache } from '../base/cache.ts'
import { type Clock, hours, type Milliseconds, seconds, type Timer } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { mib } from '../base/size.ts'
import type { Target } from '../model/target.ts'
import type { Dialer } from './dial.ts'

const MAX_IDLE = 512
const IDLE_TIMEOUT = seconds(4) // shorter than any common upstream's, so that it is we who close (undici's choice)
const SESSION_BYTES = mib(32) // about 3 KB a session: more than 10,000 keys (rulings.md 27)
const SESSION_LIFETIME = hours(1) // a resumed session is not verified again, so a certificate is at least this often

/** Why a connection that could have been reused was not. */
export const DISCARDS = [
  'unclean',
  'idle_bytes',
  'idle_closed',
  'idle_timeout',
  'over_limit',
  'closed',
] as const
export type Discard = (typeof DISCARDS)[number]

export type PoolOptions = {
  readonly dialer: Dialer
  readonly clock: Clock
  /** Of all keys together; the least recently used goes first. */
  readonly maxIdle?: number
  readonly idleTimeout?: Milliseconds
  /** False: every exchange has a connection of its own; TLS sessions are still resumed within a key. */
  readonly reuse?: boolean
  readonly onDiscard?: (why: Discard) => void
}

export type Wish = {
  /** Names tenant, rule and target: whoever has the same key may get the same connection. */
  readonly key: string
  readonly target: Target
  readonly signal: AbortSignal
  /** True: never one that was used before; for the one retry that rulings.md 6 allows. */
  readonly fresh?: boolean
}

/** A connection for one exchange. Exactly one of `release` and `destroy` ends it; what comes after does nothing. */
export type Lease = {
  readonly socket: Duplex
  readonly reused: boolean
  /** Gives it back after a whole exchange, with all listeners taken off and nothing unread. */
  release(): void
  destroy(cause?: unknown): void
}

export type PoolStats = { readonly idle: number; readonly leased: number }

export type Pool = {
  /** @throws what Dialer throws; SIDECAR_DRAINING after closeAll. */
  acquire(wish: Wish): Promise<Lease>
  stats(): PoolStats
  /** Ends idle connections, and those now leased once their exchange is over; their TLS sessions are forgotten. */
  closeIdle(matches: (key: string) => boolean): void
  /** Ends all that is idle and keeps nothing from now on; exchanges under way go on. */
  closeAll(): void
}

type Connection = { readonly key: string; readonly socket: Duplex; mayReturn: boolean }
type Idle = { readonly connection: Connection; readonly timer: Timer; readonly unwatch: () => void }

export function createPool(options: PoolOptions): Pool {
  return new ConnectionPool(options)
}

class ConnectionPool implements Pool {
  readonly #options: PoolOptions
  /** By key, the most recently used last: it is the least likely to have been closed (LIFO). */
  readonly #stacks = new Map<string, Idle[]>()
  /** All that is idle, the least recently used first. */
  readonly #idle = new Set<Idle>()
  readonly #leased = new Set<Connection>()
  readonly #sessions = new SizedCache<{ session: Buffer; taken: Milliseconds }>(SESSION_BYTES)
  /** Rises when keys are closed: what a dial of before brings home is not kept. */
  #epoch = 0
  #isClosed = false

  constructor(options: PoolOptions) {
    this.#options = options
  }

  async acquire(wish: Wish): Promise<Lease> {
    if (this.#isClosed) throw new CloakroomError('SIDECAR_DRAINING', {})
    if (wish.signal.aborted) throw wish.signal.reason
    const idle = wish.fresh === true ? undefined : this.#takeIdle(wish.key)
    if (idle !== undefined) return this.#lease(idle, true)
    const epoch = this.#epoch
    const socket = await this.#dial(wish)
    return this.#lease({ key: wish.key, socket, mayReturn: epoch === this.#epoch }, false)
  }

  stats(): PoolStats {
    return { idle: this.#idle.size, leased: this.#leased.size }
  }

  closeIdle(matches: (key: string) => boolean): void {
    this.#epoch++
    for (const idle of this.#idle) if (matches(idle.connection.key)) this.#discard(idle, 'closed')
    for (const connection of this.#leased) if (matches(connection.key)) connection.mayReturn = false
    this.#sessions.clear() // sessions are cheap; which keys have one is not worth knowing
  }

  closeAll(): void {
    this.#isClosed = true
    this.closeIdle(() => true)
  }

  async #dial({ key, target, signal }: Wish): Promise<Duplex> {
    const { dialer } = this.#options
    if (target.scheme === 'http') return (await dialer.dialTcp(target, signal)).socket
    const now = this.#options.clock.monotonic()
    const kept = this.#sessions.get(key)
    // Not forgotten when used: many servers give no new ticket on a resumed connection, and who we are is no secret to them.
    const session = kept !== undefined && now - kept.taken < SESSION_LIFETIME ? kept.session : undefined
    const onSession = (fresh: Buffer) =>
      this.#sessions.set(key, { session: fresh, taken: now }, fresh.length + key.length)
    try {
      const dial = { signal, onSession, ...(session === undefined ? {} : { session }) }
      return (await dialer.dialTls(target, dial)).socket
    } catch (cause) {
      this.#sessions.delete(key)
      throw cause
    }
  }

  #lease(connection: Connection, reused: boolean): Lease {
    const { socket } = connection
    this.#leased.add(connection)
    // A connection that ends by itself is no longer leased, whatever its user does.
    const onClose = () => this.#leased.delete(connection)
    socket.once('close', onClose)
    let isOver = false
    const once = (end: () => void) => () => {
      if (isOver) return
      isOver = true
      socket.off('close', onClose)
      this.#leased.delete(connection)
      end()
    }
    return {
      socket,
      reused,
      release: once(() => this.#giveBack(connection)),
      destroy: once(() => void socket.destroy()),
    }
  }

  #giveBack(connection: Connection): void {
    const { maxIdle = MAX_IDLE, reuse = true } = this.#options
    if (!connection.mayReturn || this.#isClosed || !reuse) return void connection.socket.destroy()
    if (!isClean(connection.socket)) {
      connection.socket.destroy()
      return this.#options.onDiscard?.('unclean')
    }
    this.#keep(connection)
    for (const oldest of this.#idle) {
      if (this.#idle.size <= maxIdle) break
      this.#discard(oldest, 'over_limit')
    }
  }

  #keep(connection: Connection): void {
    const { clock, idleTimeout = IDLE_TIMEOUT } = this.#options
    const { key, socket } = connection
    // SECURITY: a byte that nobody asked for is the answer to the next request in waiting (A11, response-queue poisoning).
    const onBytes = () => this.#discard(idle, 'idle_bytes')
    const onClosed = () => this.#discard(idle, 'idle_closed')
    const idle: Idle = {
      connection,
      timer: clock.after(idleTimeout, () => this.#discard(idle, 'idle_timeout')),
      unwatch: () => socket.off('data', onBytes).off('end', onClosed).off('close', onClosed),
    }
    this.#idle.add(idle)
    const stack = this.#stacks.get(key)
    if (stack === undefined) this.#stacks.set(key, [idle])
    else stack.push(idle)
    socket.on('data', onBytes).on('end', onClosed).on('close', onClosed)
    socket.resume()
  }

  #takeIdle(key: string): Connection | undefined {
    for (;;) {
      const idle = this.#stacks.get(key)?.at(-1)
      if (idle === undefined) return undefined
      this.#forget(idle)
      idle.connection.socket.pause()
      if (isClean(idle.connection.socket)) return idle.connection
      idle.connection.socket.destroy()
      this.#options.onDiscard?.('unclean')
    }
  }

  #discard(idle: Idle, why: Discard): void {
    if (!this.#idle.has(idle)) return
    this.#forget(idle)
    idle.connection.socket.destroy()
    this.#options.onDiscard?.(why)
  }

  #forget(idle: Idle): void {
    const { key } = idle.connection
    idle.timer.cancel()
    idle.unwatch()
    this.#idle.delete(idle)
    const rest = (this.#stacks.get(key) ?? []).filter(other => other !== idle)
    if (rest.length === 0) this.#stacks.delete(key)
    else this.#stacks.set(key, rest)
  }
}

/** Nothing unread, nothing unsent, both directions open, and nobody else listens for bytes. */
function isClean(socket: Duplex): boolean {
  const isOpen = !socket.destroyed && socket.readable && socket.writable
  const isEmpty = socket.readableLength === 0 && socket.writableLength === 0
  return isOpen && isEmpty && socket.listenerCount('data') === 0 && socket.listenerCount('readable') === 0
}
