/**
 * Requests as people write them in policy tests and on the command line: `POST https://api.example.com/v1/items?x=1`.
 */
import type { Location } from '../model/decision.ts'
import { parseTarget, type Target } from '../model/target.ts'
import { isName, parseTenantId, type TenantId } from '../model/tenant.ts'
import { parseLocation } from './location.ts'

export type WrittenRequest = { readonly method: string; readonly target: Target; readonly path: string }

/** Reads `METHOD URL`; the path is "/" when absent, and is kept byte by byte. Undefined when malformed. */
export function parseRequestText(text: string): WrittenRequest | undefined {
  const match = /^([A-Z][A-Z-]*) +(https?:\/\/[^/?#\s]+)([/?]\S*)?$/.exec(text)
  const target = match?.[2] === undefined ? undefined : parseTarget(match[2])
  if (match?.[1] === undefined || target === undefined) return undefined
  const rest = match[3] ?? '/'
  return { method: match[1], target, path: rest.startsWith('/') ? rest : `/${rest}` }
}

export type WrittenSwap = { readonly tenant: TenantId; readonly name: string; readonly location: Location }

/** Reads `tenant/name in location`; a text instead says what is wrong with it. */
export function parseSwapText(text: string): WrittenSwap | string {
  const match = /^([^/\s]+)\/([^/\s]+) in (\S+)$/.exec(text)
  const tenant = parseTenantId(match?.[1] ?? '')
  const name = match?.[2] ?? ''
  if (tenant === undefined || !isName(name)) return 'must be "tenant/name in location"'
  const location = parseLocation(match?.[3] ?? '')
  return typeof location === 'string' ? location : { tenant, name, location }
}
