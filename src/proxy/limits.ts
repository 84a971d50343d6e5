/**
 * Limits on what callers and rules may use: rates, counts at one time, and refused placeholders.
 *
 * Rule of this file: every table here is bounded by what policy names, never by what the network sends (threat-model.md G4), and
 * what is taken is given back exactly once.
 */
import type { Clock } from '../base/clock.ts'
import { minutes } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Permit } from '../model/decision.ts'

/** A bucket of permissions that fills at a steady rate. */
class Bucket {
  #level: number
  #at: number
  readonly #rate: number
  readonly #size: number

  constructor(rate: number, size: number, now: number) {
    this.#rate = rate
    this.#size = size
    this.#level = size
    this.#at = now
  }

  /** Takes one; otherwise tells in how many seconds there will be one. */
  take(now: number): number {
    this.#fill(now)
    if (this.#level >= 1) {
      this.#level--
      return 0
    }
    return (1 - this.#level) / this.#rate
  }

  isEmpty(now: number): boolean {
    this.#fill(now)
    return this.#level < 1
  }

  isFull(now: number): boolean {
    this.#fill(now)
    return this.#level >= this.#size
  }

  #fill(now: number): void {
    this.#level = Math.min(this.#size, this.#level + ((now - this.#at) / 1000) * this.#rate)
    this.#at = now
  }
}

type Usage = { readonly bucket: Bucket | undefined; running: number }

const MAX_USAGES = 10_000

/**
 * Rate, burst and concurrency of rules, for each caller and tenant apart, so that none can use up another's share (I3).
 *
 * A tenant counts only where a placeholder of it was shown: a caller of all tenants could otherwise make up names, and with each
 * have the whole rate again.
 */
export class RuleLimiter {
  readonly #clock: Clock
  readonly #usages = new Map<string, Usage>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Takes a place; the returned function gives it back. @throws POLICY_RATE_LIMITED */
  take(permit: Permit, callerId: string): () => void {
    const { terms } = permit
    const limits = terms.limits
    if (limits === undefined) return nothing
    const usage = this.#usageOf(permit, callerId)
    const refuse = (retryAfter: number) =>
      new CloakroomError('POLICY_RATE_LIMITED', { rule: terms.rule, retryAfter })
    if (limits.concurrency !== undefined && usage.running >= limits.concurrency) throw refuse(1)
    const wait = usage.bucket?.take(this.#clock.monotonic()) ?? 0
    if (wait > 0) throw refuse(wait)
    usage.running++
    let isTaken = true
    return () => {
      if (isTaken) usage.running--
      isTaken = false
    }
  }

  #usageOf({ terms, tenant, swaps }: Permit, callerId: string): Usage {
    const proven = swaps.length > 0 ? (tenant ?? '') : ''
    const key = `${terms.rule}\n${callerId}\n${proven}`
    const known = this.#usages.get(key)
    if (known !== undefined) return known
    if (this.#usages.size >= MAX_USAGES) this.#forgetIdle()
    const { rate, burst } = terms.limits ?? {}
    const bucket = rate === undefined ? undefined : new Bucket(rate, burst ?? rate, this.#clock.monotonic())
    const usage: Usage = { bucket, running: 0 }
    this.#usages.set(key, usage)
    return usage
  }

  #forgetIdle(): void {
    const now = this.#clock.monotonic()
    for (const [key, usage] of this.#usages) {
      if (usage.running === 0 && (usage.bucket?.isFull(now) ?? true)) this.#usages.delete(key)
    }
  }

  /** Forgets all counts: rules with new limits start anew. Places that are taken are still given back. */
  reset(): void {
    this.#usages.clear()
  }
}

export type PlaceLimits = {
  /** What is counted, in the words of an error: tunnels, requests in flight. */
  readonly what: string
  /** Of all callers together; undefined: no limit of its own. */
  readonly total?: number
  readonly perCaller: number
}

/**
 * Places that callers hold at one time: tunnels, requests in flight (threat-model.md G4).
 *
 * A caller's own limit is below the total, so that no caller can use up what others need (I3). Caller ids come from policy, so
 * the table is bounded.
 */
export class CallerPlaces {
  readonly #limits: PlaceLimits
  readonly #open = new Map<string, number>()
  #total = 0

  constructor(limits: PlaceLimits) {
    this.#limits = limits
  }

  /** Takes a place; the returned function gives it back, once. @throws SIDECAR_OVERLOADED */
  take(callerId: string): () => void {
    const { what, total, perCaller } = this.#limits
    const open = this.#open.get(callerId) ?? 0
    if (open >= perCaller) throw new CloakroomError('SIDECAR_OVERLOADED', { what: `${what} of this caller` })
    if (total !== undefined && this.#total >= total) throw new CloakroomError('SIDECAR_OVERLOADED', { what })
    this.#open.set(callerId, open + 1)
    this.#total++
    let isTaken = true
    return () => {
      if (!isTaken) return
      isTaken = false
      this.#total--
      const left = (this.#open.get(callerId) ?? 1) - 1
      if (left > 0) this.#open.set(callerId, left)
      else this.#open.delete(callerId)
    }
  }
}

// threat-model.md C16: an honest caller has no placeholder refused; what is allowed leaves room for a bad deploy.
const GUESS_WINDOW = minutes(1)

/** One budget of refused placeholders for each caller (rulings.md 11). */
export class GuessBudget {
  readonly #clock: Clock
  readonly #guesses: number
  readonly #buckets = new Map<string, Bucket>()

  /** @param guesses - refused placeholders a minute. */
  constructor(clock: Clock, guesses: number) {
    this.#clock = clock
    this.#guesses = guesses
  }

  /** @throws SWAP_GUESSING when the caller has used its budget up */
  check(callerId: string): void {
    if (this.#buckets.get(callerId)?.isEmpty(this.#clock.monotonic()) === true)
      throw new CloakroomError('SWAP_GUESSING', {})
  }

  /** Counts a refused placeholder. Caller ids come from policy, so the table is bounded. */
  spend(callerId: string): void {
    const now = this.#clock.monotonic()
    const bucket =
      this.#buckets.get(callerId) ?? new Bucket(this.#guesses / (GUESS_WINDOW / 1000), this.#guesses, now)
    this.#buckets.set(callerId, bucket)
    bucket.take(now)
  }
}

function nothing(): void {
  return
}
