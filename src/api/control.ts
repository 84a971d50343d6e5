/**
 * What the control path needs of a vault or of a running sidecar; app.ts gives it.
 *
 * Rules of this file: plain data in, plain data out, and no value of a secret ever comes back (threat-model.md M2).
 * The admin socket (server.ts) and a command line that holds the state lock itself use the same deps and the same table of
 * operations (rulings.md 19), so that nothing can be done on one way that the other would have refused or recorded.
 */
import type { Clock } from '../base/clock.ts'
import type { AuditFields } from '../model/exchange.ts'
import type { CompiledPolicy } from '../policy/compiled.ts'
import type { SecretAdmin } from '../secrets/store.ts'

export type ControlDeps = {
  readonly secrets: SecretAdmin
  readonly policy: PolicyControl
  /** Undefined when the command line acts itself: there is no sidecar to ask or to halt. */
  readonly sidecar: SidecarControl | undefined
  readonly clock: Clock
  /** Writes an administration event to the audit trail; resolves when it is durable. @throws AUDIT_UNAVAILABLE */
  note(event: string, fields: AuditFields): Promise<void>
}

export type PolicySummary = {
  /** `sha256:` and hexadecimal digits. */
  readonly hash: string
  readonly rules: number
  readonly callers: number
}

export interface PolicyControl {
  /** Absolute paths, in the order of the configuration. */
  readonly files: readonly string[]
  /** The policy in force. @throws POLICY_NOT_LOADED */
  current(): CompiledPolicy
  /** Reads the files again and puts them in force, at once, or keeps the last good policy. @throws POLICY_INVALID, POLICY_TESTS_FAILED */
  reload(): Promise<PolicySummary>
}

/** What `halt` stops. */
export type HaltScope =
  | { readonly kind: 'all' }
  | { readonly kind: 'tenant'; readonly tenant: string }
  /** `tenant/name`. */
  | { readonly kind: 'secret'; readonly secret: string }
  /** formatTarget form. */
  | { readonly kind: 'target'; readonly target: string }

export interface SidecarControl {
  status(): StatusReport
  /** In force when it returns, also with the store down (rulings.md 20); closes what runs in the scope. */
  halt(scope: HaltScope): void
  /** Tells whether such a halt was in force. */
  lift(scope: HaltScope): boolean
  halts(): readonly HaltScope[]
}

export type CheckReport = { readonly ok: boolean; readonly detail?: string }

export type StatusReport = {
  readonly version: string
  readonly node: string
  readonly pid: number
  readonly instance: string
  /** Milliseconds since 1970. */
  readonly startedAt: number
  readonly addresses: {
    readonly proxy: string
    readonly relay?: string
    readonly ops: string
    readonly admin: string
  }
  readonly policy: (PolicySummary & { readonly loadedAt: number }) | undefined
  /** Why the newest content of the policy files is not in force: the last good policy is. */
  readonly policyFault?: string
  /** The checks behind /readyz, by name. */
  readonly checks: Readonly<Record<string, CheckReport>>
  /** Gauges for people: connections, tunnels, inFlight … */
  readonly counts: Readonly<Record<string, number>>
  /** Milliseconds since 1970. */
  readonly caExpiresAt: number
}

/** Writes a scope as people read it: everything, tenant acme, secret acme/stripe, target https://…. */
export function formatHalt(scope: HaltScope): string {
  switch (scope.kind) {
    case 'all':
      return 'everything'
    case 'tenant':
      return `tenant ${scope.tenant}`
    case 'secret':
      return `secret ${scope.secret}`
    case 'target':
      return `target ${scope.target}`
  }
}
