/**
 * Finds every placeholder in a request head, and says where it stands.
 *
 * Rule of this file: nothing that looks like a placeholder is passed over. What stands where no rule could name it, does not
 * parse, or is disguised comes back without a location, and such a finding refuses the request (security.md C1, C5, C11;
 * SECURITY I1). Matching is case-sensitive; a head without a placeholder costs well under a microsecond.
 */
import type { Location } from '../model/decision.ts'
import type { RequestHead } from '../model/message.ts'
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
  repeatedNames,
  wholePlace,
} from './places.ts'

/**
 * One placeholder in a head. `placeholder` is without its shape, and empty when what was found is malformed or disguised.
 * `location` is undefined where no placeholder may stand.
 */
export type Occurrence = { readonly placeholder: string; readonly location: Location | undefined }

const NONE: readonly Occurrence[] = []

/** Finds the placeholders of method, host, path, query and headers, in this order; a placeholder may come more than once. */
export function findInHead(head: RequestHead): readonly Occurrence[] {
  if (!mayHold(head)) return NONE
  const repeated = repeatedNames(head.headers)
  return [
    ...misplaced(head.method),
    ...misplaced(head.target.host),
    ...findInPath(head.path),
    ...head.headers.flatMap(([name, value]) => [...misplaced(name), ...findInHeader(name, value, repeated)]),
  ]
}

// The common case: no placeholder at all. Loops and one regular expression, no closures, nothing allocated.
function mayHold(head: RequestHead): boolean {
  if (mayHoldPlaceholder(head.path) || mayHoldPlaceholder(head.method)) return true
  if (mayHoldPlaceholder(head.target.host)) return true
  for (const [name, value] of head.headers) {
    if (mayHoldPlaceholder(value) || isBasic(name, value)) return true
    if (name.length > 5 && mayHoldPlaceholder(name)) return true
  }
  return false
}

function findInHeader(name: string, value: string, repeated: ReadonlySet<string>): Occurrence[] {
  const lower = name.toLowerCase()
  if (isBasic(name, value)) return repeated.has(lower) ? misplacedBasic(value) : findInBasic(value)
  const all = misplaced(value)
  const place = all.length === 1 ? headerPlace(value) : undefined
  if (place === undefined || repeated.has(lower) || neverHoldsCredential(lower)) return all
  return [{ placeholder: place.placeholder, location: { in: 'header', name: lower } }]
}

function findInBasic(value: string): Occurrence[] {
  const all = misplacedBasic(value)
  const pair = readBasic(value)
  if (all.length === 0 || pair === undefined) return all
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
  if (!mayHoldPlaceholder(target)) return []
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
  return mayHoldPlaceholder(text) ? [...plain(text), ...disguised(text)] : []
}

function plain(text: string): Occurrence[] {
  return scanPlaceholders(text).map(({ placeholder }) => ({
    placeholder: placeholder ?? '',
    location: undefined,
  }))
}

function disguised(text: string): Occurrence[] {
  return holdsDisguise(text) ? [{ placeholder: '', location: undefined }] : []
}
