/**
 * Policy texts -> their entries, each with its place: what compile.ts works on.
 *
 * Rule of this file: a fault in one entry hides nothing in the others. Entries that fit the schema are given on even when
 * others do not, so that all faults of a policy are told at once; none of them is ever put in force that way.
 */
import * as v from 'valibot'
import { validate } from '../base/validate.ts'
import { type Fault, type ParsedYaml, parseYaml } from '../base/yaml.ts'
import {
  CallerSchema,
  type CallerSource,
  PolicySchema,
  RuleSchema,
  type RuleSource,
  TestSchema,
  type TestSource,
} from './schema.ts'

/** One policy file: its name for messages, and its text. */
export type PolicyText = { readonly file: string; readonly text: string }

/** `at` is the index in the file's list. */
export type Entry<T> = { readonly at: number; readonly source: T }

export type PolicyFile = {
  readonly parsed: ParsedYaml
  readonly unmatched: 'deny' | 'observe' | undefined
  readonly callers: readonly Entry<CallerSource>[]
  readonly rules: readonly Entry<RuleSource>[]
  readonly tests: readonly Entry<TestSource>[]
  /** Names of all entries, also of those with faults: they are no reason to call a reference to them unknown. */
  readonly callerNames: readonly string[]
  readonly ruleNames: readonly string[]
}

/** Reads every text; a file that is not YAML gives faults and no entries. */
export function readSources(texts: readonly PolicyText[], faults: Fault[]): readonly PolicyFile[] {
  return texts.map(({ file, text }) => {
    const parsed = parseYaml(text, { file })
    const valid = validate(PolicySchema, parsed)
    if (valid.kind === 'faults') faults.push(...valid.faults)
    const data = asMapping(parsed.data)
    const { unmatched } = data
    return {
      parsed,
      unmatched: unmatched === 'deny' || unmatched === 'observe' ? unmatched : undefined,
      callers: entries(CallerSchema, data.callers),
      rules: entries(RuleSchema, data.rules),
      tests: entries(TestSchema, data.tests),
      callerNames: namesIn(data.callers),
      ruleNames: namesIn(data.rules),
    }
  })
}

function asMapping(data: unknown): Readonly<Record<string, unknown>> {
  return typeof data === 'object' && data !== null ? (data as Record<string, unknown>) : {}
}

function entries<S extends v.GenericSchema>(schema: S, list: unknown): readonly Entry<v.InferOutput<S>>[] {
  if (!Array.isArray(list)) return []
  return list.flatMap((item, at) => {
    const result = v.safeParse(schema, item)
    return result.success ? [{ at, source: result.output }] : []
  })
}

function namesIn(list: unknown): readonly string[] {
  if (!Array.isArray(list)) return []
  return list.map(item => asMapping(item).id).filter(id => typeof id === 'string')
}
