/**
 * Everything that a person or a script sees: results on stdout, talk on stderr.
 *
 * Rules of this file: with --json a result is one JSON line and an error one JSON object; text that came from elsewhere is made
 * printable; colours and progress bars only on a terminal (https://no-color.org). Nothing else prints.
 */

import { faultsOf } from '../api/problem.ts'
import { systemClock } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { createLog, type Log, type LogFormat, type LogLevel, printable, writeToStderr } from '../base/log.ts'
import { describeFileError } from './file-error.ts'

export type OutputOptions = { readonly json: boolean; readonly quiet: boolean; readonly noColor: boolean }

export interface Output {
  readonly isJson: boolean
  /** Prints the result: `value` as one JSON line with --json, else `text`. */
  result(value: unknown, text: string): void
  /** Prints text as it is, also with --json: for files and variables. */
  raw(text: string): void
  /** Talks to the person; silent with --quiet. */
  say(text: string): void
  warn(text: string): void
  /** Shows how far a long command is; does nothing where nobody watches. */
  progress(label: string): ProgressBar
  fail(cause: unknown): void
  /** A mark and its colour, for lists of checks. */
  mark(kind: Mark): string
}

export type ProgressBar = { update(done: number, total: number): void; end(): void }
export type Mark = 'ok' | 'warning' | 'failed' | 'skipped'

const MARKS: Readonly<Record<Mark, readonly [text: string, color: number]>> = {
  ok: ['ok', 32],
  warning: ['warning', 33],
  failed: ['FAILED', 31],
  skipped: ['skipped', 2],
}
const BAR_WIDTH = 30

export function createOutput(options: OutputOptions): Output {
  const isTalkative = !options.quiet
  const hasColor = process.stdout.isTTY === true && !options.noColor
  return {
    isJson: options.json,
    result: (value, text) => writeOut(options.json ? `${JSON.stringify(value)}\n` : withNewline(text)),
    raw: text => writeOut(text),
    say: text => {
      if (isTalkative) process.stderr.write(withNewline(text))
    },
    warn: text => {
      if (isTalkative) process.stderr.write(withNewline(`cloakroom: warning: ${text}`))
    },
    progress: label => (isTalkative && process.stderr.isTTY === true ? drawnBar(label) : NO_BAR),
    fail: cause => process.stderr.write(options.json ? errorJson(cause) : errorText(cause) + placesOf(cause)),
    mark: kind => {
      const [text, color] = MARKS[kind]
      return hasColor ? `\u001b[${color}m${text}\u001b[0m` : text
    },
  }
}

/** Ends the process quietly when the reader of a pipe has gone away (`cloakroom secret list | head`). */
export function endWhenReaderGoesAway(): void {
  process.stdout.on('error', (cause: NodeJS.ErrnoException) => {
    if (cause.code === 'EPIPE') process.exit(0)
    throw cause
  })
}

/** Where commander writes help that was asked for. */
export function writeHelp(text: string): void {
  writeOut(text)
}

/** The operational log, on stderr. */
export function logOf(options: { readonly level: LogLevel; readonly format: LogFormat }): Log {
  return createLog({
    ...options,
    isTerminal: process.stderr.isTTY === true,
    now: () => systemClock.now(),
    write: writeToStderr,
  })
}

/** Lines up columns with two spaces between them; the cells are made printable. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows].map(row => row.map(printable))
  const widths = header.map((_, column) => Math.max(...all.map(row => (row[column] ?? '').length)))
  return all
    .map(row =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** A number with its noun: 1 rule, 2 rules. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

function errorText(cause: unknown): string {
  const error = asError(cause)
  const faults = faultsOf(error)
  const text = faults.length > 0 ? counted(faults.length, 'fault') : messageOf(error)
  const lines = [
    `cloakroom: error ${error.code}: ${text}`,
    ...faults.flatMap(fault => fault.split('\n').map(indent)),
    `hint: ${error.hint}`,
  ]
  return `${lines.map(printable).join('\n')}\n`
}

const OPTION_OF: Readonly<Record<string, string>> = {
  targets: '--target',
  shape: '--shape',
  expiresAt: '--expires',
  notBefore: '--not-before',
  tenant: '--tenant',
  target: '--target',
  tenants: '--tenant',
}

// A person has written options, and knows nothing of the members of an admin request.
function messageOf(error: CloakroomError): string {
  const { what } = error.details as { what?: unknown }
  if (error.code !== 'API_MALFORMED' || typeof what !== 'string') return error.message
  const [, place = '', member = '', rest = what] =
    /^(secrets\.\d+\.)?(\w+)(?:\.\d+)?: (.*)$/s.exec(what) ?? []
  const where = place === '' ? '' : `secret ${Number(place.split('.')[1]) + 1} of the batch: `
  return `${where}${[OPTION_OF[member] ?? member, rest].filter(Boolean).join(' ')}`
}

function errorJson(cause: unknown): string {
  const error = asError(cause)
  const faults = faultsOf(error)
  const body = {
    code: error.code,
    text: error.message,
    hint: error.hint,
    ...(faults.length > 0 ? { faults } : {}),
  }
  return `${JSON.stringify({ error: body })}\n`
}

// The text of a foreign error may quote what it was given (threat-model.md K4).
function asError(cause: unknown): CloakroomError {
  if (cause instanceof CloakroomError) return cause
  const what = describeFileError(cause)
  if (what !== undefined) return new CloakroomError('CLI_FAILED', { what }, { cause })
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  const name = cause instanceof Error ? cause.name : typeof cause
  return new CloakroomError('CLI_FAILED', { what: `unexpected ${[name, code].filter(Boolean).join(' ')}` })
}

// For what should not happen: where in the code it did, without the words of the error.
function placesOf(cause: unknown): string {
  if (asError(cause).cause === cause || cause instanceof CloakroomError || !(cause instanceof Error))
    return ''
  const places = (cause.stack ?? '').split('\n').filter(line => /^\s+at /.test(line))
  return places.length === 0 ? '' : `${places.join('\n')}\n`
}

function drawnBar(label: string): ProgressBar {
  return {
    update(done, total) {
      const filled = total === 0 ? BAR_WIDTH : Math.round((done / total) * BAR_WIDTH)
      const bar = `${'='.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}`
      process.stderr.write(`\r${label} [${bar}] ${done}/${total}`)
    },
    end: () => process.stderr.write('\n'),
  }
}

const NO_BAR: ProgressBar = { update: () => undefined, end: () => undefined }
const withNewline = (text: string): string => (text === '' || text.endsWith('\n') ? text : `${text}\n`)
const indent = (line: string): string => `  ${line}`

function writeOut(text: string): void {
  process.stdout.write(text)
}
