/**
 * File, environment and flags to one frozen Config; the only reader of the environment.
 *
 * Rules of this file: every fault is reported, not only the first; after this point nothing is optional, every path is
 * absolute and every unit is parsed. No part of the program reads YAML or variables of its own.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { CloakroomError } from '../base/errors.ts'
import { byPosition, validate } from '../base/validate.ts'
import { type Fault, faultAt, formatFault, MAX_YAML_SIZE, type ParsedYaml, parseYaml } from '../base/yaml.ts'
import { formatListen, type Listen } from './options.ts'
import {
  applyOverrides,
  blameSource,
  type Environment,
  overridesFromEnvironment,
  overridesFromFlags,
} from './overrides.ts'
import { CONFIG_SCHEMA, type Config, type Options } from './schema.ts'
import { OPTIONS } from './table.ts'

export type ConfigRequest = {
  /** --config: a file, or a directory that holds cloakroom.yaml. */
  readonly flag?: string | undefined
  /** --set, in order. */
  readonly set?: readonly string[]
  readonly env?: Environment
  readonly cwd?: string
}

export type ConfigRead =
  | { readonly kind: 'valid'; readonly config: Config }
  | { readonly kind: 'faults'; readonly file: string; readonly faults: readonly Fault[] }

/** Carries every fault of a file; `first` in the error's details is only the first. */
export class Faults extends Error {
  readonly faults: readonly Fault[]

  constructor(faults: readonly Fault[]) {
    super(`${faults.length} faults`)
    this.name = 'Faults'
    this.faults = faults
  }
}

// sun_path holds 104 bytes on macOS and 108 on Linux, with its final NUL.
const MAX_SOCKET_PATH = 103

/**
 * Gives the configuration that the request leads to.
 *
 * @throws CONFIG_NOT_FOUND, CONFIG_INVALID (its cause is a Faults with all of them).
 */
export function loadConfig(request: ConfigRequest = {}): Config {
  const read = readConfig(request)
  if (read.kind === 'valid') return read.config
  throw invalidConfig(read.faults)
}

export function invalidConfig(faults: readonly Fault[]): CloakroomError<'CONFIG_INVALID'> {
  const [first = ''] = faults.map(formatConfigFault)
  const details = { faults: faults.length, first: first.split('\n')[0] ?? '' }
  return new CloakroomError('CONFIG_INVALID', details, { cause: new Faults(faults) })
}

/** Reads and checks, and gives all faults as data. @throws CONFIG_NOT_FOUND */
export function readConfig(request: ConfigRequest = {}): ConfigRead {
  const env = request.env ?? process.env
  const file = findConfig(request)
  const parsed = parseYaml(readText(file), { file })
  const outside = [overridesFromEnvironment(env), overridesFromFlags(request.set ?? [])]
  const overrides = outside.flatMap(part => part.overrides)
  const overlaid: ParsedYaml = { ...parsed, data: applyOverrides(parsed.data ?? {}, overrides) }
  const checked = validate(CONFIG_SCHEMA, overlaid)
  const config = checked.kind === 'valid' ? complete(checked.value, file) : undefined
  const faults = [
    ...(checked.kind === 'faults' ? checked.faults : []),
    ...(config === undefined ? [] : crossFaults(config, parsed)),
  ].map(fault => blameSource(fault, overrides))
  const all = [...faults.sort(byPosition), ...outside.flatMap(part => part.faults)]
  return config === undefined || all.length > 0
    ? { kind: 'faults', file, faults: all }
    : { kind: 'valid', config }
}

/** Finds the configuration file (rulings.md 30). @throws CONFIG_NOT_FOUND */
export function findConfig({ flag, env = process.env, cwd = process.cwd() }: ConfigRequest): string {
  const named = flag ?? env.CLOAKROOM_CONFIG
  const candidates =
    named === undefined || named === ''
      ? ['cloakroom.yaml', '.cloakroom/cloakroom.yaml', '/etc/cloakroom/cloakroom.yaml']
      : [named]
  for (const candidate of candidates) {
    const path = resolve(cwd, candidate)
    const kind = statSync(path, { throwIfNoEntry: false })
    if (kind?.isFile()) return path
    const inside = join(path, 'cloakroom.yaml')
    if (kind?.isDirectory() && statSync(inside, { throwIfNoEntry: false })?.isFile()) return inside
  }
  throw new CloakroomError('CONFIG_NOT_FOUND', { tried: candidates.join(', ') })
}

