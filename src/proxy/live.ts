/**
 * What is open at this moment: exchanges and tunnels, so that a revocation, a halt or a drain can end them.
 *
 * Rule of this file: whatever holds a credential, or lets bytes pass, is in here from before its first byte to its last
 * (rulings.md 20).
 */
import type { Presented } from '../model/caller.ts'
import { formatSecretRef, type SecretRef } from '../model/secret.ts'
import type { Target } from '../model/target.ts'

/** One thing that is open. `cancel` ends it at once; it may be called more than once. */
export type Open = {
  kind: 'exchange' | 'tunnel'
  caller?: string
  /** What the caller was known by, to be judged anew when policy changes. */
  presented?: Presented
  tenant?: string
  /** formatTarget form. */
  target?: string
  /** Set for tunnels, which a new policy may no longer allow. */
  parsedTarget?: Target
  /** `tenant/name` of each secret whose credential it uses. */
  secrets: readonly string[]
  cancel(cause: unknown): void
}

export class Live {
  readonly #open = new Set<Open>()
  // Counted and not searched: this runs twice in every request, with thousands of tunnels open.
  readonly #counts: Record<Open['kind'], number> = { exchange: 0, tunnel: 0 }
  readonly #idle: (() => void)[] = []

  /** `open.kind` must not change until it is removed. */
  add(open: Open): void {
    if (this.#open.has(open)) return
    this.#open.add(open)
    this.#counts[open.kind]++
  }

  remove(open: Open): void {
    if (!this.#open.delete(open)) return
    this.#counts[open.kind]--
    if (this.#counts.exchange > 0) return
    for (const run of this.#idle.splice(0)) run()
  }

  count(kind: Open['kind']): number {
    return this.#counts[kind]
  }

  /** Ends everything that `matches`; returns how many there were. */
  cancel(matches: (open: Open) => boolean, cause: unknown): number {
    const chosen = [...this.#open].filter(matches)
    for (const open of chosen) open.cancel(cause)
    return chosen.length
  }

  /** Resolves when no exchange is under way; tunnels do not count. */
  whenIdle(): Promise<void> {
    if (this.count('exchange') === 0) return Promise.resolve()
    return new Promise(resolve => this.#idle.push(resolve))
  }
}

/** Tells whether something open uses a secret. */
export function uses(open: Open, secret: SecretRef): boolean {
  return open.secrets.includes(formatSecretRef(secret))
}
