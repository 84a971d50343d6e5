/**
 * Arguments to command, and what became of it to an exit code: 0 done, 1 failed, 2 wrong usage, 3 cannot reach the sidecar or
 * the store.
 *
 * To add a command, write commands/<name>.ts and add a line to COMMANDS.
 */
import { Command, CommanderError } from 'commander'
import { CloakroomError, type ErrorCode } from '../base/errors.ts'
import { type AddCommands, collect, type Perform } from './command.ts'
import { versionText } from './commands/version.ts'
import { createContext } from './context.ts'
import { createOutput, endWhenReaderGoesAway, writeHelp } from './output.ts'

// In the order in which help lists them: the first day first. Only the file of the command that was called is loaded, since
// loading all of them takes longer than most commands; help, completion and slips of the pen need all.
const COMMANDS: Readonly<Record<string, () => Promise<AddCommands>>> = {
  init: async () => (await import('./commands/init.ts')).addInitCommand,
  run: async () => (await import('./commands/run.ts')).addRunCommand,
  exec: async () => (await import('./commands/exec.ts')).addExecCommand,
  env: async () => (await import('./commands/env.ts')).addEnvCommand,
  secret: async () => (await import('./commands/secret.ts')).addSecretCommands,
  policy: async () => (await import('./commands/policy.ts')).addPolicyCommands,
  caller: async () => (await import('./commands/caller.ts')).addCallerCommands,
  audit: async () => (await import('./commands/audit.ts')).addAuditCommands,
  ca: async () => (await import('./commands/ca.ts')).addCaCommands,
  status: async () => (await import('./commands/sidecar.ts')).addStatusCommand,
  reload: async () => (await import('./commands/sidecar.ts')).addReloadCommand,
  halt: async () => (await import('./commands/sidecar.ts')).addHaltCommand,
  doctor: async () => (await import('./commands/doctor.ts')).addDoctorCommand,
  completion: async () => (await import('./commands/completion.ts')).addCompletionCommand,
  version: async () => (await import('./commands/version.ts')).addVersionCommand,
}
const NEEDS_ALL: readonly string[] = ['completion']

const UNREACHABLE: readonly ErrorCode[] = [
  'CLI_UNREACHABLE',
  'SECRET_STORE_UNAVAILABLE',
  'SECRET_STORE_TIMEOUT',
  'STORAGE_FAILED',
  'STORAGE_MISSING',
  'KEY_UNAVAILABLE',
]

/** Runs one command line; never throws. */
export async function run(argv: readonly string[]): Promise<number> {
  endWhenReaderGoesAway()
  let code = 0
  const said: string[] = []
  const perform: Perform =
    handler =>
    async (...given) => {
      const command = given.at(-1) as Command
      const context = createContext(command, process.env)
      try {
        code = (await handler({ context, args: command.args, options: command.opts() as never })) ?? 0
      } catch (cause) {
        context.output.fail(cause)
        code = exitCodeOf(cause)
      }
    }
  try {
    const program = await buildProgram(perform, text => said.push(text), firstOperand(argv))
    await program.parseAsync(argv, { from: 'user' })
    return code
  } catch (cause) {
    if (cause instanceof CommanderError && cause.exitCode === 0) return 0 // help was asked for, and shown
    const output = createOutput({ json: argv.includes('--json'), quiet: false, noColor: true })
    if (cause instanceof CommanderError && cause.code === 'commander.help')
      output.say(said.join('')) // no command
    else output.fail(usageOf(cause))
    return 2
  }
}

/** The command line: all of it, or only what the command that was called needs. */
export async function buildProgram(
  perform: Perform,
  writeErr: (text: string) => void,
  called?: string,
): Promise<Command> {
  const program = new Command('cloakroom')
    .description(
      'Swaps placeholders for real credentials on the way out, so that your app never holds a secret.',
    )
    .option(
      '--config <file>',
      'configuration file (else CLOAKROOM_CONFIG, ./cloakroom.yaml, ./.cloakroom, /etc/cloakroom)',
    )
    .option(
      '--set <option=value>',
      'override one option, for example --set log.level=debug; may be repeated',
      collect,
    )
    .option('--json', 'results and errors as JSON')
    .option('--quiet', 'results and errors only')
    .version(versionText(), '-V, --version', 'show the version')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: writeHelp, writeErr })
    .helpCommand('help [command]', 'show help')
    .exitOverride()
  const isOne = called !== undefined && Object.hasOwn(COMMANDS, called) && !NEEDS_ALL.includes(called)
  const own = isOne ? COMMANDS[called] : undefined
  for (const load of own === undefined ? Object.values(COMMANDS) : [own]) (await load())(program, perform)
  return program
}

// The options of the program itself may stand in front of the command.
function firstOperand(argv: readonly string[]): string | undefined {
  const takesValue = (argument: string | undefined) => argument === '--config' || argument === '--set'
  return argv.find((argument, i) => !argument.startsWith('-') && !takesValue(argv[i - 1]))
}

function exitCodeOf(cause: unknown): number {
  if (!(cause instanceof CloakroomError)) return 1
  if (cause.code === 'CLI_USAGE' || cause.code === 'API_MALFORMED') return 2
  return UNREACHABLE.includes(cause.code) ? 3 : 1
}

// commander writes "error: unknown command 'x'\n(Did you mean y?)". It also repeats arguments that are too many, and what stands
// behind "=": either may be a value that somebody tried to give on the command line (threat-model.md K4).
function usageOf(cause: unknown): CloakroomError {
  const text = cause instanceof Error ? cause.message : 'the command line cannot be read'
  const what = text
    .replace(/^error: /, '')
    .replace(/\n\s*/g, ' ')
    .replace(/^(too many arguments[^:]*):[\s\S]*$/, '$1')
    .replace(/^(unknown option '--?[^=']*)=[^']*/, '$1')
  return new CloakroomError('CLI_USAGE', { what })
}
