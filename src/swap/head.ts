/**
 * Puts credentials where a permit says, in a new head.
 *
 * Rules of this file: every placeholder in the head is swapped or the request is refused (threat-model.md C11, SECURITY I1). One pass
 * by cutting and joining: no String.replace, whose "$&" would be read, and what was put in is never
 * looked at again (C4). Only the bytes of shape and placeholder change.
 */
import { unreachable } from '../base/assert.ts'
import { hasDotSegment } from '../base/dot-segments.ts'
import { CloakroomError } from '../base/errors.ts'
import { formatLocation, type Location, type Swap } from '../model/decision.ts'
import type { RequestHead } from '../model/message.ts'
import { formatSecretRef, type SecretValue } from '../model/secret.ts'
import { encodeForBasic, encodeForHeader, encodeForPath, encodeForQuery } from './encode.ts'
import { findInHead } from './find.ts'
import { PLACEHOLDER_ANCHOR } from './placeholder.ts'
import {
  basicText,
  cutPath,
  headerPlace,
  isBasic,
  type Place,
  parameterName,
  parametersOf,
  pathPlaces,
  readBasic,
  wholePlace,
} from './places.ts'

/** An opened secret as this module needs it: its value, and the shape that its placeholder wears ('' for none). */
export type OpenedSecretLike = { readonly value: SecretValue; readonly shape: string }

/** A text that carries a credential in a form of its own (the base64 of Basic), and the text that the caller sent instead. */
export type SentForm = { readonly sent: Buffer; readonly original: Buffer }

/** `forms` is what redaction must look for besides the values themselves; dispose of it like of a value. */
export type SwappedHead = { readonly head: RequestHead; readonly forms: readonly SentForm[] }

/** A request may grow by this many bytes through its swaps (threat-model.md C9). */
export const MAX_GROWTH = 65_536

/** What one call works with; `grown` and `forms` are filled as it goes. */
type Work = {
  readonly swaps: ReadonlyMap<string, Swap>
  readonly values: ReadonlyMap<string, OpenedSecretLike>
  readonly forms: SentForm[]
  grown: number
}

/**
 * Makes the head that goes upstream. `values` is keyed by placeholder, as a Swap names it.
 *
 * @throws SWAP_REFUSED when head and swaps do not agree exactly, or a shape is missing or not the secret's;
 * SWAP_VALUE_UNFIT when a value cannot stand where it would go.
 */
export function swapHead(
  head: RequestHead,
  swaps: readonly Swap[],
  values: ReadonlyMap<string, OpenedSecretLike>,
): SwappedHead {
  const work: Work = { swaps: indexSwaps(head, swaps), values, forms: [], grown: 0 }
  if (work.swaps.size === 0) return { head, forms: [] }
  const headers = head.headers.map(([name, value]) => [name, swapHeader(name, value, work)] as const)
  return { head: { ...head, path: swapPath(head.path, work), headers }, forms: work.forms }
}

// The permit was made for what was found before hop-by-hop headers were stripped; what is here now must be the same set. That
// each of these has its swap is seen where it is swapped: as many places as swaps, and none without one.
function indexSwaps(head: RequestHead, swaps: readonly Swap[]): ReadonlyMap<string, Swap> {
  const indexed = new Map(swaps.map(swap => [keyOf(swap.placeholder, swap.location), swap]))
  const found = new Set<string>()
  for (const { placeholder, location } of findInHead(head)) {
    if (location === undefined) throw new CloakroomError('SWAP_REFUSED', {})
    found.add(keyOf(placeholder, location))
  }
  if (found.size !== indexed.size) throw new CloakroomError('SWAP_REFUSED', {})
  return indexed
}

function keyOf(placeholder: string, location: Location): string {
  return `${placeholder} ${formatLocation(location)}`
}

function swapHeader(name: string, value: string, work: Work): string {
  if (isBasic(name, value)) return swapBasic(value, work)
  const place = value.includes(PLACEHOLDER_ANCHOR) ? headerPlace(value) : undefined
  return place === undefined
    ? value
    : swapWhole(value, place, { in: 'header', name: name.toLowerCase() }, work)
}

