/**
 * Walks a log and names what does not fit: an edit, a deletion, an insertion, a changed order, a duplicate, a splice, a cut.
 *
 * Rules of this file. It needs the public key alone, and reads in bounded memory. What it claims: any change to records before a
 * checkpoint that the verifier knows from elsewhere (`anchors`) is found; a tail that was cut off after the last one is not, by
 * anybody (rulings.md 24), so the report says how many records no checkpoint vouches for.
 */
import type { KeyObject } from 'node:crypto'
import { EMPTY_CHAIN, isSignedBy, keyId, type Place, readLine } from './chain.ts'
import { type FileLine, linesForward, logFiles } from './lines.ts'

export type VerifyOptions = {
  /** The keys that may have signed checkpoints: more than one after a rotation. */
  readonly publicKeys: readonly KeyObject[]
  /** Records known from elsewhere: they must be in the log as they were. */
  readonly anchors?: readonly { readonly seq: number; readonly hash: string }[]
  /** The oldest files were put away on purpose: the log may begin with any record. */
  readonly mayStartLater?: boolean
  /** Called now and then with the bytes read so far, for a progress bar. */
  readonly onProgress?: (bytes: number) => void
}

/** What is wrong with a checkpoint of a key that was not given. */
export const FOREIGN_KEY = 'is signed by a key that was not given'

export type AuditFault = { readonly file: string; readonly line: number; readonly what: string }

export type VerifyReport = {
  readonly ok: boolean
  readonly records: number
  /** Records that a valid checkpoint vouches for, itself included; the rest are `unsigned`. */
  readonly signed: number
  readonly unsigned: number
  readonly checkpoints: number
  /** `audit.gap` records: crashes and full disks that the log itself tells of. */
  readonly gaps: number
  /** Intents without an outcome: exchanges under way, if the sidecar runs. */
  readonly unfinished: number
  readonly first: { readonly seq: number; readonly time: string } | undefined
  readonly last: { readonly seq: number; readonly time: string; readonly hash: string } | undefined
  /** In the order of the log, at most 20; the first is where to look. */
  readonly faults: readonly AuditFault[]
}

const MOST_FAULTS = 20
const PROGRESS_EVERY = 1024

/** Verifies the log at `path` with its rotated files. */
export async function verifyLog(path: string, options: VerifyOptions): Promise<VerifyReport> {
  return verifyFiles(await logFiles(path), options)
}

/** Verifies files that together are one log, oldest first. */
export async function verifyFiles(files: readonly string[], options: VerifyOptions): Promise<VerifyReport> {
  const walk = new Walk(options)
  let before = 0
  for (const file of files) {
    let number = 0
    let end = 0
    for await (const line of linesForward(file)) {
      walk.take(line, { file, line: ++number })
      end = line.start + line.text.length
      if (number % PROGRESS_EVERY === 0) options.onProgress?.(before + end)
    }
    before += end
  }
  return walk.report()
}

type Where = { readonly file: string; readonly line: number }
type Last = Place & { readonly time: string }

class Walk {
  readonly #options: VerifyOptions
  readonly #keys: ReadonlyMap<string, KeyObject>
  readonly #anchors: Map<number, string>
  readonly #faults: AuditFault[] = []
  readonly #open = new Set<string>()
  #first: { seq: number; time: string } | undefined
  #last: Last | undefined
  #where: Where = { file: '', line: 0 }
  #records = 0
  #signed = 0
  #checkpoints = 0
  #gaps = 0

  constructor(options: VerifyOptions) {
    this.#options = options
    this.#keys = new Map(options.publicKeys.map(key => [keyId(key), key]))
    this.#anchors = new Map(options.anchors?.map(({ seq, hash }) => [seq, hash]))
  }

  take(line: FileLine, where: Where): void {
    this.#where = where
    if (!line.ended) return this.#fault('is torn: the file ends inside a record')
    const read = readLine(line.text)
    if (read.kind === 'fault') return this.#fault(read.what)
    const { place, members } = read
    this.#records++
    this.#checkPlace(place)
    this.#checkAnchor(place)
    if (place.event === 'checkpoint') this.#checkSignature(line.text, members.key)
    if (place.event === 'audit.gap') this.#gaps++
    this.#follow(place.event, members.request)
    const time = String(members.time)
    this.#first ??= { seq: place.seq, time }
    this.#last = { ...place, time }
  }

  report(): VerifyReport {
    for (const seq of this.#anchors.keys())
      this.#fault(`record ${seq}, known from elsewhere, is not in the log`)
    const { seq, time, hash } = this.#last ?? {}
    return {
      ok: this.#faults.length === 0,
      records: this.#records,
      signed: this.#signed,
      unsigned: this.#records - this.#signed,
      checkpoints: this.#checkpoints,
      gaps: this.#gaps,
      unfinished: this.#open.size,
      first: this.#first,
      last: seq === undefined || time === undefined || hash === undefined ? undefined : { seq, time, hash },
      faults: this.#faults,
    }
  }

  #checkPlace(place: Place): void {
    const last = this.#last
    if (last === undefined && this.#options.mayStartLater) return
    const { seq, hash } = last ?? EMPTY_CHAIN
    if (last !== undefined && place.instance !== last.instance && place.event !== 'start')
      return this.#fault('belongs to the log of another instance')
    if (place.seq > seq + 1) return this.#fault(`follows a hole: ${missing(seq + 1, place.seq - 1)}`)
    if (place.seq <= seq) return this.#fault(`stands after record ${seq} but is record ${place.seq}`)
    if (place.prev !== hash) this.#fault('does not follow the record before it')
  }

  #checkAnchor(place: Place): void {
    const hash = this.#anchors.get(place.seq)
    if (hash === undefined) return
    this.#anchors.delete(place.seq)
    if (hash !== place.hash) this.#fault('is not the record that is known from elsewhere')
  }

  // A checkpoint vouches for what is before it only while nothing before it is at fault.
  #checkSignature(text: string, id: unknown): void {
    const key = this.#keys.get(String(id))
    if (key === undefined) return this.#fault(FOREIGN_KEY)
    if (!isSignedBy(text, key)) return this.#fault('has a signature that does not fit')
    this.#checkpoints++
    if (this.#faults.length === 0) this.#signed = this.#records
  }

  #follow(event: string, request: unknown): void {
    if (typeof request !== 'string') return
    if (event === 'intent') this.#open.add(request)
    else if (event === 'outcome' || event === 'refused') this.#open.delete(request)
  }

  #fault(what: string): void {
    if (this.#faults.length < MOST_FAULTS) this.#faults.push({ ...this.#where, what })
  }
}

function missing(from: number, to: number): string {
  return from === to ? `record ${from} is missing` : `records ${from} to ${to} are missing`
}
