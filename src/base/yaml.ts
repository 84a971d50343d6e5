/**
 * The only door to YAML: text to plain data with positions, and edits that keep a person's comments.
 *
 * Rules of this file (threat-model.md B6, B8): YAML 1.2 core, one document, bounded size and depth; no anchors, aliases, tags,
 * directives or merge keys; a warning is a fault; all faults are collected. Data has null-prototype mappings only.
 */
import {
  type Alias,
  Composer,
  type CST,
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  Parser,
} from 'yaml'
import { CloakroomError } from './errors.ts'
import { kib } from './size.ts'

/** One thing wrong in one file. `path` as people write it: rules[1].target; empty for the file as a whole. */
export type Fault = {
  readonly file: string
  readonly line: number
  readonly column: number
  readonly path: string
  readonly message: string
  readonly hint?: string
}

/** Keys and indexes from the top of a document. */
export type DataPath = readonly (string | number)[]

/** Lines and columns count from 1. */
export type Position = { readonly line: number; readonly column: number }

export type ParsedYaml = {
  readonly file: string
  /** Null-prototype objects, arrays and scalars; undefined when there are faults. */
  readonly data: unknown
  readonly faults: readonly Fault[]
  /** Where the value at `path` starts, or its key (`'key'`); the nearest parent's place when there is none. */
  position(path: DataPath, part?: 'key' | 'value'): Position
}

export const MAX_YAML_SIZE = kib(256) // B6: far above any policy seen, and parsed in well under a second
const MAX_DEPTH = 20
// Block and flow collections nest at most two parser frames a level; the document and its scalar add two more.
const MAX_FRAMES = MAX_DEPTH * 2 + 2
const TOO_DEEP = `the file nests deeper than ${MAX_DEPTH} levels`
const FORBIDDEN_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])
const OPTIONS = { version: '1.2', schema: 'core', strict: true, uniqueKeys: true, merge: false } as const

/** Parses one document; never throws. `file` is the name that faults carry. */
export function parseYaml(text: string, { file }: { readonly file: string }): ParsedYaml {
  const lines = new LineCounter()
  const reading: Reading = { file, lines, faults: [], places: new Map() }
  const document = compose(text, reading)
  const data = document === undefined ? undefined : readRoot(document, reading)
  return {
    file,
    data: reading.faults.length === 0 ? data : undefined,
    faults: reading.faults,
    position: (path, part = 'value') => positionOf(reading, path, part),
  }
}

/** Writes `file:line:column: path: message`, and the hint on a line of its own. */
export function formatFault(fault: Fault): string {
  const path = fault.path === '' ? '' : `${fault.path}: `
  const hint = fault.hint === undefined ? '' : `\n  hint: ${fault.hint}`
  return `${fault.file}:${fault.line}:${fault.column}: ${path}${fault.message}${hint}`
}

/** Writes a path as people do: rules[1].target. */
export function formatPath(path: DataPath): string {
  return path
    .map(step => (typeof step === 'number' ? `[${step}]` : `.${step}`))
    .join('')
    .replace(/^\./, '')
}

/** Makes a fault about the value at `path`. */
export function faultAt(parsed: ParsedYaml, path: DataPath, message: string, hint?: string): Fault {
  const place = { file: parsed.file, ...parsed.position(path), path: formatPath(path), message }
  return hint === undefined ? place : { ...place, hint }
}

/** What an edit may do to a document; paths as in DataPath. */
export interface YamlEditor {
  has(path: DataPath): boolean
  /** Sets the value at `path`, in flow style (one line) when asked; comments around it stay. */
  set(path: DataPath, value: unknown, style?: 'block' | 'flow'): void
  /** Adds to the sequence at `path`, which is made when absent. */
  append(path: DataPath, value: unknown, style?: 'block' | 'flow'): void
  remove(path: DataPath): void
}

/**
 * Changes a document and keeps its comments, order and blank lines.
 *
 * @throws CLI_USAGE when the text is not a document that parseYaml accepts.
 */
export function editYaml(text: string, edit: (editor: YamlEditor) => void): string {
  const reading: Reading = { file: 'document', lines: new LineCounter(), faults: [], places: new Map() }
  const document = compose(text, reading)
  if (document !== undefined) readRoot(document, reading)
  const fault = reading.faults[0]
  if (document === undefined || fault !== undefined) {
    throw new CloakroomError('CLI_USAGE', { what: `the file cannot be edited: ${fault?.message ?? 'empty'}` })
  }
  edit(editorOf(document))
  return document.toString({ lineWidth: 0, flowCollectionPadding: true })
}

function editorOf(document: Document.Parsed): YamlEditor {
  const nodeOf = (value: unknown, style: 'block' | 'flow') =>
    document.createNode(value, { flow: style === 'flow', aliasDuplicateObjects: false })
  return {
    has: path => document.hasIn(path),
    set: (path, value, style = 'block') => document.setIn(path, nodeOf(value, style)),
    append(path, value, style = 'block') {
      const list = document.getIn(path)
      if (!isSeq(list)) return document.setIn(path, nodeOf([value], style))
      if (list.items.length === 0 && style === 'block') list.flow = false
      list.add(nodeOf(value, style))
    },
    remove: path => void document.deleteIn(path),
  }
}

type Place = { readonly key: number | undefined; readonly value: number }

type Reading = {
  readonly file: string
  readonly lines: LineCounter
  readonly faults: Fault[]
  readonly places: Map<string, Place>
}

