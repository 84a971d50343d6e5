/**
 * Framing: where a message's body ends, decided once from its head.
 *
 * Rule of this file: a head that says it in two ways, or in a way that some reader would take differently, is refused and never
 * mended (RFC 9112 6.3, threat-model.md E1, E2). What comes out is the decision, and the headers that announce it are written anew
 * from it; the received ones are never forwarded.
 */
import { unreachable } from '../base/assert.ts'
import type { HeaderList } from '../model/message.ts'
import { parseLength } from './grammar.ts'
import type { ReceivedRequestHead, ReceivedResponseHead } from './head.ts'
import { ambiguous, type Refusal, refused, type Side } from './refusal.ts'

/** `none`: no body and no header says so. `until-close`: the end of the connection ends the body; responses only. */
export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly length: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'until-close' }

const NONE: Framing = { kind: 'none' }
const CHUNKED: Framing = { kind: 'chunked' }
const UNTIL_CLOSE: Framing = { kind: 'until-close' }

/** Decides the framing of a request's body. */
export function requestFraming(head: ReceivedRequestHead): Framing | Refusal {
  const framing = declaredFraming('request', head)
  // RFC 9110 9.3.6: CONNECT has no body; Node hands one over as the tunnel's first bytes (threat-model.md A13).
  if (head.method === 'CONNECT' && hasBody(framing)) return ambiguous('request', 'CONNECT with a body')
  return framing
}

/** Decides the framing of a response's body; `requestMethod` is the method that was sent. */
export function responseFraming(head: ReceivedResponseHead, requestMethod: string): Framing | Refusal {
  const framing = declaredFraming('response', head)
  if (framing.kind === 'refused') return framing
  if (isBodiless(head.status, requestMethod)) return NONE
  return framing.kind === 'none' ? UNTIL_CLOSE : framing
}

// RFC 9112 6.3, items 1 and 2: these end with their head whatever their headers say. Bytes that follow anyway belong to no
// message, and the connection is destroyed for them (E5).
function isBodiless(status: number, requestMethod: string): boolean {
  if (requestMethod === 'HEAD' || status < 200 || status === 204 || status === 304) return true
  return requestMethod === 'CONNECT' && status < 300
}

function hasBody(framing: Framing | Refusal): boolean {
  return framing.kind === 'chunked' || (framing.kind === 'length' && framing.length > 0)
}

type Declared = { length: string | undefined; coding: string | undefined; fault: string | undefined }

function declaredFraming(side: Side, head: { minor: 0 | 1; headers: HeaderList }): Framing | Refusal {
  const { length, coding, fault } = declarations(head.headers)
  if (fault !== undefined) return ambiguous(side, fault)
  if (coding !== undefined) {
    if (length !== undefined) return ambiguous(side, 'Content-Length and Transfer-Encoding')
    // RFC 9112 6.1: an HTTP/1.0 hop may have passed the header on without knowing it.
    if (head.minor === 0) return ambiguous(side, 'Transfer-Encoding in HTTP/1.0')
    return coding.toLowerCase() === 'chunked' ? CHUNKED : unknownCoding(side)
  }
  if (length === undefined) return NONE
  const bytes = parseLength(length)
  return bytes === undefined
    ? ambiguous(side, 'Content-Length is no plain number')
    : { kind: 'length', length: bytes }
}

function unknownCoding(side: Side): Refusal {
  const what = 'a transfer coding other than chunked'
  return side === 'request' ? refused('REQUEST_TRANSFER_CODING', what) : ambiguous(side, what)
}

const LENGTH_NAME = 'content-length'
const CODING_NAME = 'transfer-encoding'

// Looks at every header once. Names are told apart by their length first: most headers cost one comparison of numbers.
function declarations(headers: HeaderList): Declared {
  const found: Declared = { length: undefined, coding: undefined, fault: undefined }
  for (const [name, value] of headers) {
    if (name.length === LENGTH_NAME.length) {
      const lower = name.toLowerCase()
      if (lower === LENGTH_NAME) {
        if (found.length !== undefined) found.fault ??= 'Content-Length twice'
        found.length = value
      } else if (isLookAlike(lower, LENGTH_NAME)) found.fault ??= 'a name that some take for Content-Length'
    } else if (name.length === CODING_NAME.length) {
      const lower = name.toLowerCase()
      if (lower === CODING_NAME) {
        if (found.coding !== undefined) found.fault ??= 'Transfer-Encoding twice'
        found.coding = value
      } else if (isLookAlike(lower, CODING_NAME))
        found.fault ??= 'a name that some take for Transfer-Encoding'
    }
  }
  return found
}

// E4: CGI and its heirs turn both "-" and "_" into "_", so Content_Length would frame the body there.
function isLookAlike(lower: string, name: string): boolean {
  return lower.replaceAll('_', '-') === name
}

/** The headers that announce a framing: exactly one, or none where the head or the close says it (E1). */
export function framingHeaders(framing: Framing): HeaderList {
  switch (framing.kind) {
    case 'length':
      return [['Content-Length', String(framing.length)]]
    case 'chunked':
      return [['Transfer-Encoding', 'chunked']]
    case 'none':
    case 'until-close':
      return []
    default:
      return unreachable(framing)
  }
}
