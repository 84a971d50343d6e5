/**
 * The operational log: structured lines on stderr.
 *
 * Rule of this file: it takes names, ids and numbers only (LogFields). Never a header, a body, a query, a placeholder
 * or an error's text from elsewhere: causes are given as name and code by describeCause (threat-model.md K3, K4).
 */
import { formatTime } from './clock.ts'
import { CloakroomError } from './errors.ts'

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]
export const LOG_FORMATS = ['auto', 'json', 'text'] as const
export type LogFormat = (typeof LOG_FORMATS)[number]
export type LogFields = { readonly [field: string]: string | number | boolean | undefined }

export interface Log {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
}

export type LogOptions = {
  readonly level: LogLevel
  readonly format: LogFormat
  readonly isTerminal: boolean
  readonly now: () => number
  readonly write: (line: string) => void
}

// C0, DEL, C1, line separators and bidirectional controls: what could forge a line or repaint a terminal (K3).
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/** Escapes every character that could forge a line or repaint a terminal; the result is one printable line. */
export function printable(text: string): string {
  return text.replace(UNSAFE, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Names a cause for the log: class and code, never its message, which may quote input (threat-model.md K4). */
export function describeCause(cause: unknown): string {
  if (cause instanceof CloakroomError) return cause.code
  if (!(cause instanceof Error)) return typeof cause
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined
  return code === undefined ? cause.name : `${cause.name} ${code}`
}

export function createLog(options: LogOptions): Log {
  const least = LOG_LEVELS.indexOf(options.level)
  const asText = options.format === 'text' || (options.format === 'auto' && options.isTerminal)
  const at =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}) => {
      if (LOG_LEVELS.indexOf(level) < least) return
      options.write(
        asText
          ? textLine(options.now(), level, message, fields)
          : jsonLine(options.now(), level, message, fields),
      )
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

function jsonLine(now: number, level: LogLevel, message: string, fields: LogFields): string {
  return `${printable(JSON.stringify({ time: formatTime(now), level, message, ...fields }))}\n`
}

function textLine(now: number, level: LogLevel, message: string, fields: LogFields): string {
  const pairs = Object.entries(fields).filter(([, value]) => value !== undefined)
  const tail = pairs.map(([name, value]) => ` ${name}=${JSON.stringify(value)}`).join('')
  return `${formatTime(now)} ${level.toUpperCase().padEnd(5)} ${printable(message + tail)}\n`
}

/** Writes to stderr; the log's only sink. */
export function writeToStderr(line: string): void {
  process.stderr.write(line)
}

export const silentLog: Log = createLog({
  level: 'silent',
  format: 'json',
  isTerminal: false,
  now: () => 0,
  write: () => undefined,
})
