/**
 * What of a request's head may be written down.
 *
 * Rule of this file: a query value never, a path segment that holds a placeholder in any spelling never (threat-model.md K4): a full
 * placeholder is a capability.
 */
import { type HeaderList, headerValues } from '../model/message.ts'
import { mayHoldPlaceholder } from '../swap/disguise.ts'

const MASK = '[masked]'
const MAX_PATH = 256
const MAX_KEYS = 20
const MAX_KEY = 64

/** A method, unless it may hold a placeholder. */
export function maskedMethod(method: string): string {
  return mayHoldPlaceholder(method) ? MASK : method
}

/** A host, unless a label of it may hold a placeholder: then a name that no host has. */
export function maskedHost(host: string): string {
  return mayHoldPlaceholder(host) ? MASK : host
}

/** The path without its query, with every segment masked that may hold a placeholder; at most 256 characters. */
export function maskedPath(path: string): string {
  const end = path.indexOf('?')
  const plain = end < 0 ? path : path.slice(0, end)
  // Segment by segment: no spelling of a placeholder's start reaches over a slash.
  const safe = mayHoldPlaceholder(plain)
    ? plain
        .split('/')
        .map(segment => (mayHoldPlaceholder(segment) ? MASK : segment))
        .join('/')
    : plain
  return safe.length > MAX_PATH ? `${safe.slice(0, MAX_PATH)}…` : safe
}

/** The names of the query's parameters, as sent; never a value. */
export function queryKeys(path: string): readonly string[] {
  const start = path.indexOf('?')
  if (start < 0) return []
  const names = path
    .slice(start + 1)
    .split('&', MAX_KEYS)
    .filter(parameter => parameter.includes('='))
    .map(parameter => parameter.slice(0, parameter.indexOf('=')))
  return names.map(name => (mayHoldPlaceholder(name) ? MASK : name.slice(0, MAX_KEY)))
}

// W3C Trace Context 3.2: version, trace id, parent id, flags. Only the id, and only when well-formed: it comes from the network.
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$/

/** The trace id of a well-formed traceparent header. */
export function traceId(headers: HeaderList): string | undefined {
  const value = headerValues(headers, 'traceparent')[0]
  const id = value === undefined ? undefined : TRACEPARENT.exec(value)?.[1]
  return id === undefined || /^0+$/.test(id) ? undefined : id
}
