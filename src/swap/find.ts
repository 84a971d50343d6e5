/**
 * Finds every placeholder in a request head, and says where it stands.
 *
 * Rule of this file: nothing that looks like a placeholder is passed over. What stands where no rule could name it, does not
 * parse, or is disguised comes back without a location, and such a finding refuses the request (threat-model.md C1, C5, C11;
 * SECURITY I1). Matching is case-sensitive; a head without a placeholder costs well under a microsecond.
 */
import type { Location } from '../model/decision.ts'
import { type HeaderList, headerValues, type RequestHead } from '../model/message.ts'
import { holdsDisguise, mayHoldPlaceholder } from './disguise.ts'
import { scanPlaceholders } from './placeholder.ts'
import {
  basicText,
  cutPath,
  headerPlace,
  isBasic,
  neverHoldsCredential,
  type Parameter,
  parameterName,
  parametersOf,
  pathPlaces,
  readBasic,
  wholePlace,
} from './places.ts'

/**
 * One placeholder in a head. `placeholder` is without its shape, and empty when what was found is malformed or disguised.
 * `location` is undefined where no placeholder may stand.
 */
export type Occurrence = { readonly placeholder: string; readonly location: Location | undefined }

const NONE: readonly Occurrence[] = []

// What stands directly behind a whole placeholder and could be one of its characters: text was added to it.
const LENGTHENED = /[0-9A-Za-z]/

/** Finds the placeholders of method, host, path, query and headers, in this order; a placeholder may come more than once. */
export function findInHead(head: RequestHead): readonly Occurrence[] {
  let found = NONE
  if (mayHoldPlaceholder(head.method)) found = [...found, ...misplaced(head.method)]
  if (mayHoldPlaceholder(head.target.host)) found = [...found, ...misplaced(head.target.host)]
  if (mayHoldPlaceholder(head.path)) found = [...found, ...findInPath(head.path)]
  for (const [name, value] of head.headers) {
    if (mayHoldPlaceholder(name)) found = [...found, ...misplaced(name)]
    if (mayHoldPlaceholder(value) || isBasic(name, value)) {
      found = [...found, ...findInHeader(name, value, head.headers)]
    }
  }
  return found
}

/** Tells whether a list that is never swapped in, such as trailers, holds a placeholder in any spelling (C1). */
export function holdsPlaceholder(headers: HeaderList): boolean {
  return headers.some(([name, value]) =>
    [name, value].some(text => mayHoldPlaceholder(text) && misplaced(text).length > 0),
  )
}

function findInHeader(name: string, value: string, headers: HeaderList): Occurrence[] {
  const lower = name.toLowerCase()
  if (isBasic(name, value)) return findInBasic(value, headers)
  const all = misplaced(value)
  const place = all.length === 1 ? headerPlace(value) : undefined
  if (place === undefined || neverHoldsCredential(lower) || isRepeated(lower, headers)) return all
  return [{ placeholder: place.placeholder, location: { in: 'header', name: lower } }]
}

// The upstream may read the other one, or both as one list (C10).
function isRepeated(lower: string, headers: HeaderList): boolean {
  return headerValues(headers, lower).length > 1
}

function findInBasic(value: string, headers: HeaderList): Occurrence[] {
  const all = misplacedBasic(value)
  if (all.length === 0) return all
  const pair = readBasic(value)
  if (pair === undefined || isRepeated('authorization', headers)) return all
  const found = (['user', 'password'] as const).flatMap((part): Occurrence[] => {
    const place = wholePlace(pair[part])
    return place === undefined ? [] : [{ placeholder: place.placeholder, location: { in: 'basic', part } }]
  })
  return found.length === all.length ? found : all
}

// Decoded as leniently as an upstream may: whatever a server could read out of it counts, canonical or not.
function misplacedBasic(value: string): Occurrence[] {
  const decoded = Buffer.from(basicText(value), 'base64').toString('latin1')
  return [...misplaced(decoded), ...plain(value)]
}

// Disguises are looked for in the target as one text: the "&" of "&#120;" must not hide it.
function findInPath(target: string): Occurrence[] {
  const { path, query } = cutPath(target)
  const inQuery = query === undefined ? [] : parametersOf(query).flatMap(findInParameter)
  return [...findInSegments(path), ...inQuery, ...disguised(target)]
}

function findInSegments(path: string): Occurrence[] {
  const all = plain(path)
  const places = pathPlaces(path)
  if (places.length !== all.length) return all
  return places.map(({ placeholder }) => ({ placeholder, location: { in: 'path' } }))
}

function findInParameter({ name, value }: Parameter): Occurrence[] {
  const place = wholePlace(value)
  const decoded = place === undefined ? undefined : parameterName(name)
  if (place === undefined || decoded === undefined) return [...plain(name), ...plain(value)]
  return [...plain(name), { placeholder: place.placeholder, location: { in: 'query', name: decoded } }]
}

/** Everything in `text` that looks like a placeholder, as findings that refuse. */
function misplaced(text: string): Occurrence[] {
  return [...plain(text), ...disguised(text)]
}

function plain(text: string): Occurrence[] {
  return scanPlaceholders(text).map(({ placeholder, end }) => ({
    placeholder: LENGTHENED.test(text.charAt(end)) ? '' : (placeholder ?? ''),
    location: undefined,
  }))
}

function disguised(text: string): Occurrence[] {
  return holdsDisguise(text) ? [{ placeholder: '', location: undefined }] : []
}
