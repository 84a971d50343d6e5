/**
 * Trailers: which names may never come after a body.
 *
 * Rule of this file: RFC 9110 6.5.1 forbids trailers that would change how the message is framed, routed, authenticated or
 * processed, because a reader that merges them into the head would act on them after policy has decided (rulings.md 6).
 */

const FORBIDDEN: ReadonlySet<string> = new Set([
  // Framing and hop-by-hop.
  ...['connection', 'content-length', 'http2-settings', 'keep-alive', 'te', 'trailer', 'transfer-encoding'],
  ...['upgrade', 'via'],
  // Routing.
  ...['alt-svc', 'forwarded', 'host', 'x-host', 'x-original-url', 'x-rewrite-url', 'location'],
  ...['x-http-method', 'x-http-method-override', 'x-method-override', 'x-real-ip'],
  // Authentication and cookies.
  ...['authorization', 'authentication-info', 'cookie', 'cookie2', 'set-cookie', 'set-cookie2'],
  ...['www-authenticate', 'x-api-key', 'x-auth-token'],
  // Request modifiers, response control, and how the body is read.
  ...['age', 'cache-control', 'date', 'expect', 'expires', 'max-forwards', 'pragma', 'range', 'retry-after'],
  ...['vary', 'warning', 'content-encoding', 'content-range', 'content-type', 'if-match', 'if-none-match'],
  ...['if-modified-since', 'if-unmodified-since', 'if-range'],
])

const FORBIDDEN_PREFIXES = ['cloakroom-', 'proxy-', 'x-forwarded-', 'sec-websocket-'] as const

/** Tells whether a trailer of this name is dropped instead of carried; `_` counts as `-` (threat-model.md E4). */
export function isForbiddenTrailer(name: string): boolean {
  const folded = name.toLowerCase().replaceAll('_', '-')
  return FORBIDDEN.has(folded) || FORBIDDEN_PREFIXES.some(prefix => folded.startsWith(prefix))
}
