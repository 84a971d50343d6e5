/**
 * Bodies: the bytes after a head, told apart from what follows the message.
 *
 * A state machine fed with whatever arrives; it keeps no data, hands out slices of its input. Rule of this file: where a body ends
 * does not depend on how the bytes were cut, and a chunk line ends with CRLF and nothing else.
 */
import { unreachable } from '../base/assert.ts'
import { type Bytes, kib } from '../base/size.ts'
import type { HeaderList } from '../model/message.ts'
import { parseFields, type SectionLimits } from './fields.ts'
import type { Framing } from './framing.ts'
import { CR, FIELD, hexDigit, LF, SEMICOLON } from './grammar.ts'
import { ambiguous, type Refusal, type Side } from './refusal.ts'

export type BodyLimits = {
  readonly trailers: SectionLimits
  /** Chunk extensions of one body, all together; they are dropped unread (CVE-2024-22019 was a bound that lacked). */
  readonly extensions: Bytes
}

export const BODY_LIMITS: BodyLimits = {
  trailers: { bytes: kib(16), count: 64, line: kib(8) },
  extensions: kib(16),
}

/** `more`: all was consumed and the body goes on. `done`: it ended after `consumed` bytes; the rest is not its own. */
export type BodyProgress =
  | { readonly kind: 'more'; readonly consumed: number }
  | { readonly kind: 'done'; readonly consumed: number }

type State =
  | 'data' // of known length, `left` bytes of it to come
  | 'until-close'
  | 'size' // first digit of a chunk's size
  | 'size-digits'
  | 'extension'
  | 'size-lf'
  | 'chunk'
  | 'chunk-cr'
  | 'chunk-lf'
  | 'trailers'
  | 'done'

// 16 digits, leading zeros included, hold every safe integer; more is an attempt to overflow somebody.
const SIZE_DIGITS = 16

type OnData = (slice: Buffer) => void

export class BodyReader {
  readonly #side: Side
  readonly #limits: BodyLimits
  #state: State
  #left = 0
  #digits = 0
  #extensions = 0
  #pending = ''
  #trailers: HeaderList = []
  #refusal: Refusal | undefined

  constructor(framing: Framing, side: Side, limits: BodyLimits = BODY_LIMITS) {
    this.#side = side
    this.#limits = limits
    this.#left = framing.kind === 'length' ? framing.length : 0
    this.#state = firstState(framing)
  }

  /** True from the start for a message without a body. */
  get isDone(): boolean {
    return this.#state === 'done'
  }

  /** What came after a chunked body, by its own names; the consumer drops isForbiddenTrailer. Empty until done. */
  get trailers(): HeaderList {
    return this.#trailers
  }

  /**
   * Takes the next bytes of the connection and hands on the body's, as slices of `bytes`, none of them empty.
   *
   * After a refusal every call gives that refusal.
   */
  read(bytes: Buffer, onData: OnData): BodyProgress | Refusal {
    let at = 0
    while (this.#refusal === undefined && this.#state !== 'done' && at < bytes.length) {
      at = this.#step(bytes, at, onData)
    }
    if (this.#refusal !== undefined) return this.#refusal
    return { kind: this.#state === 'done' ? 'done' : 'more', consumed: at }
  }

  /** Tells what the end of the connection means here. */
  finish(): 'done' | 'truncated' {
    if (this.#state === 'until-close') this.#state = 'done'
    return this.#state === 'done' ? 'done' : 'truncated'
  }

  // Takes at least one byte, gives the index after what it took.
  #step(bytes: Buffer, at: number, onData: OnData): number {
    switch (this.#state) {
      case 'until-close':
        onData(at === 0 ? bytes : bytes.subarray(at))
        return bytes.length
      case 'data':
        return this.#pass(bytes, at, 'done', onData)
      case 'chunk':
        return this.#pass(bytes, at, 'chunk-cr', onData)
      case 'trailers':
        return this.#readTrailers(bytes, at)
      case 'size':
      case 'size-digits':
        this.#readSize(bytes[at] ?? 0)
        return at + 1
      case 'extension':
        this.#readExtension(bytes[at] ?? 0)
        return at + 1
      case 'size-lf':
        this.#expect(bytes[at] === LF, this.#left === 0 ? 'trailers' : 'chunk', 'bare CR in a chunk line')
        return at + 1
      case 'chunk-cr':
        this.#expect(bytes[at] === CR, 'chunk-lf', 'chunk data longer than its size')
        return at + 1
      case 'chunk-lf':
        this.#expect(bytes[at] === LF, 'size', 'bare CR after chunk data')
        return at + 1
      case 'done':
        return at
      default:
        return unreachable(this.#state)
    }
  }

  // The state moves on before the data is handed over: a consumer that throws leaves the reader whole.
  #pass(bytes: Buffer, at: number, next: State, onData: OnData): number {
    const end = Math.min(bytes.length, at + this.#left)
    this.#left -= end - at
    if (this.#left === 0) this.#state = next
    onData(bytes.subarray(at, end))
    return end
  }

  #readSize(code: number): void {
    const digit = hexDigit(code)
    if (digit < 0) {
      this.#endSize(code)
      return
    }
    if (this.#state === 'size') {
      this.#state = 'size-digits'
      this.#left = 0
      this.#digits = 0
    }
    this.#digits++
    this.#left = this.#left * 16 + digit
    if (this.#digits > SIZE_DIGITS || this.#left > Number.MAX_SAFE_INTEGER)
      this.#refuse('chunk size too large')
  }

  // Neither "+5" nor "0x5", no blank before or after: what else may follow a digit is CR or ";".
  #endSize(code: number): void {
    if (this.#state === 'size') this.#refuse('chunk size')
    else if (code === CR) this.#state = 'size-lf'
    else if (code === SEMICOLON) this.#state = 'extension'
    else this.#refuse('chunk size')
  }

  // Dropped unread (RFC 9112 7.1.1), but no byte that some reader takes for the end of the line passes.
  #readExtension(code: number): void {
    if (code === CR) this.#state = 'size-lf'
    else if (FIELD[code] !== 1) this.#refuse('control character in a chunk extension')
    else if (++this.#extensions > this.#limits.extensions) this.#refuse('chunk extensions too long')
  }

  #readTrailers(bytes: Buffer, at: number): number {
    const before = this.#pending.length
    const limits = this.#limits.trailers
    const crumb = bytes.toString('latin1', at, Math.min(bytes.length, at + limits.bytes - before))
    const text = this.#pending + crumb
    this.#pending = text
    // Verdicts fall at line ends and at the limit only, so crumbs cost no reading (threat-model.md G8).
    if (text.length < limits.bytes && !crumb.includes('\n')) return bytes.length
    const fields = parseFields({ side: this.#side, text, limits }, 0)
    if (fields.kind === 'refused') this.#refusal = fields
    if (fields.kind !== 'fields') return bytes.length
    this.#trailers = fields.headers
    this.#pending = ''
    this.#state = 'done'
    return at + fields.end - before
  }

  #expect(holds: boolean, next: State, what: string): void {
    if (holds) this.#state = next
    else this.#refuse(what)
  }

  #refuse(what: string): void {
    this.#refusal = ambiguous(this.#side, what)
  }
}

function firstState(framing: Framing): State {
  switch (framing.kind) {
    case 'none':
      return 'done'
    case 'length':
      return framing.length === 0 ? 'done' : 'data'
    case 'chunked':
      return 'size'
    case 'until-close':
      return 'until-close'
    default:
      return unreachable(framing)
  }
}