const placeKey = (path: DataPath): string => JSON.stringify(path)

function positionOf(reading: Reading, path: DataPath, part: 'key' | 'value'): Position {
  for (let length = path.length; length >= 0; length--) {
    const place = reading.places.get(placeKey(path.slice(0, length)))
    if (place === undefined) continue
    return lineAndColumn(reading, part === 'key' ? (place.key ?? place.value) : place.value)
  }
  return { line: 1, column: 1 }
}

function lineAndColumn(reading: Reading, offset: number): Position {
  const { line, col } = reading.lines.linePos(offset)
  return { line: Math.max(line, 1), column: Math.max(col, 1) }
}

function report(reading: Reading, offset: number, path: DataPath, message: string): void {
  const { line, column } = lineAndColumn(reading, offset)
  reading.faults.push({ file: reading.file, line, column, path: formatPath(path), message })
}

// Who writes */name means the text: a star in front makes it an alias.
function reportAlias(reading: Reading, node: Alias, path: DataPath): void {
  const { line, column } = lineAndColumn(reading, node.range?.[0] ?? 0)
  const fault = {
    file: reading.file,
    line,
    column,
    path: formatPath(path),
    message: 'aliases are not allowed',
  }
  const isShort = /^[!-~]{1,64}$/.test(node.source) && !node.source.includes("'")
  reading.faults.push(isShort ? { ...fault, hint: `if text is meant, quote it: '*${node.source}'` } : fault)
}

function compose(text: string, reading: Reading): Document.Parsed | undefined {
  if (Buffer.byteLength(text) > MAX_YAML_SIZE) {
    report(reading, 0, [], `the file is larger than ${MAX_YAML_SIZE} bytes`)
    return undefined
  }
  const tokens = boundedTokens(text, reading)
  if (tokens === undefined) return undefined
  const composer = new Composer({ ...OPTIONS, lineCounter: reading.lines, prettyErrors: false })
  const [document, second] = [...composer.compose(tokens, true, text.length)] as Document.Parsed[]
  if (second !== undefined) report(reading, second.range[0], [], 'the file holds more than one document')
  for (const { pos, message } of [...(document?.errors ?? []), ...(document?.warnings ?? [])]) {
    report(reading, pos[0], [], lowerFirst(message))
  }
  return document
}

/** Tokens of the text, or undefined once it nests too deep: the composer recurses, so this stands before it (B6). */
function boundedTokens(text: string, reading: Reading): CST.Token[] | undefined {
  const parser = new Parser(reading.lines.addNewLine)
  reading.lines.addNewLine(0)
  const tokens: CST.Token[] = []
  for (const lexeme of new Lexer().lex(text)) {
    for (const token of parser.next(lexeme)) tokens.push(token)
    if (parser.stack.length > MAX_FRAMES) {
      report(reading, parser.offset, [], TOO_DEEP)
      return undefined
    }
  }
  for (const token of parser.end()) tokens.push(token)
  return tokens
}

function readRoot(document: Document.Parsed, reading: Reading): unknown {
  if (document.directives.yaml.explicit === true || Object.keys(document.directives.tags).length > 1) {
    report(reading, 0, [], 'directives are not allowed')
  }
  return readNode(document.contents, [], reading)
}

function readNode(node: Node | null, path: DataPath, reading: Reading): unknown {
  if (node === null) return null
  const offset = node.range?.[0] ?? 0
  reading.places.set(placeKey(path), { key: reading.places.get(placeKey(path))?.key, value: offset })
  if (path.length > MAX_DEPTH) {
    report(reading, offset, path, TOO_DEEP)
    return undefined
  }
  if (isAlias(node)) {
    reportAlias(reading, node, path)
    return undefined
  }
  if ('anchor' in node && node.anchor !== undefined) report(reading, offset, path, 'anchors are not allowed')
  if (hasWrittenTag(node)) report(reading, offset, path, 'tags are not allowed')
  if (isSeq(node)) return node.items.map((item, i) => readNode(item as Node | null, [...path, i], reading))
  if (isMap(node)) return readMap(node.items as readonly RawPair[], path, reading)
  return isScalar(node) ? node.value : undefined
}

type RawPair = { readonly key: Node | null; readonly value: Node | null }

function readMap(items: readonly RawPair[], path: DataPath, reading: Reading): unknown {
  const data: Record<string, unknown> = Object.create(null)
  for (const { key, value } of items) {
    const offset = key?.range?.[0] ?? 0
    if (!isScalar(key) || typeof key.value !== 'string') {
      report(reading, offset, path, 'a key must be text')
      continue
    }
    if (key.value === '<<') report(reading, offset, path, 'merge keys are not allowed')
    else if (FORBIDDEN_KEYS.has(key.value)) report(reading, offset, path, 'this key is not allowed')
    if (key.anchor !== undefined) report(reading, offset, path, 'anchors are not allowed')
    if (hasWrittenTag(key)) report(reading, offset, path, 'tags are not allowed')
    const at = [...path, key.value]
    reading.places.set(placeKey(at), { key: offset, value: offset })
    data[key.value] = readNode(value, at, reading)
  }
  return data
}

// The composer sets `tag` on collections and scalars only where the text has one.
function hasWrittenTag(node: Node): boolean {
  return (isCollection(node) || isScalar(node)) && node.tag !== undefined
}

const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1)
