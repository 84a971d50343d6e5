/**
 * What an exchange needs of the rest of the house, as the types that cross the border; app/data-path.ts gives it.
 */
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { HeadLimits } from '../http1/head.ts'
import type { Caller, Identified, Presented } from '../model/caller.ts'
import type { Ask, ConnectionDecision, Decision, Permit } from '../model/decision.ts'
import type { AuditTrail, ExchangeObserver } from '../model/exchange.ts'
import type { SecretInfo, SecretValue } from '../model/secret.ts'
import type { Target } from '../model/target.ts'
import type { Lease } from './forward.ts'
import type { HaltSwitch } from './halt.ts'
import type { Inbound } from './inbound.ts'
import type { CallerPlaces, GuessBudget, RuleLimiter } from './limits.ts'
import type { Live } from './live.ts'

/** One secret, opened for one exchange, which disposes of it. */
export type OpenedSecret = {
  readonly value: SecretValue
  readonly placeholder: string
  readonly shape: string
  readonly stale?: true
}

/** The policy of one exchange: a snapshot that a reload does not change. */
export interface PolicySnapshot {
  readonly hash: string
  identify(presented: Presented): Identified
  decide(ask: Ask): Decision
  /** What to do with a tunnel, before any inner request. */
  connection(caller: Caller, target: Target): ConnectionDecision
}

/** What the exchange needs of the rest of the house; app.ts gives it. */
export type ExchangeDeps = {
  readonly clock: Clock
  readonly log: Log
  /** @throws POLICY_NOT_LOADED */
  readonly policy: () => PolicySnapshot
  /** Who is shown behind a request, for every request anew. @throws IDENTITY_* */
  readonly presented: (inbound: Inbound) => Presented
  readonly secrets: {
    locate(placeholders: readonly string[]): Promise<readonly (SecretInfo | undefined)[]>
    resolve(permit: Permit, signal: AbortSignal): Promise<ReadonlyMap<string, OpenedSecret>>
  }
  readonly fingerprint: (value: SecretValue) => string
  readonly audit: AuditTrail
  /** A connection to the target that nobody of another key has used or will use (threat-model.md A11). */
  readonly acquire: (wish: { key: string; target: Target; signal: AbortSignal }) => Promise<Lease>
  readonly observe: ExchangeObserver
  readonly live: Live
  readonly halt: HaltSwitch
  readonly limiter: RuleLimiter
  /** Requests in flight, of all callers and of each. */
  readonly places: CallerPlaces
  readonly guesses: GuessBudget
  readonly limits: ExchangeLimits
}

export type ExchangeLimits = {
  readonly responseHead: HeadLimits
  readonly upstreamHead: number
  readonly idle: number
}
