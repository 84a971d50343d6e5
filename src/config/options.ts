/**
 * The kinds of option that the configuration is made of: each says how it is written and what the program gets.
 *
 * Rule of this file: an option has a default, a unit and a description, or it does not compile. Nothing here reads a file or
 * the environment; docs/config.md and the JSON Schema are generated from what these builders carry.
 */
import * as v from 'valibot'
import { parseDuration } from '../base/duration.ts'
import { parseSize } from '../base/size.ts'
import { isIpHost, parseHost } from '../model/target.ts'

/** Where a listener listens; port 0 means any free one. `host` is an IP literal without brackets. */
export type Listen = { readonly host: string; readonly port: number }

/** What the reference and the environment reader need to know of an option. */
export type OptionNotes = {
  readonly unit:
    | 'duration'
    | 'size'
    | 'count'
    | 'path'
    | 'paths'
    | 'address'
    | 'word'
    | 'texts'
    | 'pairs'
    | 'records'
    | 'text'
  /** What an operator should know before changing it. */
  readonly security?: string
}

// The written forms of base/duration.ts and base/size.ts, as patterns that a JSON Schema can carry to an editor.
const DURATION = /^(?:0|(?:0|[1-9][0-9]{0,8})(?:ms|s|m|h|d))$/
const SIZE = /^(?:0|[1-9][0-9]{0,8})(?:B|KiB|MiB|GiB)$/

/** A duration such as 30s; gives milliseconds. */
export function duration(byDefault: string, description: string) {
  const notes: OptionNotes = { unit: 'duration' }
  return v.optional(
    v.pipe(
      v.string(),
      v.regex(DURATION, 'is not a duration such as 500ms, 30s, 15m, 12h or 90d'),
      v.description(description),
      v.metadata(notes),
      v.transform(text => parseDuration(text) ?? 0),
    ),
    byDefault,
  )
}

/** A size such as 32KiB; gives bytes. */
export function size(byDefault: string, description: string) {
  const notes: OptionNotes = { unit: 'size' }
  return v.optional(
    v.pipe(
      v.string(),
      v.regex(SIZE, 'is not a size such as 512B, 32KiB, 1MiB or 2GiB'),
      v.description(description),
      v.metadata(notes),
      v.transform(text => parseSize(text) ?? 0),
    ),
    byDefault,
  )
}

/** A whole number from `least` to `most`. */
export function count(byDefault: number, description: string, range: { least: number; most: number }) {
  const notes: OptionNotes = { unit: 'count' }
  const message = `is not a whole number from ${range.least} to ${range.most}`
  return v.optional(
    v.pipe(
      v.number(),
      v.integer(message),
      v.minValue(range.least, message),
      v.maxValue(range.most, message),
      v.description(description),
      v.metadata(notes),
    ),
    byDefault,
  )
}

/** A path; config/load.ts makes it absolute, from the directory of the configuration file. */
export function path(byDefault: string, description: string, security?: string) {
  const notes: OptionNotes = security === undefined ? { unit: 'path' } : { unit: 'path', security }
  return v.optional(
    v.pipe(v.string(), v.minLength(1, 'is empty'), v.description(description), v.metadata(notes)),
    byDefault,
  )
}

/** A list of paths, each made absolute like `path`. */
export function paths(byDefault: readonly string[], least: number, description: string) {
  const notes: OptionNotes = { unit: 'paths' }
  return v.optional(
    v.pipe(
      v.array(v.pipe(v.string(), v.minLength(1, 'is empty'))),
      v.minLength(least, 'names no file'),
      v.description(description),
      v.metadata(notes),
    ),
    [...byDefault],
  )
}

/** A list of texts that all pass `check`. */
export function texts(description: string, check: (text: string) => boolean, message: string) {
  const notes: OptionNotes = { unit: 'texts' }
  return v.optional(
    v.pipe(
      v.array(v.pipe(v.string(), v.check(check, message))),
      v.description(description),
      v.metadata(notes),
    ),
    [],
  )
}

/** One word of a closed list; words of a later version are known, and refused with that reason. */
export function word<const W extends readonly [string, ...string[]]>(
  words: W,
  description: string,
  later: readonly string[] = [],
) {
  const notes: OptionNotes = { unit: 'word' }
  return v.optional(
    v.pipe(
      v.string(),
      v.check(text => !later.includes(text), 'is not supported by this version; it is a word of a later one'),
      v.picklist(words),
      v.description(description),
      v.metadata(notes),
    ),
    words[0],
  )
}

/** An address to listen on, HOST:PORT, where HOST is an IP address or `localhost`. */
export function listen(byDefault: string, description: string, security?: string) {
  const notes: OptionNotes = security === undefined ? { unit: 'address' } : { unit: 'address', security }
  return v.optional(
    v.pipe(
      v.string(),
      v.check(
        text => parseListen(text) !== undefined,
        'is not IP:PORT such as 127.0.0.1:3128 or [::1]:3128 (port 0: any free one)',
      ),
      v.description(description),
      v.metadata(notes),
      v.transform((text): Listen => parseListen(text) ?? { host: '127.0.0.1', port: 0 }),
    ),
    byDefault,
  )
}

/** The same, or `off`, which gives undefined. */
export function listenOrOff(description: string) {
  const notes: OptionNotes = { unit: 'address' }
  return v.optional(
    v.pipe(
      v.string(),
      v.check(
        text => text === 'off' || parseListen(text) !== undefined,
        'is neither off nor IP:PORT such as 127.0.0.1:3129',
      ),
      v.description(description),
      v.metadata(notes),
      v.transform((text): Listen | undefined => parseListen(text)),
    ),
    'off',
  )
}

/** Reads HOST:PORT for a listener; names other than localhost are refused: what they mean may change. */
export function parseListen(text: string): Listen | undefined {
  const colon = text.lastIndexOf(':')
  if (colon < 0) return undefined
  const host = text.slice(0, colon) === 'localhost' ? '127.0.0.1' : parseHost(text.slice(0, colon))
  const port = text.slice(colon + 1)
  if (host === undefined || !isIpHost(host) || !/^(?:0|[1-9][0-9]{0,4})$/.test(port)) return undefined
  if (Number(port) > 65535) return undefined
  return { host: host.startsWith('[') ? host.slice(1, -1) : host, port: Number(port) }
}

/** Writes a listener's address the way `parseListen` reads it. */
export function formatListen(address: Listen): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}
