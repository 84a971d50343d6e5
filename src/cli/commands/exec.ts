/**
 * `cloakroom exec -- CMD…`: runs a program behind the proxy.
 *
 * The child runs as the same user: this protects habits, logs and configuration files, not against a hostile child (rulings.md 29).
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { CloakroomError } from '../../base/errors.ts'
import { type AppOptions, variablesFor } from '../app-environment.ts'
import type { AddCommands, Handler } from '../command.ts'
import { reachOrStart } from '../exec-sidecar.ts'
import type { Output } from '../output.ts'

export const addExecCommand: AddCommands = (program, perform) => {
  program
    .command('exec <command...>')
    .usage('[options] -- COMMAND [ARGUMENT…]')
    .description('run a program behind the proxy; starts a private sidecar when none runs')
    .option('--caller <id>', 'as a caller with a password')
    .option('--tenant <tenant>', 'act for this tenant')
    .option(
      '--password-file <file>',
      "the caller's password, or the URL that `caller add` printed; - for stdin",
    )
    .option('--no-preload', 'leave NODE_OPTIONS alone')
    .addHelpText(
      'after',
      '\nThe exit code is that of the program; 126 when it cannot be run, 127 when it is not found.',
    )
    .action(perform(runBehindProxy))
}

const runBehindProxy: Handler<AppOptions> = async ({ context, args, options }) => {
  const config = context.config()
  const sidecar = await reachOrStart(context, config)
  try {
    const variables = await variablesFor(context, config, {
      options,
      proxy: sidecar.proxy,
      isForUse: true,
    })
    const env = { ...process.env, ...Object.fromEntries(variables.map(({ name, value }) => [name, value])) }
    return await runChild(context.output, args, env)
  } finally {
    await sidecar.stop()
  }
}

// Passed on to the child; without a listener here they would end us first and leave it behind.
const PASSED_ON = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGWINCH', 'SIGCONT'] as const

const FROM_TERMINAL: ReadonlySet<string> = new Set(['SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGWINCH'])

async function runChild(
  output: Output,
  [file = '', ...args]: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<number> {
  const notRun = (what: string, code: number): number => {
    output.fail(new CloakroomError('CLI_FAILED', { what: `${file} ${what}` }))
    return code
  }
  // Listening comes first: the child may run, and somebody may signal us, before spawn() returns.
  const forget = passSignals(() => child)
  const child = spawn(file, args, { stdio: 'inherit', env })
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (cause: NodeJS.ErrnoException) => {
        // As shells do: 127 not found, 126 found and not runnable.
        if (cause.code === 'ENOENT') return resolve(notRun('is not found', 127))
        if (cause.code === 'EACCES') return resolve(notRun('cannot be run', 126))
        reject(cause)
      })
      child.once('exit', (code, signal) =>
        resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]),
      )
    })
  } finally {
    forget()
  }
}

function passSignals(child: () => ChildProcess): () => void {
  const isOnTerminal = process.stdin.isTTY === true
  const listeners = PASSED_ON.map(signal => {
    // A terminal has sent it to the child too; twice would be taken for impatience.
    const isSentToAll = isOnTerminal && FROM_TERMINAL.has(signal)
    return [signal, () => void (isSentToAll || child().kill(signal))] as const
  })
  for (const [signal, pass] of listeners) process.on(signal, pass)
  return () => {
    for (const [signal, pass] of listeners) process.off(signal, pass)
  }
}
