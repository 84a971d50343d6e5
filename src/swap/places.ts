/**
 * Where in a head a placeholder may stand, to the byte: the one reading that finding and swapping share.
 *
 * Rule of this file: a place is whole or it is none. In a header, in Basic and in the query the placeholder (with the shape
 * in front of it) must be the whole value; only in the path may other text stand around it (threat-model.md C1).
 */
import { decodeCanonicalBase64 } from '../base/bytes.ts'
import { scanPlaceholders } from './placeholder.ts'

/** `from` is where the shape starts, `start` where the placeholder does, `end` where both end (exclusive). */
export type Place = {
  readonly from: number
  readonly start: number
  readonly end: number
  readonly placeholder: string
}

/** A request target cut at its first "?"; `query` starts behind it and is undefined when there is none. */
export type CutPath = { readonly path: string; readonly query: string | undefined }

/** One parameter as it stands in the raw query; `at` is the offset of its value there. */
export type Parameter = { readonly name: string; readonly value: string; readonly at: number }

export type BasicPair = { readonly user: string; readonly password: string }

// What an SDK wants to see in front of a key: sk_live_, ghp_, xoxb- (rulings.md 8).
const SHAPE = /^[A-Za-z0-9_.-]{0,32}$/
const SCHEME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+ +/
const BASIC = /^basic(?: +(.*))?$/i

// Headers that route, frame or identify: a credential in one of them is never what a service asks for (C1), and some are
// stripped or rewritten after swapping would have happened (C10). Cookies are carried untouched.
const NEVER = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'upgrade',
  'expect',
  'cookie',
  'http2-settings',
])

/** Tells whether no placeholder may ever stand in this header; `name` in lower case. */
export function neverHoldsCredential(name: string): boolean {
  return NEVER.has(name) || name.startsWith('proxy-') || name.startsWith('cloakroom-')
}

/** Reads a text that is a shape and a placeholder and nothing else; undefined when it is anything else. */
export function wholePlace(text: string, from = 0): Place | undefined {
  const [match] = scanPlaceholders(text)
  if (match?.placeholder === undefined) return undefined
  if (match.start < from || match.end !== text.length || !SHAPE.test(text.slice(from, match.start)))
    return undefined
  return { from, start: match.start, end: match.end, placeholder: match.placeholder }
}

/** Reads a header value: the placeholder alone, or after one scheme word (`Bearer`, `token` …) and spaces. */
export function headerPlace(value: string): Place | undefined {
  return wholePlace(value, SCHEME.exec(value)?.[0].length ?? 0)
}

/** Tells whether the header is an Authorization of scheme Basic, whatever follows. */
export function isBasic(name: string, value: string): boolean {
  return name.length === 13 && BASIC.test(value) && name.toLowerCase() === 'authorization'
}

/** The text after the scheme of a Basic header. */
export function basicText(value: string): string {
  return BASIC.exec(value)?.[1] ?? ''
}

/** Reads user and password (RFC 7617) as latin1; undefined when the base64 is not canonical or has no colon. */
export function readBasic(value: string): BasicPair | undefined {
  const text = decodeCanonicalBase64(basicText(value))?.toString('latin1')
  const colon = text?.indexOf(':') ?? -1
  if (text === undefined || colon < 0) return undefined
  return { user: text.slice(0, colon), password: text.slice(colon + 1) }
}

export function cutPath(path: string): CutPath {
  const mark = path.indexOf('?')
  return mark < 0 ? { path, query: undefined } : { path: path.slice(0, mark), query: path.slice(mark + 1) }
}

/** Cuts a raw query into its parameters without decoding anything; a parameter without "=" has an empty value. */
export function parametersOf(query: string): Parameter[] {
  const parameters: Parameter[] = []
  let start = 0
  for (const text of query.split('&')) {
    const equals = text.indexOf('=')
    const name = equals < 0 ? text : text.slice(0, equals)
    const at = equals < 0 ? text.length : equals + 1
    parameters.push({ name, value: text.slice(at), at: start + at })
    start += text.length + 1
  }
  return parameters
}

/** Decodes a parameter's name ("+" is a space, percent-encoded UTF-8); undefined when it is malformed. */
export function parameterName(raw: string): string | undefined {
  try {
    return decodeURIComponent(raw.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}

/** The placeholders in the path itself; malformed ones are left out, and found by find.ts. */
export function pathPlaces(path: string): Place[] {
  return scanPlaceholders(path).flatMap(({ start, end, placeholder }) =>
    placeholder === undefined ? [] : [{ from: start, start, end, placeholder }],
  )
}
