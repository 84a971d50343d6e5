/**
 * The audit record as it lies on disk and travels: one JSON object a line, version 1.
 *
 * Rule of this file: names, ids, numbers and masked forms only (SECURITY I4, threat-model.md K4). Fields are added, never renamed
 * and never given another meaning; a reader ignores fields that it does not know. Members stand in the order of these types.
 */
import type { AuditFields, OutcomeKind } from './exchange.ts'

export const AUDIT_VERSION = 1

/** Events that the trail itself writes; `note` takes any other name. */
export const AUDIT_EVENTS = [
  'intent',
  'outcome',
  'refused',
  'checkpoint',
  'rotated',
  'audit.gap',
  'start',
  'stop',
] as const
export type AuditEventName = (typeof AUDIT_EVENTS)[number]

/** What every record has. `prev` is the hash of the record before, 64 zeros in the first of a chain. */
export type AuditFrame = {
  readonly v: typeof AUDIT_VERSION
  /** Counts from 1 without a hole; orders the records, which the wall clock does not (threat-model.md K6). */
  readonly seq: number
  /** RFC 3339, UTC; informational. */
  readonly time: string
  readonly instance: string
  readonly event: string
  readonly prev: string
  /** SHA-256, in hexadecimal, of this line's bytes without this member. */
  readonly hash: string
}

/** One swap as the record shows it: the reference, the masked placeholder, the place, a keyed hash of the value. */
export type AuditSwap = {
  readonly secret: string
  readonly version: number
  readonly placeholder: string
  readonly in: string
  readonly fingerprint: string
}

/** One placeholder of a refused request; `secret` where the caller may know it, `in` where one may stand. */
export type AuditRefused = { readonly secret?: string; readonly placeholder: string; readonly in?: string }

/** Who asked for what; members that are not known are absent. */
export type AuditSubject = {
  readonly request: string
  readonly caller?: string
  readonly tenant?: string
  readonly rule?: string
  readonly policy?: string
  readonly target?: string
  readonly method?: string
  readonly path?: string
  /** Names of query parameters, never values. */
  readonly query?: readonly string[]
  readonly swaps?: readonly AuditSwap[]
  /** Swaps that did not fit; an `intent` never has it: it is written as several records instead. */
  readonly swaps_more?: number
  /** A credential came from memory while the store could not be asked: it may have been revoked by then (rulings.md 20). */
  readonly stale?: true
  readonly trace?: string
}

/** Written down before a credential leaves (SECURITY I3). */
export type IntentEvent = AuditFrame & AuditSubject & { readonly event: 'intent' }

/** How an exchange ended; `unknown` closes an intent that a crash left open (threat-model.md K5). */
export type AuditOutcome = OutcomeKind | 'unknown'

export type OutcomeEvent = AuditFrame &
  AuditSubject & {
    /** `refused` where nothing was sent and no intent stands. */
    readonly event: 'outcome' | 'refused'
    readonly outcome: AuditOutcome
    readonly status?: number
    readonly error?: string
    readonly reason?: string
    /** The placeholders of a request that was refused for them: at most four. */
    readonly refused?: readonly AuditRefused[]
    readonly observed?: string
    readonly bytes?: { readonly upstream: number; readonly caller: number }
    readonly redactions?: number
    readonly duration_ms?: number
  }

/** Signs all records before it; `open` is the oldest record whose intent has no outcome yet, or its own `seq`. */
export type CheckpointEvent = AuditFrame & {
  readonly event: 'checkpoint'
  /** First 16 hexadecimal digits of SHA-256 over the public key's SPKI form. */
  readonly key: string
  readonly open: number
  /** Ed25519, base64url, over this line without `signature` and `hash`. */
  readonly signature: string
}

export type NotedEvent = AuditFrame & { readonly fields?: AuditFields }

export type AuditEvent = IntentEvent | OutcomeEvent | CheckpointEvent | NotedEvent