/** Writes a fault of the file with its place, and one from outside with the variable or flag it came from. */
export function formatConfigFault(fault: Fault): string {
  if (fault.line > 0) return formatFault(fault)
  const path = fault.path === '' ? '' : `${fault.path}: `
  return `${fault.file}: ${path}${fault.message}${fault.hint === undefined ? '' : `\n  hint: ${fault.hint}`}`
}

function readText(file: string): string {
  try {
    if (statSync(file).size > MAX_YAML_SIZE) throw new RangeError('too large')
    return readFileSync(file, 'utf8')
  } catch (cause) {
    const what = cause instanceof RangeError ? 'is too large' : 'cannot be read'
    throw new CloakroomError('CONFIG_INVALID', { faults: 1, first: `${file}: ${what}` }, { cause })
  }
}

function complete(raw: Options, file: string): Config {
  const directory = dirname(file)
  const instance = raw.audit.instance === '' ? instanceOfHost(hostname()) : raw.audit.instance
  return deepFreeze({ ...withAbsolutePaths(raw, directory), file, directory, instance })
}

/** Makes a name of a host name: lower case, and nothing but what names may hold. */
export function instanceOfHost(host: string): string {
  const name = host
    .toLowerCase()
    .replace(/[^a-z0-9._-]/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, 63)
  return name === '' ? 'cloakroom' : name
}

function withAbsolutePaths(raw: Options, directory: string): Options {
  const absolute = (path: string): string => (isAbsolute(path) ? resolve(path) : resolve(directory, path))
  const result: Record<string, Record<string, unknown>> = {}
  for (const [section, values] of Object.entries(raw)) result[section] = { ...values }
  for (const { section, name, unit } of OPTIONS) {
    const values = result[section]
    if (values === undefined) continue
    const value = values[name]
    if (unit === 'path' && typeof value === 'string') values[name] = absolute(value)
    if (unit === 'paths' && Array.isArray(value)) values[name] = value.map(absolute)
  }
  const sinks = raw.audit.sinks.map(sink =>
    sink.path === undefined ? sink : { ...sink, path: absolute(sink.path) },
  )
  return { ...result, audit: { ...result.audit, sinks } } as unknown as Options
}

// What no single option can see.
function crossFaults(config: Config, parsed: ParsedYaml): Fault[] {
  const faults: Fault[] = []
  const length = Buffer.byteLength(config.admin.socket)
  if (length > MAX_SOCKET_PATH) {
    const message = `the path of the socket has ${length} bytes; the system allows ${MAX_SOCKET_PATH}`
    faults.push(faultAt(parsed, ['admin', 'socket'], message, 'put the state directory nearer to the root'))
  }
  for (const [i, file] of config.upstream.certificateAuthorities.entries()) {
    if (existsSync(file)) continue
    const hint = 'write a path from the directory of this file, or correct the list'
    faults.push(faultAt(parsed, ['upstream', 'certificateAuthorities', i], `there is no file ${file}`, hint))
  }
  const seen = new Map<string, string>()
  for (const [section, listen] of listenersOf(config)) {
    const address = formatListen(listen)
    const other = seen.get(address)
    if (other !== undefined) {
      faults.push(faultAt(parsed, [section, 'listen'], `${address} is the address of ${other}.listen too`))
    } else if (listen.port !== 0) seen.set(address, section)
  }
  return faults
}

function listenersOf(config: Config): [string, Listen][] {
  const all: [string, Listen | undefined][] = [
    ['proxy', config.proxy.listen],
    ['relay', config.relay.listen],
    ['ops', config.ops.listen],
  ]
  return all.flatMap(([section, listen]): [string, Listen][] =>
    listen === undefined ? [] : [[section, listen]],
  )
}

function deepFreeze<T extends object>(value: T): T {
  for (const inside of Object.values(value)) {
    if (typeof inside === 'object' && inside !== null) deepFreeze(inside)
  }
  return Object.freeze(value)
}
