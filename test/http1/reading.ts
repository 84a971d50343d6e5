/**
 * Reads one whole message with the codec, from bytes that arrive in any pieces: what an adapter does, without its sockets.
 */
import { BodyReader } from '../../src/http1/body-reader.ts'
import { type Framing, requestFraming, responseFraming } from '../../src/http1/framing.ts'
import {
  parseRequestHead,
  parseResponseHead,
  type ReceivedRequestHead,
  type ReceivedResponseHead,
} from '../../src/http1/head.ts'
import type { Refusal } from '../../src/http1/refusal.ts'
import type { HeaderList } from '../../src/model/message.ts'

export type Message<Head> = {
  readonly kind: 'message'
  readonly head: Head
  readonly framing: Framing
  readonly body: string
  readonly trailers: HeaderList
  /** Bytes after the message. */
  readonly rest: string
}

/** `truncated`: the input ended before the message did. */
export type Reading<Head> = Message<Head> | Refusal | { readonly kind: 'truncated' }

export const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')

export function readRequest(pieces: readonly Buffer[]): Reading<ReceivedRequestHead> {
  return readMessage(pieces, 'request', parseRequestHead, requestFraming)
}

export function readResponse(pieces: readonly Buffer[], method = 'GET'): Reading<ReceivedResponseHead> {
  return readMessage(pieces, 'response', parseResponseHead, head => responseFraming(head, method))
}

type Parse<Head> = (
  bytes: Buffer,
  limits: undefined,
  seen: number,
) =>
  | { readonly kind: 'head'; readonly head: Head; readonly length: number }
  | { readonly kind: 'incomplete' }
  | Refusal

function readMessage<Head>(
  pieces: readonly Buffer[],
  side: 'request' | 'response',
  parse: Parse<Head>,
  frame: (head: Head) => Framing | Refusal,
): Reading<Head> {
  let held = Buffer.alloc(0)
  for (const [index, piece] of pieces.entries()) {
    const seen = held.length
    held = Buffer.concat([held, piece])
    const parsed = parse(held, undefined, seen)
    if (parsed.kind === 'refused') return parsed
    if (parsed.kind === 'incomplete') continue
    const framing = frame(parsed.head)
    if (framing.kind === 'refused') return framing
    const remaining = [held.subarray(parsed.length), ...pieces.slice(index + 1)]
    return readBody(parsed.head, framing, side, remaining)
  }
  return { kind: 'truncated' }
}

function readBody<Head>(
  head: Head,
  framing: Framing,
  side: 'request' | 'response',
  pieces: readonly Buffer[],
): Reading<Head> {
  const reader = new BodyReader(framing, side)
  let body = ''
  const rest: Buffer[] = []
  for (const piece of pieces) {
    const progress = reader.read(piece, slice => {
      if (slice.length === 0) throw new Error('an empty slice was handed on')
      body += slice.toString('latin1')
    })
    if (progress.kind === 'refused') return progress
    rest.push(piece.subarray(progress.consumed))
  }
  if (reader.finish() === 'truncated') return { kind: 'truncated' }
  const message = { head, framing, body, trailers: reader.trailers }
  return { kind: 'message', ...message, rest: Buffer.concat(rest).toString('latin1') }
}

/** All ways to cut `bytes` in two, and the cut into single bytes. */
export function cuts(bytes: Buffer): Buffer[][] {
  const twos = Array.from({ length: Math.max(0, bytes.length - 1) }, (_, at) => [
    bytes.subarray(0, at + 1),
    bytes.subarray(at + 1),
  ])
  return [...twos, Array.from({ length: bytes.length }, (_, at) => bytes.subarray(at, at + 1))]
}
