/**
 * Callers: the authenticated programs that use the proxy.
 */
import type { TenantId } from './tenant.ts'

export const IDENTIFIERS = ['proxyAuthorization', 'loopback'] as const
export type IdentifierName = (typeof IDENTIFIERS)[number]

/** `tenants` is what policy lets the caller act for: every tenant, or those listed. */
export type Caller = {
  readonly id: string
  readonly tenants: '*' | readonly TenantId[]
  readonly via: IdentifierName
}

/** What a connection or a request shows of its sender; kept for a tunnel, so that each inner request is checked anew. */
export type Presented = {
  /** The peer's address is a loopback one, or the connection came over a unix socket. */
  readonly isLoopback: boolean
  /** From Proxy-Authorization (or Cloakroom-Authorization on the relay): undefined when there was none. */
  readonly authorization?: PresentedAuthorization
}

/** `malformed` stands for a header that is there and cannot be read: it is refused, never passed over (rulings.md 12). */
export type PresentedAuthorization =
  | { readonly kind: 'malformed' }
  | {
      readonly kind: 'password'
      readonly callerId: string
      readonly tenant?: TenantId
      /** SHA-256 of the password's bytes; the password itself is not kept. */
      readonly passwordHash: Buffer
    }

export type Identified =
  | { readonly kind: 'caller'; readonly caller: Caller; readonly tenant?: TenantId }
  | { readonly kind: 'none' }
  | { readonly kind: 'rejected' }
