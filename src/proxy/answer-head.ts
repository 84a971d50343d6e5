/**
 * Finds the head of an upstream's answer among its interim answers, and says how its body is framed.
 *
 * Rule of this file: what an upstream may not send is an error of its own and ends the connection (threat-model.md D10, E5).
 */
import { CloakroomError } from '../base/errors.ts'
import { type Framing, responseFraming } from '../http1/framing.ts'
import { type HeadLimits, parseResponseHead, type ReceivedResponseHead } from '../http1/head.ts'
import { type Refusal, refusalError } from '../http1/refusal.ts'
import type { ResponseHead } from '../model/message.ts'

const EMPTY: Buffer = Buffer.alloc(0)
const MAX_INTERIM = 8 // threat-model.md E5

export type AnswerHeadOptions = {
  /** formatTarget form, for errors. */
  readonly target: string
  readonly method: string
  readonly limits: HeadLimits
  /** Called for each interim answer but 100 and 101. */
  readonly onInterim: (head: ResponseHead) => void
}

export type AnswerHead = {
  readonly head: ReceivedResponseHead
  readonly framing: Framing
  /** What came after the head. */
  readonly rest: Buffer
}

export class AnswerHeadReader {
  readonly #options: AnswerHeadOptions
  #pending: Buffer = EMPTY
  #seen = 0
  #interim = 0

  constructor(options: AnswerHeadOptions) {
    this.#options = options
  }

  /**
   * Takes bytes; gives the head once it is whole.
   *
   * @throws UPSTREAM_MALFORMED, UPSTREAM_HEAD_TOO_LARGE, UPSTREAM_PROXY_AUTH
   */
  push(chunk: Buffer): AnswerHead | undefined {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    for (;;) {
      const parsed = parseResponseHead(this.#pending, this.#options.limits, this.#seen)
      if (parsed.kind === 'incomplete') {
        this.#seen = this.#pending.length
        return undefined
      }
      if (parsed.kind === 'refused') throw this.#errorOf(parsed)
      this.#pending = this.#pending.subarray(parsed.length)
      this.#seen = 0
      // An interim answer has no body; one that announces two is malformed all the same.
      const framing = responseFraming(parsed.head, this.#options.method)
      if (framing.kind === 'refused') throw this.#errorOf(framing)
      if (parsed.head.status >= 200) return this.#final(parsed.head, framing)
      this.#interimAnswer(parsed.head)
    }
  }

  #interimAnswer({ status, reason, headers }: ReceivedResponseHead): void {
    // threat-model.md D10: we never ask for an upgrade, so a 101 is an attack or a fault.
    if (status === 101) throw this.#malformed('101 without a request for it')
    if (++this.#interim > MAX_INTERIM) throw this.#malformed('too many interim answers')
    if (status !== 100) this.#options.onInterim({ status, reason, headers })
  }

  #final(head: ReceivedResponseHead, framing: Framing): AnswerHead {
    if (head.status === 407) throw new CloakroomError('UPSTREAM_PROXY_AUTH', { target: this.#options.target })
    const rest = this.#pending
    this.#pending = EMPTY
    return { head, framing, rest }
  }

  #errorOf(refusal: Refusal): CloakroomError {
    return refusalError(refusal, this.#options.target)
  }

  #malformed(what: string): CloakroomError {
    return new CloakroomError('UPSTREAM_MALFORMED', { target: this.#options.target, what })
  }
}
