/**
 * Finds where a log ended, so that the next record continues its chain.
 *
 * Rules of this file. It reads from the end, and no further back than the last checkpoint says that open intents lie. What stands behind
 * the last record that is whole was torn by a crash or a power cut: it is reported, and the file sink moves it aside. A log that
 * holds no whole record near its end is not ours to repair: AUDIT_BROKEN. Whether the chain was tampered with is verify's question.
 */
import { stat } from 'node:fs/promises'
import { CloakroomError } from '../base/errors.ts'
import { type ChainHead, type Place, type ReadLine, readLine } from './chain.ts'
import { SUBJECT_NAMES, type Unfinished } from './encode.ts'
import { linesBackward, logFiles } from './lines.ts'

/** As much as a crash can tear: a batch is far smaller. */
const MOST_TORN_BYTES = 4 * 1024 * 1024
/** A stop for logs without a checkpoint; 250,000 records are about 150 MB. */
const MOST_RECORDS_SCANNED = 250_000

// A line without its newline was never told to be written, even when all of it but that is there.
const UNFINISHED_LINE: ReadLine = { kind: 'fault', what: 'is torn' }

export type ChainTail = {
  readonly head: ChainHead
  readonly instance: string
  /** False when the writer ended without saying so. */
  readonly isClean: boolean
  readonly sinceCheckpoint: number
  /** Intents without an outcome, oldest first. */
  readonly unfinished: readonly Unfinished[]
  /** True when the scan was given up before it had seen everything that may be open. */
  readonly isCut: boolean
  /** Where whole records end in the newest file, and how many bytes stand behind. */
  readonly torn: TornEnd | undefined
}

export type TornEnd = { readonly from: number; readonly bytes: number }

type Scan = {
  head: ChainHead | undefined
  instance: string
  lastEvent: string
  isSealed: boolean
  sinceCheckpoint: number
  scanned: number
  /** Records before this one need not be read. */
  stopAt: number
  readonly concluded: Set<string>
  readonly open: Map<string, Unfinished>
}

/**
 * Reads the end of the log at `path`, over rotated files where needed.
 *
 * @returns undefined when there is no record at all.
 * @throws AUDIT_BROKEN when the end holds no whole record.
 */
export async function readChainTail(path: string): Promise<ChainTail | undefined> {
  const scan = emptyScan()
  let torn: TornEnd | undefined
  for (const file of (await logFiles(path)).reverse()) {
    const { size } = await stat(file)
    for await (const line of linesBackward(file)) {
      const read = line.ended ? readLine(line.text) : UNFINISHED_LINE
      if (read.kind === 'fault' && scan.head === undefined) {
        if (size - line.start > MOST_TORN_BYTES) throw broken(file)
        if (file === path) torn = { from: line.start, bytes: size - line.start }
      } else if (!take(scan, read)) return tailOf(scan, torn)
    }
  }
  if (scan.head !== undefined) return tailOf(scan, torn)
  if (torn !== undefined) throw broken(path)
  return undefined
}

function emptyScan(): Scan {
  return {
    head: undefined,
    instance: '',
    lastEvent: '',
    isSealed: false,
    sinceCheckpoint: 0,
    scanned: 0,
    stopAt: 1,
    concluded: new Set(),
    open: new Map(),
  }
}

// Takes one line into account, newest first; false when no older line matters.
function take(scan: Scan, read: ReadLine): boolean {
  scan.scanned++
  if (read.kind === 'fault') return scan.scanned < MOST_RECORDS_SCANNED
  const { place, members } = read
  if (scan.head === undefined) {
    scan.head = { seq: place.seq, hash: place.hash }
    scan.instance = place.instance
  }
  // A clean end is `stop` and the checkpoint over it.
  if (place.event !== 'checkpoint' && scan.lastEvent === '') scan.lastEvent = place.event
  if (place.event === 'checkpoint' && !scan.isSealed) {
    scan.isSealed = true
    if (typeof members.open === 'number') scan.stopAt = members.open
  }
  if (!scan.isSealed) scan.sinceCheckpoint++
  takeExchange(scan, place, members)
  const isDone = scan.isSealed && scan.lastEvent !== '' && place.seq <= scan.stopAt
  return !isDone && scan.scanned < MOST_RECORDS_SCANNED
}

function takeExchange(scan: Scan, place: Place, members: Readonly<Record<string, unknown>>): void {
  const { event, seq } = place
  const { request } = members
  if (typeof request !== 'string') return
  if (event === 'outcome' || event === 'refused') scan.concluded.add(request)
  if (event !== 'intent' || scan.concluded.has(request)) return
  const fields: Record<string, string> = {}
  for (const name of SUBJECT_NAMES) {
    const value = members[name]
    if (typeof value === 'string') fields[name] = value
  }
  scan.open.set(request, { request, seq, fields })
}

function tailOf(scan: Scan, torn: TornEnd | undefined): ChainTail {
  return {
    head: scan.head ?? { seq: 0, hash: '' },
    instance: scan.instance,
    isClean: scan.lastEvent === 'stop' && torn === undefined,
    sinceCheckpoint: scan.sinceCheckpoint,
    unfinished: [...scan.open.values()].reverse(),
    isCut: scan.scanned >= MOST_RECORDS_SCANNED,
    torn,
  }
}

function broken(file: string): CloakroomError {
  return new CloakroomError('AUDIT_BROKEN', { file, line: 1, what: 'no whole record near the end' })
}
