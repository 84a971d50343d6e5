/**
 * Makes the head that is sent: strip, swap, sign, in this order.
 *
 * Rule of this file: nothing touches the head after signing (SECURITY I7), and what a caller may say about how it is routed or
 * read does not pass on a request that carries a credential.
 */
import { CloakroomError } from '../base/errors.ts'
import type { Permit } from '../model/decision.ts'
import type { HeaderList, OutboundHead, RequestHead } from '../model/message.ts'
import { formatHostHeader } from '../model/target.ts'
import { type OpenedSecretLike, type SentForm, swapHead } from '../swap/head.ts'
import { stripRequest } from './hop-by-hop.ts'
import { requestFramingHeaders } from './request-sender.ts'

/** What turns the method that policy saw into another at the upstream (threat-model.md B4): never forwarded. */
const METHOD_OVERRIDES = ['x-http-method-override', 'x-http-method', 'x-method-override']

/** What routes a request elsewhere after policy saw its target and path (A16). */
const ROUTE_OVERRIDES = [
  'forwarded',
  'x-forwarded-host',
  'x-host',
  'x-forwarded-server',
  'x-http-host-override',
  'x-original-url',
  'x-rewrite-url',
  'x-original-host',
]

/** What would let a credential come back in pieces, or in a form that redaction cannot read (D2). */
const READ_OVERRIDES = ['accept-encoding', 'range', 'if-range', 'a-im']

const ALWAYS_DROPPED = new Set(METHOD_OVERRIDES)
const DROPPED_WITH_CREDENTIAL = new Set([...METHOD_OVERRIDES, ...ROUTE_OVERRIDES])
const DROPPED_WITH_REDACTION = new Set([...DROPPED_WITH_CREDENTIAL, ...READ_OVERRIDES])

export type Armed = {
  readonly outbound: OutboundHead
  /** Texts besides the values that redaction must look for. */
  readonly forms: readonly SentForm[]
}

/**
 * Arms a request.
 *
 * @param bodyLength - of the request's body in bytes; undefined: unknown, sent chunked.
 * @param values - by placeholder, as secrets/resolve.ts gives them.
 * @throws SWAP_VALUE_UNFIT, SWAP_REFUSED
 */
export function arm(
  head: RequestHead,
  permit: Permit,
  values: ReadonlyMap<string, OpenedSecretLike>,
  bodyLength: number | undefined,
): Armed {
  const dropped = droppedNames(permit)
  const stripped = stripRequest(head.headers).filter(([name]) => !dropped.has(folded(name.toLowerCase())))
  refuseDoubles(stripped, permit)
  const headers: HeaderList = [
    ['Host', formatHostHeader(head.target)],
    ...stripped,
    ...(isRedacted(permit) ? [['Accept-Encoding', 'identity'] as const] : []),
    ...requestFramingHeaders(head.method, bodyLength),
  ]
  const swapped = swapHead({ ...head, headers }, permit.swaps, values)
  return { outbound: { armed: swapped.head }, forms: swapped.forms }
}

/** Tells whether the answer must be searched for the credential: wherever a swap happened, unless the rule says not. */
export function isRedacted(permit: Permit): boolean {
  return permit.swaps.length > 0 && permit.terms.redact
}

// E4: CGI and its heirs read X_Api_Key as X-Api-Key; the caller's own could then win over the credential, or stand beside it.
function refuseDoubles(headers: HeaderList, { swaps }: Permit): void {
  const swapped = swaps.flatMap(({ location }) => (location.in === 'header' ? [location.name] : []))
  const isDouble = (name: string) => swapped.some(own => own !== name && folded(own) === folded(name))
  if (headers.some(([name]) => isDouble(name.toLowerCase()))) throw new CloakroomError('SWAP_REFUSED', {})
}

function folded(name: string): string {
  return name.replaceAll('_', '-')
}

function droppedNames(permit: Permit): ReadonlySet<string> {
  if (isRedacted(permit)) return DROPPED_WITH_REDACTION
  return permit.swaps.length > 0 ? DROPPED_WITH_CREDENTIAL : ALWAYS_DROPPED
}
