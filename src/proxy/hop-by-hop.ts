/**
 * Headers that end at this hop, in both directions (RFC 9110 7.6.1).
 *
 * Order is part of the security model: these are taken off before a credential is put in, so that a caller that nominates
 * `Connection: Authorization` cannot take the credential off again (threat-model.md C10).
 */
import { CloakroomError } from '../base/errors.ts'
import { type HeaderList, headerValues, withoutHeaders } from '../model/message.ts'

const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]

// E1: decided anew from the framing; Host from the one canonical authority (A1).
const REQUEST_ONLY = ['content-length', 'host', 'expect']

// D10, D11: what would lead the caller past us, or speaks in our name.
const RESPONSE_ONLY = ['alt-svc']

// What may not be nominated for removal: framing, routing, authentication (C10).
const SENSITIVE = new Set([
  'host',
  'content-length',
  'content-type',
  'content-encoding',
  'authorization',
  'cookie',
  'cookie2',
  'date',
  'range',
])

// E6, acceptance.md 51: what proxies say to their neighbours, and what only we may say.
const OURS = /^(?:proxy|cloakroom)-/i

const REQUEST_NAMES = new Set([...HOP_BY_HOP, ...REQUEST_ONLY])
const RESPONSE_NAMES = new Set([...HOP_BY_HOP, ...RESPONSE_ONLY])

/** Names that Connection nominates, in lower case. @throws REQUEST_MALFORMED when it nominates one that must stay */
export function nominated(headers: HeaderList): ReadonlySet<string> {
  const names = connectionOptions(headers)
  for (const name of names) {
    if (SENSITIVE.has(name) || name.startsWith('cloakroom-'))
      throw new CloakroomError('REQUEST_MALFORMED', { what: 'Connection names a header that must stay' })
  }
  return names
}

/** Tells whether who sent these headers takes trailers in the answer (RFC 9110 10.1.4). */
export function takesTrailers(headers: HeaderList): boolean {
  return headerValues(headers, 'te').some(value => /(?:^|,)\s*trailers\s*(?:$|[,;])/i.test(value))
}

/** The request's headers that go on to the upstream. `TE: trailers` goes on, as trailers do. */
export function stripRequest(headers: HeaderList): HeaderList {
  const kept = strip(headers, REQUEST_NAMES, nominated(headers))
  return takesTrailers(headers) ? [...kept, ['TE', 'trailers']] : kept
}

/** The response's headers that go on to the caller; ours are ours alone (acceptance.md 51). HEAD and 304 keep their length. */
export function stripResponse(headers: HeaderList): HeaderList {
  return strip(headers, RESPONSE_NAMES, connectionOptions(headers))
}

function strip(headers: HeaderList, names: ReadonlySet<string>, also: ReadonlySet<string>): HeaderList {
  const kept = withoutHeaders(headers, also.size === 0 ? names : new Set([...names, ...also]))
  return kept.filter(([name]) => !OURS.test(name))
}

function connectionOptions(headers: HeaderList): ReadonlySet<string> {
  const values = headerValues(headers, 'connection')
  if (values.length === 0) return NONE
  return new Set(values.flatMap(value => value.split(',')).map(name => name.trim().toLowerCase()))
}

const NONE: ReadonlySet<string> = new Set()
