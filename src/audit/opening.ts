/**
 * The first steps of a trail: open the sinks, and say how the run before this one ended.
 */
import { CloakroomError } from '../base/errors.ts'
import { describeCause, type Log } from '../base/log.ts'
import { encodeOwn, encodeUnknown } from './encode.ts'
import type { Entry } from './queue.ts'
import type { ChainTail } from './resume.ts'
import type { AuditSink } from './sink.ts'

/**
 * Opens every sink; the chain goes on where the one that is furthest ahead stands.
 *
 * @throws AUDIT_UNAVAILABLE when a required sink cannot be opened; AUDIT_BROKEN when its log ends in something else than records.
 */
export async function openSinks(sinks: readonly AuditSink[], log: Log): Promise<ChainTail | undefined> {
  let newest: ChainTail | undefined
  for (const sink of sinks) {
    const tail = await sink.open().catch(async cause => {
      if (sink.required) {
        await Promise.allSettled(sinks.map(opened => opened.close()))
        throw asUnavailable(cause)
      }
      log.warn('an optional audit sink cannot be opened', { sink: sink.kind, cause: describeCause(cause) })
      return undefined
    })
    if (tail !== undefined && tail.head.seq > (newest?.head.seq ?? 0)) newest = tail
  }
  return newest
}

function asUnavailable(cause: unknown): CloakroomError {
  return cause instanceof CloakroomError ? cause : new CloakroomError('AUDIT_UNAVAILABLE', {}, { cause })
}

/** The records that close what an earlier run left open, as unknown, and that say that it ended badly (threat-model.md K5). */
export function closeEarlierRun(tail: ChainTail, time: number): readonly Entry[] {
  const ends = tail.unfinished.map(open => ({ members: encodeUnknown(open), time, closes: open.request }))
  if (tail.isClean) return ends
  const gap = encodeOwn('audit.gap', {
    cause: tail.torn === undefined ? 'crash' : 'torn_record',
    last_seq: tail.head.seq,
    torn_bytes: tail.torn?.bytes,
    scan_cut: tail.isCut ? true : undefined,
  })
  return [{ members: gap, time }, ...ends]
}
