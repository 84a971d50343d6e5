/**
 * Checks parsed YAML against a valibot schema and says what is wrong, where, and what was probably meant.
 *
 * Rule of this file: every fault is reported, not only the first. A text that a person wrote is quoted only where the schema
 * has a closed list of words; elsewhere it could be a password in the wrong place (threat-model.md K4).
 */
import * as v from 'valibot'
import { type DataPath, type Fault, faultAt, formatPath, type ParsedYaml } from './yaml.ts'

export type Validated<T> =
  | { readonly kind: 'valid'; readonly value: T }
  | { readonly kind: 'faults'; readonly faults: readonly Fault[] }

type Schema = v.GenericSchema

/** Gives the schema's output, or the faults of the text or of its content, in the order of the file. */
export function validate<const S extends Schema>(schema: S, parsed: ParsedYaml): Validated<v.InferOutput<S>> {
  if (parsed.faults.length > 0) return { kind: 'faults', faults: parsed.faults }
  const result = v.safeParse(schema, parsed.data)
  if (result.success) return { kind: 'valid', value: result.output }
  const faults = result.issues.flatMap(issue => faultsOf(schema, parsed, issue))
  return { kind: 'faults', faults: faults.sort(byPosition) }
}

/** The order of faults for people: by file, then by place. */
export function byPosition(a: Fault, b: Fault): number {
  if (a.file !== b.file) return a.file < b.file ? -1 : 1
  return a.line - b.line || a.column - b.column
}

/** The candidate nearest to `word` (half of the letters may differ), for "did you mean". */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: { text: string; distance: number } | undefined
  for (const text of candidates) {
    const distance = editDistance(word.toLowerCase(), text.toLowerCase())
    const near = distance < text.length && distance <= Math.max(1, Math.floor(text.length * 0.5))
    if (near && distance < (best?.distance ?? Infinity)) {
      best = { text, distance }
    }
  }
  return best?.text
}

function faultsOf(schema: Schema, parsed: ParsedYaml, issue: v.BaseIssue<unknown>): readonly Fault[] {
  const path = (issue.path ?? []).map(item => item.key as string | number)
  if (issue.type === 'strict_object' && issue.expected === 'never') return unknownKeys(schema, parsed, path)
  if (issue.type === 'strict_object' && issue.path?.at(-1)?.origin === 'key') {
    return [faultAt(parsed, path, 'is required')]
  }
  // A union of objects fails as a whole; the branch that came nearest tells more than "expected A | B".
  if (issue.type === 'union' && issue.issues !== undefined && !isOwnMessage(issue)) {
    const inner = issue.issues.filter(sub => (sub.path?.length ?? 0) > 0)
    if (inner.length > 0) return inner.flatMap(sub => faultsOf(schema, parsed, within(issue, sub)))
  }
  return [faultAt(parsed, path, messageOf(issue), hintOf(issue))]
}

function within(outer: v.BaseIssue<unknown>, inner: v.BaseIssue<unknown>): v.BaseIssue<unknown> {
  const path = [...(outer.path ?? []), ...(inner.path ?? [])] as v.BaseIssue<unknown>['path']
  return { ...inner, ...(path === undefined ? {} : { path }) }
}

// valibot stops at the first unknown key of an object; a person wants all of them at once.
function unknownKeys(schema: Schema, parsed: ParsedYaml, path: DataPath): readonly Fault[] {
  const parent = path.slice(0, -1)
  const known = knownKeys(schemasAt(schema, parent))
  const found = valueAt(parsed.data, parent)
  const keys = typeof found === 'object' && found !== null ? Object.keys(found) : []
  return keys
    .filter(key => !known.includes(key))
    .map(key => {
      const meant = nearest(key, known)
      const hint =
        meant === undefined ? `known here: ${known.join(', ')}` : `did you mean ${JSON.stringify(meant)}?`
      const { line, column } = parsed.position([...parent, key], 'key')
      const message = `unknown key ${JSON.stringify(key)}`
      return { file: parsed.file, line, column, path: formatPath(parent), message, hint }
    })
}

