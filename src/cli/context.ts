/**
 * What a command gets: its options, where to print, and the ways to the configuration and to the vault.
 */
import type { Command } from 'commander'
import type { Control } from '../api/operations.ts'
import { type Milliseconds, systemClock } from '../base/clock.ts'
import { parseDuration } from '../base/duration.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { loadConfig } from '../config/load.ts'
import type { Environment } from '../config/overrides.ts'
import type { Config } from '../config/schema.ts'
import { openControl } from './control.ts'
import { createOutput, logOf, type Output } from './output.ts'

export type GlobalOptions = {
  readonly config?: string
  readonly set?: readonly string[]
  readonly json?: boolean
  readonly quiet?: boolean
}

export type CliContext = {
  readonly output: Output
  readonly env: Environment
  readonly cwd: string
  readonly global: GlobalOptions
  /** @throws CONFIG_NOT_FOUND, CONFIG_INVALID */
  config(): Config
  /** The log as the configuration says; only `run` and what it starts are talkative. */
  log(config: Config): Log
  /** Runs `use` with a way to perform operations, and closes it. */
  withControl<T>(use: (control: Control, config: Config) => Promise<T>): Promise<T>
}

/** Made once, in cli/run.ts, of what the process was started with. */
export function createContext(command: Command, env: Environment): CliContext {
  const global = command.optsWithGlobals<GlobalOptions>()
  const output = createOutput({
    json: global.json === true,
    quiet: global.quiet === true,
    noColor: env.NO_COLOR !== undefined && env.NO_COLOR !== '',
  })
  const cwd = process.cwd()
  const config = () => loadConfig({ flag: global.config, set: global.set ?? [], env, cwd })
  // A command that acts itself warns of trouble; the story of a start and a stop belongs to `run`.
  const log = ({ log: options }: Config) =>
    logOf({ ...options, level: options.level === 'debug' ? 'debug' : 'warn' })
  return {
    output,
    env,
    cwd,
    global,
    config,
    log,
    async withControl(use) {
      const loaded = config()
      const control = await openControl(loaded, log(loaded))
      try {
        return await use(control, loaded)
      } finally {
        await control.close()
      }
    },
  }
}

/** Reads a point in time: a duration from now (90d) or a date (2027-01-31, 2027-01-31T12:00:00Z). @throws CLI_USAGE */
export function parseInstant(text: string, now: Milliseconds = systemClock.now()): number {
  const duration = parseDuration(text)
  if (duration !== undefined && duration > 0) return now + duration
  const date = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?Z)?$/.test(text)
    ? Date.parse(text)
    : Number.NaN
  if (Number.isFinite(date)) return date
  throw new CloakroomError('CLI_USAGE', {
    what: `${JSON.stringify(text)} is neither a duration such as 90d nor a date such as 2027-01-31`,
  })
}
