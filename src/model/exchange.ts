/**
 * What audit, metrics and the log read of one exchange.
 *
 * Rule of this file: names, ids, numbers and masked forms only; nothing here may hold a value, a full placeholder, a header
 * value, a body or a query value (SECURITY I4). One exchange, one record, one end (SECURITY I8).
 */
import type { ErrorCode, ErrorSource } from '../base/errors.ts'
import type { LocationKind, Reason } from './decision.ts'

/** How the request reached us. */
export const ENTRANCES = ['connect', 'absolute', 'relay', 'tunnel'] as const
export type Entrance = (typeof ENTRANCES)[number]

export type SwapRecord = {
  /** `tenant/name`. */
  readonly secret: string
  readonly version: number
  /** Masked: `xclk_r…` and the last four characters. */
  readonly placeholder: string
  /** As policy writes it: header.authorization, query.key … */
  readonly in: string
  readonly locationKind: LocationKind
  /** `hmac:` and 32 hexadecimal digits: a keyed hash of the value, so that "was this used?" can be asked. */
  readonly fingerprint: string
  /** The store could not be asked whether it still may be used (rulings.md 20). */
  readonly stale?: true
}

/** A placeholder of a request that was refused for what its placeholders are. */
export type RefusedPlaceholder = {
  /** `tenant/name`; absent when the store knows none, or the caller may not act for its tenant. */
  readonly secret?: string
  /** Masked, as in SwapRecord; `…` for one that is damaged. */
  readonly placeholder: string
  /** As policy writes it; absent where no placeholder may ever stand. */
  readonly in?: string
}

/**
 * How an exchange ended.
 *
 * allowed: the upstream's answer was passed on whole. denied: policy, identity or validation said no; nothing was sent.
 * upstream_error: the upstream failed. proxy_error: we failed. client_abort: the caller went away.
 */
export const OUTCOMES = ['allowed', 'denied', 'upstream_error', 'proxy_error', 'client_abort'] as const
export type OutcomeKind = (typeof OUTCOMES)[number]

export type Outcome = {
  readonly kind: OutcomeKind
  /** Status that the caller was answered with; undefined when there was no answer. */
  readonly status?: number
  readonly error?: ErrorCode
  readonly source?: ErrorSource
  readonly reason?: Reason
}

/** Milliseconds spent by us in each phase; waiting for the upstream and for bodies is not in them. */
export type PhaseTimes = { policy: number; secret: number; swap_request: number; audit: number }

/** Filled by proxy/exchange.ts as the exchange goes on; everybody else only reads it. */
export type ExchangeRecord = {
  /** ULID; in Cloakroom-Request-Id and in the audit record. */
  readonly request: string
  /** Wall clock, milliseconds since 1970. */
  readonly time: number
  entrance: Entrance
  caller?: string
  tenant?: string
  rule?: string
  /** Hash of the policy snapshot that this exchange is pinned to. */
  policy?: string
  /** formatTarget form. */
  target?: string
  method?: string
  /** Without the query; masked where a swap happened in the path. */
  path?: string
  /** Names of query parameters; never values. */
  queryKeys?: readonly string[]
  /** W3C trace id of the request's traceparent, when it is well-formed. */
  trace?: string
  swaps: readonly SwapRecord[]
  /** What the request held, where policy refused it for that. */
  refused?: readonly RefusedPlaceholder[]
  /** Set when a rule in observe mode let through what it would have denied. */
  observed?: Reason
  /** True from the moment that the first byte of the request may have been written to the upstream. */
  sent: boolean
  /** True when an intent record has been made durable. */
  intended: boolean
  bytesToUpstream: number
  bytesToCaller: number
  /** How often a credential was replaced by its placeholder in the answer. */
  redactions: number
  /** Milliseconds, monotonic: the whole exchange; to the upstream's head; of ours, by phase. */
  duration?: number
  timeToHead?: number
  upstreamDuration?: number
  phases: PhaseTimes
  outcome?: Outcome
}

/** Who wants to know that an exchange ended. Must not throw and must not keep the record. */
export type ExchangeObserver = (record: Readonly<ExchangeRecord>) => void

/** The exchange's view of the audit trail (SECURITY I3). */
export interface AuditTrail {
  /**
   * Writes the intent record down before a credential leaves; resolves when it is as durable as configured.
   *
   * A record without swaps is not written, but the call fails all the same when the trail cannot be written.
   *
   * @throws AUDIT_UNAVAILABLE after at most two seconds.
   */
  intend(record: Readonly<ExchangeRecord>): Promise<void>
  /** Writes the outcome, or `refused` where nothing was sent. Never throws; a failure stops later intents. */
  conclude(record: Readonly<ExchangeRecord>): Promise<void>
  /** Writes an event of administration, policy, keys, start or stop. @throws AUDIT_UNAVAILABLE */
  note(event: string, fields: AuditFields): Promise<void>
}

/** Fields of an administration event: names, ids and numbers only. */
export type AuditFields = {
  readonly [field: string]: string | number | boolean | readonly string[] | undefined
}
