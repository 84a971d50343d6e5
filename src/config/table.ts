/**
 * The options as a flat list, read out of the schema: for the environment, for --set, and for the reference.
 *
 * Rule of this file: nothing is listed by hand, so an option that is in the schema can be set everywhere and is documented.
 */
import * as v from 'valibot'
import type { OptionNotes } from './options.ts'
import { CONFIG_SCHEMA } from './schema.ts'

export type Option = {
  /** As people write it: proxy.listen. */
  readonly path: string
  readonly section: string
  readonly name: string
  /** CLOAKROOM_PROXY_LISTEN; undefined for options that only a file can hold. */
  readonly variable: string | undefined
  readonly unit: OptionNotes['unit']
  readonly security: string | undefined
  readonly description: string
  /** As it would be written in the file. */
  readonly byDefault: unknown
  /** The words that are accepted, for a closed list. */
  readonly words: readonly string[]
}

export type Section = { readonly name: string; readonly description: string }

// What this file needs of valibot's schema objects; the library types its schemas one by one.
type Shape = v.GenericSchema & {
  readonly entries?: Readonly<Record<string, Shape>>
  readonly wrapped?: Shape
  readonly pipe?: readonly (Shape & { readonly options?: readonly string[] })[]
  readonly default?: unknown
}

const entriesOf = (schema: Shape): [string, Shape][] => Object.entries(schema.entries ?? {})
const inner = (schema: Shape): Shape => schema.wrapped ?? schema

/** The sections, in the order of the file. */
export const SECTIONS: readonly Section[] = entriesOf(CONFIG_SCHEMA as Shape).map(([name, schema]) => ({
  name,
  description: v.getDescription(inner(schema)) ?? '',
}))

/** Every option, in the order of the file. */
export const OPTIONS: readonly Option[] = entriesOf(CONFIG_SCHEMA as Shape).flatMap(([section, schema]) =>
  entriesOf(inner(schema)).map(([name, option]) => describe(section, name, option)),
)

function describe(section: string, name: string, schema: Shape): Option {
  const notes = v.getMetadata(inner(schema)) as OptionNotes
  const path = `${section}.${name}`
  return {
    path,
    section,
    name,
    variable: notes.unit === 'records' ? undefined : variableOf(path),
    unit: notes.unit,
    security: notes.security,
    description: v.getDescription(inner(schema)) ?? '',
    byDefault: schema.default,
    words: inner(schema).pipe?.flatMap(part => part.options ?? []) ?? [],
  }
}

/** The environment variable of an option: upstream.idleTimeout is CLOAKROOM_UPSTREAM_IDLE_TIMEOUT. */
export function variableOf(path: string): string {
  const words = path.replace(/[A-Z]/g, letter => `_${letter}`).replace('.', '_')
  return `CLOAKROOM_${words.toUpperCase()}`
}
