/**
 * Makes an upstream's answer safe to pass on: hop-by-hop headers and forged ones off, the credential out (rulings.md 26).
 *
 * Redaction is defence in depth and never the boundary; where it is on, an answer that it cannot read
 * is refused and not passed.
 */
import { CloakroomError } from '../base/errors.ts'
import { isForbiddenTrailer } from '../http1/trailers.ts'
import {
  type BodySource,
  type HeaderList,
  headerValues,
  type ResponseHead,
  withoutHeaders,
} from '../model/message.ts'
import { createRedactor } from '../redact/redactor.ts'
import type { SentForm } from '../swap/head.ts'
import { replaceInBody } from './body.ts'
import type { OpenedSecret } from './exchange-deps.ts'
import type { UpstreamAnswer } from './forward.ts'
import { stripResponse } from './hop-by-hop.ts'
import type { OpenExchange } from './open-exchange.ts'

export type Protection = {
  readonly redact: boolean
  readonly values: ReadonlyMap<string, OpenedSecret>
  readonly forms: readonly SentForm[]
  readonly exchange: OpenExchange
}

// D5: what a service makes of a credential works as well as the credential, and no policy binds it.
const DERIVED = new Set(['set-cookie', 'set-cookie2', 'authentication-info'])

/** @throws UPSTREAM_CODED; the answer's body is then cancelled. */
export function protect(
  answer: UpstreamAnswer,
  protection: Protection,
): { head: ResponseHead; body: BodySource } {
  const { exchange } = protection
  const ours = withOurHeaders(answer.head, exchange.record.request)
  if (!protection.redact) return { head: ours, body: answer.body }
  const head = { ...ours, headers: withoutHeaders(ours.headers, DERIVED) }
  if (answer.body.length !== 0 && isCoded(answer.head.headers)) {
    const cause = new CloakroomError('UPSTREAM_CODED', { target: exchange.record.target ?? '' })
    answer.body.cancel(cause)
    throw cause
  }
  const redactor = createRedactor([...protection.values.values()], protection.forms)
  exchange.disposeLater(redactor)
  const safe = redactor.head(head)
  const replacer = redactor.body()
  exchange.countRedactions(() => safe.count + replacer.count)
  const body = replaceInBody(answer.body, replacer, trailers => safeTrailers(trailers, redactor))
  return { head: safe.head, body }
}

function safeTrailers(trailers: HeaderList, redactor: ReturnType<typeof createRedactor>): HeaderList {
  const carried = trailers.filter(([name]) => !isForbiddenTrailer(name))
  return carried.length === 0
    ? carried
    : redactor.head({ status: 200, reason: '', headers: carried }).head.headers
}

function withOurHeaders(head: ResponseHead, request: string): ResponseHead {
  const headers: HeaderList = [
    ...stripResponse(head.headers),
    ['Via', '1.1 cloakroom'], // RFC 9110 7.6.3
    ['Cloakroom-Request-Id', request],
  ]
  return { ...head, headers }
}

function isCoded(headers: HeaderList): boolean {
  return headerValues(headers, 'content-encoding').some(value => value.trim().toLowerCase() !== 'identity')
}
