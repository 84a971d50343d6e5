/**
 * Turns what is known of an exchange into the members of an audit record, as text.
 *
 * Rules of this file: one line, one object, whatever the strings hold: everything outside printable ASCII is escaped, so nothing can
 * forge a line, repaint a terminal or hide (threat-model.md K3). Every field has a cap in written bytes, and so has the record. A value,
 * a full placeholder, a header, a body or a query value has no way in (SECURITY I4). JSON is written by hand because this runs
 * twice in every exchange; the test compares it with JSON.parse.
 */
import { invariant } from '../base/assert.ts'
import { AUDIT_EVENTS } from '../model/audit-event.ts'
import type { AuditFields, ExchangeRecord, RefusedPlaceholder, SwapRecord } from '../model/exchange.ts'

/** The largest line, newline included; a reader may rely on it. */
export const MAX_LINE_BYTES = 4096

// Caps in written bytes. Their sum, with frame and names, stays below MAX_LINE_BYTES: test/audit/encode.test.ts holds it to that.
const CAPS = { name: 64, policy: 80, target: 300, method: 32, path: 256, query: 64, location: 96, error: 48 }
const MAX_QUERY_NAMES = 8
const SWAPS_BYTES = 1600
const MAX_REFUSED = 4
const NOTE_BYTES = 3400
const NOTE_STRING = 512

