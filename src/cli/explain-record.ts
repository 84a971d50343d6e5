/**
 * What the audit log holds of one request: for `policy explain REQUEST-ID`.
 *
 * Rule of this file: the newest record of the request tells how it ended; what an intent has named already stands further back.
 */
import { linesBackward, logFiles } from '../audit/lines.ts'
import { parseRecord } from '../audit/tail.ts'
import { CloakroomError, ERRORS, type ErrorCode } from '../base/errors.ts'
import type { Reason } from '../model/decision.ts'
import type { RefusedPlaceholder } from '../model/exchange.ts'
import type { Recorded } from '../policy/explain.ts'
import { REASON_TEXTS } from '../policy/reasons.ts'

/** Members of an intent, an outcome or a refusal, as far as this page reads them. */
type Written = {
  readonly event: string
  readonly time: string
  readonly request?: string
  readonly caller?: string
  readonly tenant?: string
  readonly rule?: string
  readonly target?: string
  readonly method?: string
  readonly path?: string
  readonly outcome?: string
  readonly error?: string
  readonly reason?: string
  readonly duration_ms?: number
  readonly swaps?: readonly { readonly secret: string; readonly in: string }[]
  readonly refused?: readonly RefusedPlaceholder[]
}

export type RecordedRequest = {
  readonly caller: string | undefined
  readonly tenant: string | undefined
  /** `POST https://api.example.com:443/v1/items`, with its path masked where a placeholder stood. */
  readonly request: string
  readonly swaps: readonly string[]
  /** Undefined while the request is under way. */
  readonly recorded: Recorded | undefined
}

// An intent stands before its outcome by the time that the exchange took; this much more for clocks that were set meanwhile.
const SLACK = 60_000

/** @throws AUDIT_RECORD_NOT_FOUND when the log at `path` has no record of the request that names a method and a target. */
export async function recordedRequest(path: string, id: string): Promise<RecordedRequest> {
  const records = await recordsOf(path, id)
  const [newest] = records
  if (newest?.method === undefined || newest.target === undefined)
    throw new CloakroomError('AUDIT_RECORD_NOT_FOUND', { request: id })
  const swaps = records.flatMap(record => record.swaps ?? [])
  return {
    caller: newest.caller,
    tenant: newest.tenant,
    request: `${newest.method} ${newest.target}${newest.path ?? '/'}`,
    swaps: swaps.map(swap => `${swap.secret} in ${swap.in}`),
    recorded: newest.event === 'intent' ? undefined : recordedOf(id, newest),
  }
}

async function recordsOf(path: string, id: string): Promise<readonly Written[]> {
  const records: Written[] = []
  let oldest = Number.NEGATIVE_INFINITY
  for (const file of (await logFiles(path)).reverse()) {
    for await (const { text } of linesBackward(file)) {
      if (!text.includes(id)) {
        if (timeOf(text) < oldest) return records
        continue
      }
      const record = parseRecord(text)?.event as Written | undefined
      if (record?.request !== id) continue
      records.push(record)
      if (record.event !== 'outcome') return records
      oldest = Date.parse(record.time) - (record.duration_ms ?? 0) - SLACK
    }
  }
  return records
}

function timeOf(line: string): number {
  const time = Date.parse(/"time":"([^"]{1,40})"/.exec(line)?.[1] ?? '')
  return Number.isNaN(time) ? Number.POSITIVE_INFINITY : time
}

function recordedOf(id: string, record: Written): Recorded {
  const { event, time, outcome = 'unknown', error, reason, rule, refused = [] } = record
  const text = reason === undefined ? undefined : REASON_TEXTS[reason as Reason]
  const hint = error === undefined ? undefined : ERRORS[error as ErrorCode]?.hint
  return {
    request: id,
    time,
    event,
    outcome,
    error,
    rule,
    reason,
    text,
    // This very command is what some of them advise.
    hint: hint?.includes('policy explain') ? undefined : hint,
    refused,
  }
}
