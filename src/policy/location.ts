/**
 * Locations as policy writes them: header.authorization, basic.user, query.key, path.
 *
 * Rule of this file: a word that is not known is a fault with a reason, never a location that matches nothing.
 */
import { formatLocation, type Location } from '../model/decision.ts'

const LATER = /^(?:body(?:\.|$)|websocket\.)/

// Where a placeholder can never be swapped: routing, framing, hop-by-hop, and what is ours (C1).
const NEVER_HEADERS: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'content-encoding',
  'content-type',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'upgrade',
  'expect',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-connection',
  'via',
  'forwarded',
]) // prettier-ignore

/** Reads a location; a text instead says what is wrong with it. */
export function parseLocation(text: string): Location | string {
  if (LATER.test(text)) return 'this location is not supported by this version'
  if (text === 'path') return { in: 'path' }
  if (text === 'basic.user' || text === 'basic.password') {
    return { in: 'basic', part: text === 'basic.user' ? 'user' : 'password' }
  }
  if (text.startsWith('header.')) return headerLocation(text.slice('header.'.length))
  const query = /^query\.([\x21-\x7e]{1,128})$/.exec(text)?.[1]
  if (query !== undefined) return { in: 'query', name: query }
  return 'unknown location: known are header.NAME, basic.user, basic.password, query.NAME and path'
}

function headerLocation(written: string): Location | string {
  const name = written.toLowerCase()
  if (!/^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$/.test(name)) return 'this is not a header name'
  if (NEVER_HEADERS.has(name) || name.startsWith('cloakroom-'))
    return 'a secret can never stand in this header'
  return { in: 'header', name }
}

/** The key under which clauses keep a location. */
export function locationKey(location: Location): string {
  return formatLocation(location)
}
