/**
 * `cloakroom exec -- CMD…`: runs a program behind the proxy.
 *
 * The child runs as the same user: this protects habits, logs and configuration files, not against a hostile child (rulings.md 29).
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { CloakroomError } from '../../base/errors.ts'
import type { Listen } from '../../config/options.ts'
import { parseListen } from '../../config/options.ts'
import type { Config } from '../../config/schema.ts'
import { type AppOptions, runningProxy, variablesFor } from '../app-environment.ts'
import type { AddCommands, Handler } from '../command.ts'
import type { CliContext } from '../context.ts'
import type { Output } from '../output.ts'

export const addExecCommand: AddCommands = (program, perform) => {
  program
    .command('exec <command...>')
    .usage('[options] -- COMMAND [ARGUMENT…]')
    .description('run a program behind the proxy; starts a private sidecar when none runs')
    .option('--caller <id>', 'as a caller with a password')
    .option('--tenant <tenant>', 'act for this tenant')
    .option('--password-file <file>', "the caller's password; - for stdin")
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
    const variables = await variablesFor(context, config, { options, proxy: sidecar.proxy })
    const env = { ...process.env, ...Object.fromEntries(variables.map(({ name, value }) => [name, value])) }
    return await runChild(context.output, args, env)
  } finally {
    await sidecar.stop()
  }
}

type Reached = { readonly proxy: Listen; stop(): Promise<void> }

async function reachOrStart(context: CliContext, config: Config): Promise<Reached> {
  const running = await runningProxy(config)
  if (running !== undefined) return { proxy: running, stop: async () => undefined }
  const { createSidecar } = await import('../../app.ts')
  // Ports of its own: the configured ones may be another sidecar's. The state lock still says that there is only one.
  const free = { listen: { host: '127.0.0.1', port: 0 } }
  const own: Config = {
    ...config,
    proxy: { ...config.proxy, ...free },
    ops: free,
    relay: { listen: undefined },
  }
  const sidecar = createSidecar(own, context.log(config))
  const { proxy } = await sidecar.start()
  const listen = parseListen(proxy)
  if (listen === undefined) throw new CloakroomError('CLI_UNREACHABLE', { what: 'the private sidecar' })
  context.output.say(`cloakroom: a private sidecar listens on ${proxy}`)
  return { proxy: listen, stop: () => sidecar.stop('exec ended') }
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
