/**
 * Reads the newest records and those that come, for people: `cloakroom audit tail`.
 *
 * Rule of this file: it shows what is there and verifies nothing; a line that is no record is given as such, and its text is printable
 * only after readLine has taken it.
 */
import { stat } from 'node:fs/promises'
import type { Clock } from '../base/clock.ts'
import type { AuditEvent } from '../model/audit-event.ts'
import { readLine } from './chain.ts'
import { linesBackward, logFiles } from './lines.ts'

/** A record and the very line that holds it. */
export type TailRecord = { readonly line: string; readonly event: AuditEvent }

const POLL_INTERVAL = 250

/** Reads one line; undefined when it is not a whole, unchanged record. */
export function parseRecord(line: string): TailRecord | undefined {
  const read = readLine(line)
  return read.kind === 'record' ? { line, event: read.members as unknown as AuditEvent } : undefined
}

/** The last `count` records of the log at `path`, oldest first, over rotated files. */
export async function readLast(path: string, count: number): Promise<readonly TailRecord[]> {
  const records: TailRecord[] = []
  if (count <= 0) return records
  for (const file of (await logFiles(path)).reverse()) {
    for await (const { text } of linesBackward(file)) {
      const record = parseRecord(text)
      if (record !== undefined) records.push(record)
      if (records.length >= count) return records.reverse()
    }
  }
  return records.reverse()
}

/**
 * Gives each record that is appended from now on, until the signal; follows rotation.
 *
 * @param seq - the last record that was already shown; what was written since then comes first.
 */
export async function* follow(
  path: string,
  seq: number,
  options: { readonly clock: Clock; readonly signal: AbortSignal },
): AsyncGenerator<TailRecord> {
  let shown = seq
  let seen = ''
  while (!options.signal.aborted) {
    const now = await stat(path).catch(() => undefined) // between two files of a rotation there is none
    const mark = now === undefined ? seen : `${now.ino}:${now.size}`
    const news = mark === seen ? [] : await since(path, shown)
    seen = mark
    for (const record of news) {
      shown = record.event.seq
      yield record
    }
    await options.clock.sleep(POLL_INTERVAL, options.signal).catch(() => undefined) // the loop sees the signal
  }
}

// Reads backward, so that a poll costs what is new and not the whole log.
async function since(path: string, seq: number): Promise<readonly TailRecord[]> {
  const records: TailRecord[] = []
  for (const file of (await logFiles(path)).reverse()) {
    for await (const { text } of linesBackward(file)) {
      const record = parseRecord(text)
      if (record === undefined) continue
      if (record.event.seq <= seq) return records.reverse()
      records.push(record)
    }
  }
  return records.reverse()
}