function isOwnMessage(issue: v.BaseIssue<unknown>): boolean {
  return !issue.message.startsWith('Invalid ')
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  boolean: 'true or false',
  Object: 'a mapping',
  Array: 'a list',
  null: 'nothing',
  undefined: 'nothing',
}

function messageOf(issue: v.BaseIssue<unknown>): string {
  if (isOwnMessage(issue)) return issue.message
  if (issue.kind === 'validation') return ruleMessage(issue)
  const expected = wordsOf(issue.expected ?? 'another value')
  const closed = issue.type === 'picklist' || issue.type === 'literal' || issue.type === 'variant'
  return `expected ${expected}, found ${closed ? shown(issue.input) : typeName(issue.input)}`
}

// The default messages of valibot's checks quote the input; these do not.
function ruleMessage(issue: v.BaseIssue<unknown>): string {
  const bound = typeof issue.requirement === 'number' ? issue.requirement : undefined
  switch (issue.type) {
    case 'integer':
      return 'must be a whole number'
    case 'min_value':
      return `must be at least ${bound}`
    case 'max_value':
      return `must be at most ${bound}`
    case 'min_length':
      return bound === 1 ? 'must not be empty' : `must have at least ${bound} entries or letters`
    case 'max_length':
      return `must have at most ${bound} entries or letters`
    default:
      return `is not acceptable (${issue.type})`
  }
}

function hintOf(issue: v.BaseIssue<unknown>): string | undefined {
  if (issue.type === 'array' && typeof issue.input === 'string' && /^[\w.:/-]{1,32}$/.test(issue.input))
    return `write a list: [${issue.input}]`
  if (issue.type !== 'picklist' || typeof issue.input !== 'string' || issue.expected === null)
    return undefined
  const meant = nearest(
    issue.input,
    [...issue.expected.matchAll(/"([^"]*)"/g)].map(match => match[1] ?? ''),
  )
  return meant === undefined ? undefined : `did you mean ${JSON.stringify(meant)}?`
}

function wordsOf(expected: string): string {
  const parts = expected.replace(/^\((.*)\)$/, '$1').split(' | ')
  return parts.map(part => TYPE_NAMES[part] ?? part).join(' or ')
}

function typeName(input: unknown): string {
  if (input === null || input === undefined) return 'nothing'
  if (Array.isArray(input)) return 'a list'
  return TYPE_NAMES[typeof input] ?? 'a mapping'
}

function shown(input: unknown): string {
  if (typeof input === 'string') return input.length > 32 ? 'another text' : JSON.stringify(input)
  return typeof input === 'number' || typeof input === 'boolean' ? String(input) : typeName(input)
}

function valueAt(data: unknown, path: DataPath): unknown {
  return path.reduce<unknown>(
    (at, step) => (typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[step] : undefined),
    data,
  )
}

// The parts of valibot's schemas that lead from a mapping or a list to what is in it.
type Inner = {
  readonly entries?: Readonly<Record<string, Inner>>
  readonly item?: Inner
  readonly value?: Inner
  readonly wrapped?: Inner
  readonly pipe?: readonly Inner[]
  readonly options?: readonly unknown[]
}

function schemasAt(schema: Schema, path: DataPath): readonly Inner[] {
  return path.reduce<readonly Inner[]>(
    (schemas, step) =>
      schemas.flatMap(inner => {
        const next = typeof step === 'number' ? inner.item : (inner.entries?.[step] ?? inner.value)
        return next === undefined ? [] : unwrapped(next)
      }),
    unwrapped(schema as unknown as Inner),
  )
}

function unwrapped(schema: Inner): readonly Inner[] {
  const first = schema.pipe?.[0]
  if (first !== undefined && first !== schema) return unwrapped(first)
  if (schema.wrapped !== undefined) return unwrapped(schema.wrapped)
  if (schema.options?.every(option => typeof option === 'object' && option !== null)) {
    return schema.options.flatMap(option => unwrapped(option as Inner))
  }
  return [schema]
}

function knownKeys(schemas: readonly Inner[]): string[] {
  return [...new Set(schemas.flatMap(schema => Object.keys(schema.entries ?? {})))]
}

// Levenshtein's distance with one row; words here have a few dozen letters at most.
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
