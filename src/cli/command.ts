/**
 * How a command of the command line is built: commander reads the arguments, the handler gets a context and plain data.
 *
 * Rule of this file: a handler returns its exit code or throws; it never ends the process itself.
 */
import type { Command } from 'commander'
import { CloakroomError } from '../base/errors.ts'
import type { CliContext } from './context.ts'

export type Invocation<O> = {
  readonly context: CliContext
  /** Positional arguments, in order. */
  readonly args: readonly string[]
  readonly options: O
}

/** Gives nothing for success, or an exit code. */
export type Handler<O> = (invocation: Invocation<O>) => Promise<number | undefined>

/** Makes a commander action of a handler; cli/run.ts gives it. */
export type Perform = <O = Readonly<Record<string, never>>>(
  handler: Handler<O>,
) => (...given: unknown[]) => Promise<void>

/** What a command file exports: it adds its commands to the program. */
export type AddCommands = (program: Command, perform: Perform) => void

/** Collects an option that may be given several times. */
export function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value]
}

/** The argument at `index`, which commander has checked to be there. */
export function argument(args: readonly string[], index: number): string {
  const found = args[index]
  if (found === undefined) throw new CloakroomError('CLI_USAGE', { what: 'an argument is missing' })
  return found
}

/** Drops options that were not given, for exactOptionalPropertyTypes. */
export function given<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const present = Object.entries(options).filter(([, value]) => value !== undefined)
  return Object.fromEntries(present) as { [K in keyof T]?: Exclude<T[K], undefined> }
}
