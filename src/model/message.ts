/**
 * HTTP messages as plain data: heads, header lists, bodies.
 *
 * Rules of this file: wire order and spelling of headers are kept; names compare without case; a change makes a new value.
 * An OutboundHead carries credentials and is not assignable to RequestHead, so it cannot be audited, logged or cached.
 */
import type { Target } from './target.ts'

/** Wire order and spelling are kept. Values are latin1 text without CR, LF and NUL. */
export type HeaderList = ReadonlyArray<readonly [name: string, value: string]>

/** `path` is the origin-form target: it starts with one "/", and holds the query. It is sent as these very bytes. */
export type RequestHead = {
  readonly method: string
  readonly target: Target
  readonly path: string
  readonly headers: HeaderList
}

export type ResponseHead = { readonly status: number; readonly reason: string; readonly headers: HeaderList }

/** A head that carries credentials: made by proxy/arm.ts, taken by proxy/forward.ts, seen by nobody else. */
export type OutboundHead = { readonly armed: RequestHead }

/** A body's length as its framing says: bytes, or undefined when only the end tells. `0` means that there is none. */
export type BodyLength = number | undefined

/**
 * Takes the bytes of a body.
 *
 * `write` returns false when the source should wait until its `resume` is called; bytes given are still taken.
 * Exactly one of `end` and `fail` is called, once, and nothing after it.
 */
export interface BodySink {
  write(chunk: Buffer): boolean
  end(trailers: HeaderList): void
  fail(cause: unknown): void
}

/**
 * Gives the bytes of a body to one sink, with backpressure.
 *
 * Nothing is read from the socket before `start`. `cancel` may be called at any time, also instead of `start`.
 */
export interface BodySource {
  readonly length: BodyLength
  start(sink: BodySink): void
  resume(): void
  cancel(cause: unknown): void
}

export const EMPTY_BODY: BodySource = {
  length: 0,
  start: sink => sink.end([]),
  resume: () => undefined,
  cancel: () => undefined,
}

/** A body of bytes that are all there: our own answers. */
export function bodyOf(bytes: Buffer): BodySource {
  return {
    length: bytes.length,
    start(sink) {
      if (bytes.length > 0) sink.write(bytes)
      sink.end([])
    },
    resume: () => undefined,
    cancel: () => undefined,
  }
}

/** All values of a header, in wire order; `name` in lower case. */
export function headerValues(headers: HeaderList, name: string): string[] {
  const values: string[] = []
  for (const header of headers) if (equalName(header[0], name)) values.push(header[1])
  return values
}

/** The value of a header that must stand at most once; undefined when absent or repeated. `name` in lower case. */
export function singleHeader(headers: HeaderList, name: string): string | undefined {
  const values = headerValues(headers, name)
  return values.length === 1 ? values[0] : undefined
}

export function hasHeader(headers: HeaderList, name: string): boolean {
  return headers.some(header => equalName(header[0], name))
}

/** A new list without the headers in `names` (lower case). */
export function withoutHeaders(headers: HeaderList, names: ReadonlySet<string>): HeaderList {
  return headers.filter(header => !names.has(header[0].toLowerCase()))
}

function equalName(name: string, lower: string): boolean {
  return name.length === lower.length && (name === lower || name.toLowerCase() === lower)
}
