/**
 * The operator's switch: everything, a tenant, a secret or a target is stopped at once, here, also with the store down
 * (rulings.md 20).
 */
import { CloakroomError } from '../base/errors.ts'
import type { Live, Open } from './live.ts'

/** The same shape as the admin API's, which stands above and is passed in. */
export type Halt =
  | { readonly kind: 'all' }
  | { readonly kind: 'tenant'; readonly tenant: string }
  | { readonly kind: 'secret'; readonly secret: string }
  | { readonly kind: 'target'; readonly target: string }

/** What a halt is compared with: an open thing, or a request that is about to become one. */
export type HaltSubject = Pick<Open, 'tenant' | 'target' | 'secrets'>

export class HaltSwitch {
  readonly #halts = new Map<string, Halt>()
  readonly #live: Live

  constructor(live: Live) {
    this.#live = live
  }

  /** In force when it returns: what runs in its scope is ended, what comes is refused. */
  halt(halt: Halt): void {
    this.#halts.set(keyOf(halt), halt)
    this.#live.cancel(open => covers(halt, open), new CloakroomError('SIDECAR_HALTED', {}))
  }

  /** Tells whether such a halt was in force. */
  lift(halt: Halt): boolean {
    return this.#halts.delete(keyOf(halt))
  }

  list(): readonly Halt[] {
    return [...this.#halts.values()]
  }

  /** @throws SIDECAR_HALTED */
  check(subject: HaltSubject): void {
    if (this.#halts.size === 0) return
    for (const halt of this.#halts.values()) {
      if (covers(halt, subject)) throw new CloakroomError('SIDECAR_HALTED', {})
    }
  }
}

function keyOf(halt: Halt): string {
  return JSON.stringify(halt, ['kind', 'tenant', 'secret', 'target'])
}

function covers(halt: Halt, subject: HaltSubject): boolean {
  switch (halt.kind) {
    case 'all':
      return true
    case 'tenant':
      return subject.tenant === halt.tenant
    case 'secret':
      return subject.secrets.includes(halt.secret)
    case 'target':
      return subject.target === halt.target
  }
}
