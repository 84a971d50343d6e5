/**
 * Options that come from outside the file: environment variables and --set flags, laid over the file's content.
 *
 * Rules of this file: a flag wins over a variable and a variable over the file; what comes from outside passes the same schema
 * as the file; a CLOAKROOM_ variable that names no option is a fault, since a misspelt limit must not be silently absent.
 */
import { nearest } from '../base/validate.ts'
import type { Fault } from '../base/yaml.ts'
import { OPTIONS, type Option } from './table.ts'

export type Override = { readonly option: Option; readonly source: string; readonly text: string }
export type Environment = Readonly<Record<string, string | undefined>>

/** Variables with our prefix that are not options: read by the command line, or set by `env` and `exec` for the app. */
const OTHER_VARIABLES = ['CLOAKROOM_CONFIG', 'CLOAKROOM_PRELOAD'] as const
// Kubernetes sets these for every Service of a namespace; a Service named `cloakroom` would make them ours.
const SERVICE_LINK =
  /^CLOAKROOM_(?:SERVICE_(?:HOST|PORT(?:_.+)?)|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/

/** Finds the variables that set options, and those that look as if they should. */
export function overridesFromEnvironment(env: Environment): { overrides: Override[]; faults: Fault[] } {
  const overrides: Override[] = []
  const faults: Fault[] = []
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith('CLOAKROOM_') || text === undefined) continue
    const option = OPTIONS.find(candidate => candidate.variable === variable)
    if (option !== undefined) overrides.push({ option, source: variable, text })
    else if (!isKnownVariable(variable)) faults.push(unknownVariable(variable))
  }
  return { overrides, faults }
}

/** Reads `path=value` flags. */
export function overridesFromFlags(flags: readonly string[]): { overrides: Override[]; faults: Fault[] } {
  const overrides: Override[] = []
  const faults: Fault[] = []
  for (const flag of flags) {
    const equals = flag.indexOf('=')
    const path = equals < 0 ? flag : flag.slice(0, equals)
    const option = OPTIONS.find(candidate => candidate.path === path && candidate.variable !== undefined)
    const source = `--set ${path}`
    if (equals < 0) faults.push(faultOf(source, 'is not OPTION=VALUE'))
    else if (option === undefined)
      faults.push(faultOf(source, 'names no option', suggestion(path, optionPaths())))
    else overrides.push({ option, source, text: flag.slice(equals + 1) })
  }
  return { overrides, faults }
}

/** Lays overrides over parsed data; later ones win. The data given is left as it was. */
export function applyOverrides(data: unknown, overrides: readonly Override[]): unknown {
  return overrides.reduce((result, override) => {
    const { section, name } = override.option
    const top = isMapping(result) ? result : {}
    const inside = isMapping(top[section]) ? top[section] : {}
    return { ...top, [section]: { ...inside, [name]: valueFrom(override) } }
  }, data)
}

/** Names the source instead of a place in the file, for faults of values that came from outside. */
export function blameSource(fault: Fault, overrides: readonly Override[]): Fault {
  const override = overrides.findLast(
    ({ option }) => fault.path === option.path || isBelow(fault.path, option.path),
  )
  return override === undefined ? fault : { ...fault, file: override.source, line: 0, column: 0 }
}

export function faultOf(file: string, message: string, hint?: string): Fault {
  const fault = { file, line: 0, column: 0, path: '', message }
  return hint === undefined ? fault : { ...fault, hint }
}

// Texts that are no number stay texts, so that the schema says what is wrong with them.
function valueFrom({ option, text }: Override): unknown {
  switch (option.unit) {
    case 'count':
      return /^-?[0-9]{1,15}$/.test(text) ? Number(text) : text
    case 'paths':
    case 'texts':
      return listOf(text)
    case 'pairs':
      return Object.fromEntries(listOf(text).map(pair => splitOnce(pair)))
    default:
      return text
  }
}

function listOf(text: string): string[] {
  return text
    .split(',')
    .map(item => item.trim())
    .filter(item => item !== '')
}

function splitOnce(pair: string): [string, string] {
  const equals = pair.indexOf('=')
  return equals < 0 ? [pair, ''] : [pair.slice(0, equals), pair.slice(equals + 1)]
}

function unknownVariable(variable: string): Fault {
  const known = OPTIONS.flatMap(option => option.variable ?? [])
  return faultOf(variable, 'names no option', suggestion(variable, [...known, ...OTHER_VARIABLES]))
}

function isKnownVariable(variable: string): boolean {
  return OTHER_VARIABLES.some(other => other === variable) || SERVICE_LINK.test(variable)
}

function suggestion(word: string, candidates: readonly string[]): string {
  const meant = nearest(word, candidates)
  return meant === undefined ? 'docs/config.md lists every option' : `did you mean ${JSON.stringify(meant)}?`
}

const optionPaths = (): string[] =>
  OPTIONS.filter(option => option.variable !== undefined).map(option => option.path)
const isBelow = (path: string, parent: string): boolean =>
  path.startsWith(`${parent}[`) || path.startsWith(`${parent}.`)

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
