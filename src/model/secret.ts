/**
 * Secrets: what the store keeps, how it is named, and the one type that holds a value.
 *
 * Rule of this file: a SecretValue cannot be printed, serialised or cloned into anything that shows its bytes (SECURITY I4).
 * Its bytes are read inside `use` only, and only in the folders that test/architecture.test.ts lists.
 */
import { inspect } from 'node:util'
import type { TenantId } from './tenant.ts'

export type SecretRef = { readonly tenant: TenantId; readonly name: string; readonly version?: number }

export const SECRET_STATES = ['active', 'disabled', 'revoked'] as const
export type SecretState = (typeof SECRET_STATES)[number]

/** What may be known of a secret without opening it. Times are milliseconds since 1970. */
export type SecretInfo = {
  readonly ref: SecretRef & { readonly version: number }
  /** Where it may ever be sent: sealed with it, in the form of formatTarget, sorted (rulings.md 17). */
  readonly targets: readonly string[]
  readonly state: SecretState
  readonly notBefore?: number
  readonly expiresAt?: number
}

/** `tenant/name`, as people and policies write it. */
export function formatSecretRef(ref: SecretRef): string {
  return `${ref.tenant}/${ref.name}`
}

const MASK = '[secret]'

/**
 * The bytes of one opened secret, in memory of their own.
 *
 * Opened for one exchange, which disposes of it (rulings.md 4). Prints as [secret] in templates, JSON, inspect and %o.
 */
export class SecretValue {
  #bytes: Buffer

  /** Takes `bytes` over: they must not be part of Node's shared pool, and nobody else may keep them. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  use<T>(read: (bytes: Buffer) => T): T {
    return read(this.#bytes)
  }

  /** Overwrites the bytes with zeros; the value is empty afterwards. */
  dispose(): void {
    this.#bytes.fill(0)
    this.#bytes = Buffer.alloc(0)
  }

  toString(): string {
    return MASK
  }

  toJSON(): string {
    return MASK
  }

  [inspect.custom](): string {
    return MASK
  }
}
