/**
 * Tenants: the wall between customers.
 *
 * Rule of this file: a TenantId is made by parseTenantId only, so that no raw text of a request is taken for one.
 */

export type TenantId = string & { readonly __brand: 'TenantId' }

// The grammar of every name that people give: tenants, secrets, callers, rules (rulings.md 30).
const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/

/** Tells whether `text` is a name: a-z 0-9 . _ -, starting with a letter or digit, at most 63 characters. */
export function isName(text: string): boolean {
  return NAME.test(text)
}

export function parseTenantId(text: string): TenantId | undefined {
  return isName(text) ? (text as TenantId) : undefined
}