const PLAIN = /^[ !#-[\]-~]*$/
const OUTSIDE_ASCII = /[\u007f-\uffff]/g
const FIELD_NAME = /^[a-z][a-z0-9_]{0,40}$/
const EVENT_NAME = /^[a-z][a-z0-9_.-]{0,62}$/
const FRAME = new Set(['v', 'seq', 'time', 'instance', 'event', 'prev', 'hash', 'signature'])
const OWN_EVENTS: ReadonlySet<string> = new Set(AUDIT_EVENTS)

/** Writes `text` as a JSON string of printable ASCII of at most `cap` bytes between the quotes; a cut one ends in U+2026. */
export function quote(text: string, cap: number): string {
  if (text.length <= cap && PLAIN.test(text)) return `"${text}"`
  const escaped = JSON.stringify(text.slice(0, cap + 1))
    .slice(1, -1)
    .replace(OUTSIDE_ASCII, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
  return escaped.length <= cap ? `"${escaped}"` : `"${cutEscaped(escaped, cap - 6)}\\u2026"`
}

// A placeholder in its masked form has U+2026 in it and nothing else to escape: a shorter way for what stands in every intent.
function quoteMasked(text: string): string {
  const mark = text.indexOf('\u2026')
  const isPlain =
    mark >= 0 && text.length < CAPS.name - 6 && PLAIN.test(text.slice(0, mark) + text.slice(mark + 1))
  return isPlain ? `"${text.slice(0, mark)}\\u2026${text.slice(mark + 1)}"` : quote(text, CAPS.name)
}

// Cuts between escapes, never inside one: an escape is \X or \uXXXX.
function cutEscaped(escaped: string, cap: number): string {
  let end = 0
  for (;;) {
    const step = escaped[end] !== '\\' ? 1 : escaped[end + 1] === 'u' ? 6 : 2
    if (end + step > cap) return escaped.slice(0, end)
    end += step
  }
}

/** The members of one or more `intent` records: swaps that do not fit into one line go into another (none is left out). */
export function encodeIntents(record: Readonly<ExchangeRecord>): readonly string[] {
  const start = `"event":"intent",${subject(record)}`
  const end = `${stale(record)}${trace(record)}`
  return packSwaps(record.swaps).map(list => `${start},"swaps":[${list.join(',')}]${end}`)
}

/**
 * The members of the one record that ends an exchange: `outcome`, or `refused` where nothing was sent.
 *
 * Swaps are named only where no intent has named them already.
 */
export function encodeOutcome(record: Readonly<ExchangeRecord>): string {
  const event = record.sent || record.intended ? 'outcome' : 'refused'
  return `"event":"${event}",${subject(record)}${record.intended ? '' : swapsOf(record)}${stale(record)}${trace(record)}${ending(record)}`
}

function ending(record: Readonly<ExchangeRecord>): string {
  const { outcome } = record
  let text = `,"outcome":"${outcome?.kind ?? 'proxy_error'}"`
  if (outcome?.status !== undefined) text += `,"status":${whole(outcome.status)}`
  if (outcome?.error !== undefined) text += `,"error":${quote(outcome.error, CAPS.error)}`
  if (outcome?.reason !== undefined) text += `,"reason":${quote(outcome.reason, CAPS.error)}`
  text += refusedOf(record)
  if (record.observed !== undefined) text += `,"observed":${quote(record.observed, CAPS.error)}`
  text += `,"bytes":{"upstream":${whole(record.bytesToUpstream)},"caller":${whole(record.bytesToCaller)}}`
  if (record.redactions > 0) text += `,"redactions":${whole(record.redactions)}`
  if (record.duration !== undefined) text += `,"duration_ms":${thousandths(record.duration)}`
  return text
}

/** What is kept of an intent that a crash left open, to close it (threat-model.md K5). */
export type Unfinished = {
  readonly request: string
  readonly seq: number
  readonly fields: Readonly<Record<string, string>>
}

/** Members that an intent shares with the outcome that closes it. */
export const SUBJECT_NAMES = ['caller', 'tenant', 'rule', 'policy', 'target', 'method', 'path'] as const

/** The members of the outcome that closes an intent whose end nobody knows. */
export function encodeUnknown(unfinished: Unfinished): string {
  let text = `"event":"outcome","request":${quote(unfinished.request, CAPS.name)}`
  for (const name of SUBJECT_NAMES) {
    const value = unfinished.fields[name]
    if (value !== undefined) text += `,"${name}":${quote(value, CAPS.target)}`
  }
  return `${text},"outcome":"unknown"`
}

/** The members of an event of administration, policy, keys, start or stop; fields beyond the cap are left out and it says so. */
export function encodeNote(event: string, fields: AuditFields): string {
  invariant(EVENT_NAME.test(event) && !OWN_EVENTS.has(event), 'the name of a noted event')
  return encodeOwn(event, fields)
}

/** As encodeNote, for the trail's own events (start, stop, rotated, audit.gap). */
export function encodeOwn(event: string, fields: AuditFields): string {
  let text = `"event":"${event}"`
  for (const [name, value] of Object.entries(fields)) {
    invariant(FIELD_NAME.test(name) && !FRAME.has(name), 'the name of an audit field')
    if (value === undefined) continue
    const member = `,"${name}":${fieldValue(value)}`
    if (text.length + member.length > NOTE_BYTES) return `${text},"clipped":true`
    text += member
  }
  return text
}

function fieldValue(value: string | number | boolean | readonly string[]): string {
  if (typeof value === 'string') return quote(value, NOTE_STRING)
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : 'null'
  if (typeof value === 'boolean') return String(value)
  return `[${value.map(item => quote(item, NOTE_STRING)).join(',')}]`
}

function subject(record: Readonly<ExchangeRecord>): string {
  let text = `"request":${quote(record.request, CAPS.name)}`
  if (record.caller !== undefined) text += `,"caller":${quote(record.caller, CAPS.name)}`
  if (record.tenant !== undefined) text += `,"tenant":${quote(record.tenant, CAPS.name)}`
  if (record.rule !== undefined) text += `,"rule":${quote(record.rule, CAPS.name)}`
  if (record.policy !== undefined) text += `,"policy":${quote(record.policy, CAPS.policy)}`
  if (record.target !== undefined) text += `,"target":${quote(record.target, CAPS.target)}`
  if (record.method !== undefined) text += `,"method":${quote(record.method, CAPS.method)}`
  if (record.path !== undefined) text += `,"path":${quote(record.path, CAPS.path)}`
  return record.queryKeys === undefined || record.queryKeys.length === 0
    ? text
    : `${text},"query":[${queryNames(record.queryKeys)}]`
}

function queryNames(names: readonly string[]): string {
  const listed = names.slice(0, MAX_QUERY_NAMES).map(name => quote(name, CAPS.query))
  if (names.length > MAX_QUERY_NAMES) listed.push('"\\u2026"')
  return listed.join(',')
}

function stale({ swaps }: Readonly<ExchangeRecord>): string {
  return swaps.some(swap => swap.stale) ? ',"stale":true' : ''
}

function trace(record: Readonly<ExchangeRecord>): string {
  return record.trace === undefined ? '' : `,"trace":${quote(record.trace, CAPS.name)}`
}

function swapsOf(record: Readonly<ExchangeRecord>): string {
  if (record.swaps.length === 0) return ''
  const listed = packSwaps(record.swaps)[0] ?? []
  const more = record.swaps.length - listed.length
  return `,"swaps":[${listed.join(',')}]${more > 0 ? `,"swaps_more":${more}` : ''}`
}

// Packs swaps, in order, into as few lists as fit into a line each.
function packSwaps(swaps: readonly SwapRecord[]): string[][] {
  let list: string[] = []
  let bytes = 0
  const lists = [list]
  for (const swap of swaps) {
    const item = encodeSwap(swap)
    if (bytes > 0 && bytes + item.length > SWAPS_BYTES) {
      list = []
      bytes = 0
      lists.push(list)
    }
    list.push(item)
    bytes += item.length + 1
  }
  return lists
}

function encodeSwap(swap: SwapRecord): string {
  return `{"secret":${quote(swap.secret, 2 * CAPS.name)},"version":${whole(swap.version)},"placeholder":${quoteMasked(swap.placeholder)},"in":${quote(swap.in, CAPS.location)},"fingerprint":${quote(swap.fingerprint, CAPS.name)}}`
}

// Where there are swaps, policy refused nothing; together they would not fit into a line.
function refusedOf({ refused, swaps }: Readonly<ExchangeRecord>): string {
  if (refused === undefined || refused.length === 0 || swaps.length > 0) return ''
  return `,"refused":[${refused.slice(0, MAX_REFUSED).map(encodeRefused).join(',')}]`
}

function encodeRefused({ secret, placeholder, in: place }: RefusedPlaceholder): string {
  const members = [`"placeholder":${quote(placeholder, CAPS.name)}`]
  if (secret !== undefined) members.unshift(`"secret":${quote(secret, 2 * CAPS.name)}`)
  if (place !== undefined) members.push(`"in":${quote(place, CAPS.location)}`)
  return `{${members.join(',')}}`
}

// Numbers are ours, but a NaN would make a line that is not JSON.
function whole(count: number): string {
  return Number.isSafeInteger(count) ? String(count) : '0'
}

function thousandths(millis: number): string {
  return Number.isFinite(millis) ? String(Math.round(millis * 1000) / 1000) : '0'
}