function swapBasic(value: string, work: Work): string {
  const pair = readBasic(value)
  if (pair === undefined) return value
  const user = swapPart(pair.user, 'user', work)
  const password = swapPart(pair.password, 'password', work)
  if (user === pair.user && password === pair.password) return value
  const original = basicText(value)
  const sent = Buffer.from(`${user}:${password}`, 'latin1').toString('base64')
  work.forms.push({ sent: ownBytes(sent), original: ownBytes(original) })
  return value.slice(0, value.length - original.length) + sent
}

function swapPart(text: string, part: 'user' | 'password', work: Work): string {
  const place = wholePlace(text)
  return place === undefined ? text : swapWhole(text, place, { in: 'basic', part }, work)
}

function swapPath(target: string, work: Work): string {
  if (!target.includes(PLACEHOLDER_ANCHOR)) return target
  const { path, query } = cutPath(target)
  const swapped = swapInPath(path, work)
  return query === undefined ? swapped : `${swapped}?${swapQuery(query, work)}`
}

function swapInPath(path: string, work: Work): string {
  let text = ''
  let done = 0
  const places = pathPlaces(path)
  for (const { start, end, placeholder } of places) {
    const before = path.slice(done, start)
    const { shape } = openedFor(placeholder, work)
    text += before.endsWith(shape) ? before.slice(0, before.length - shape.length) : before
    text += credentialFor(placeholder, { in: 'path' }, work)
    done = end
  }
  text += path.slice(done)
  // Policy read the path with the placeholder in it; a value like ".%2e" must not make another path of it (threat-model.md B1).
  const last = places.at(-1)
  if (last !== undefined && hasDotSegment(text)) throw unfit(swapFor(last.placeholder, { in: 'path' }, work))
  return text
}

function swapQuery(query: string, work: Work): string {
  let text = ''
  let done = 0
  for (const { name, value, at } of parametersOf(query)) {
    const place = wholePlace(value)
    const decoded = place === undefined ? undefined : parameterName(name)
    if (place === undefined || decoded === undefined) continue
    text += query.slice(done, at) + swapWhole(value, place, { in: 'query', name: decoded }, work)
    done = at + value.length
  }
  return text + query.slice(done)
}

// Where the placeholder is the whole value, what stands in front of it must be exactly the shape that the secret was put with.
function swapWhole(text: string, place: Place, location: Location, work: Work): string {
  const { shape } = openedFor(place.placeholder, work)
  if (text.slice(place.from, place.start) !== shape) throw new CloakroomError('SWAP_REFUSED', {})
  return text.slice(0, place.from) + credentialFor(place.placeholder, location, work)
}

function credentialFor(placeholder: string, location: Location, work: Work): string {
  const swap = swapFor(placeholder, location, work)
  const text = openedFor(placeholder, work).value.use(bytes => encodeFor(location, bytes))
  work.grown += text?.length ?? 0
  if (text !== undefined && work.grown <= MAX_GROWTH) return text
  throw unfit(swap)
}

function swapFor(placeholder: string, location: Location, work: Work): Swap {
  const swap = work.swaps.get(keyOf(placeholder, location))
  if (swap === undefined) throw new CloakroomError('SWAP_REFUSED', {})
  return swap
}

function unfit(swap: Swap): CloakroomError<'SWAP_VALUE_UNFIT'> {
  const details = { secret: formatSecretRef(swap.secret), location: formatLocation(swap.location) }
  return new CloakroomError('SWAP_VALUE_UNFIT', details)
}

function encodeFor(location: Location, bytes: Buffer): string | undefined {
  switch (location.in) {
    case 'header':
      return encodeForHeader(bytes)
    case 'basic':
      return encodeForBasic(bytes, location.part)
    case 'query':
      return encodeForQuery(bytes)
    case 'path':
      return encodeForPath(bytes)
    default:
      return unreachable(location)
  }
}

function openedFor(placeholder: string, work: Work): OpenedSecretLike {
  const opened = work.values.get(placeholder)
  if (opened === undefined) throw new CloakroomError('SWAP_REFUSED', {})
  return opened
}

// Memory of their own, outside Node's shared pool, so that whoever disposes of them can overwrite them (threat-model.md N6).
function ownBytes(text: string): Buffer {
  const bytes = Buffer.allocUnsafeSlow(text.length)
  bytes.write(text, 'latin1')
  return bytes
}
