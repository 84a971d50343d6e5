/**
 * `cloakroom run`: the sidecar in the foreground.
 *
 * Signals: SIGHUP reloads the policy, SIGTERM and SIGINT drain and exit 0, a second one exits at once.
 */
import { existsSync, statSync } from 'node:fs'
import { constants } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import type { Addresses } from '../../app.ts'
import { seconds, systemClock } from '../../base/clock.ts'
import { CloakroomError } from '../../base/errors.ts'
import { describeCause, type Log } from '../../base/log.ts'
import type { Config } from '../../config/schema.ts'
import { writableByOthers } from '../../config/writable.ts'
import type { AddCommands, Handler } from '../command.ts'
import type { CliContext } from '../context.ts'
import { logOf } from '../output.ts'
import { COMMAND } from '../package.ts'

type RunOptions = { readonly init?: boolean }

export const addRunCommand: AddCommands = (program, perform) => {
  program
    .command('run')
    .description('start the sidecar; SIGHUP reloads the policy, SIGTERM drains')
    .option('--init', 'make configuration, policy, keys, store and CA first where they are missing')
    .action(perform(runSidecar))
}

const runSidecar: Handler<RunOptions> = async ({ context, options }) => {
  if (options.init === true) await initializeOnce(context)
  const config = context.config()
  const log = logOf(config.log)
  for (const what of writableByOthers(config))
    log.warn(
      'another user may change what this sidecar obeys: who can do so can send credentials elsewhere',
      { what },
    )
  const { createSidecar } = await import('../../app.ts')
  const sidecar = createSidecar(config, log)
  const ending = untilTold()
  try {
    const addresses = await sidecar.start()
    log.info('ready', { ...addresses })
    if (context.output.isJson) context.output.result({ event: 'ready', ...addresses }, '')
    else if (options.init === true) context.output.say(whatNext(config, addresses))
    const reload = () => void sidecar.reload().catch(cause => tellReload(log, cause))
    process.on('SIGHUP', reload)
    const reason = await ending.told
    exitOnSecondSignal()
    await sidecar.stop(reason)
    process.off('SIGHUP', reload)
    log.info('stopped', { reason })
    return 0
  } finally {
    ending.forget()
  }
}

/** Where the first run keeps everything when nothing names another place. */
const FIRST_CONFIG = join('.cloakroom', 'cloakroom.yaml')

// A place that is there stays as it is: `initialize` makes what is missing and never overwrites.
async function initializeOnce({ global, env, cwd, output }: CliContext): Promise<void> {
  const named = resolve(cwd, global.config ?? env.CLOAKROOM_CONFIG ?? FIRST_CONFIG)
  const isDirectory = statSync(named, { throwIfNoEntry: false })?.isDirectory() === true
  const file = isDirectory ? join(named, 'cloakroom.yaml') : named
  if (existsSync(file)) return
  if (basename(file) !== 'cloakroom.yaml') {
    throw new CloakroomError('CLI_USAGE', { what: '--init makes a file named cloakroom.yaml: name it so' })
  }
  const { initialize } = await import('../init.ts')
  const { directory, rootKey } = await initialize(dirname(file))
  output.say(`made ${directory}; back up ${rootKey}, apart from the rest: without it nothing can be opened`)
}

function whatNext({ file, policy }: Config, { proxy, ops }: Addresses): string {
  const place = basename(dirname(file)) === '.cloakroom' ? '' : ` --config ${file}`
  const command = `${COMMAND}${place}`
  return [
    `cloakroom is ready: proxy http://${proxy}, metrics and health http://${ops}/metrics and /readyz. Ctrl-C drains and ends.`,
    `  configuration   ${file}`,
    `  1. a secret     ${command} secret put acme/example --target https://api.example.com   # prints its placeholder`,
    `  2. a rule       in ${policy.files.join(', ')}, read again when it changes; then: ${command} policy check`,
    `  3. your app     ${command} exec -- YOUR-APP   # with the placeholder where the credential was`,
  ].join('\n')
}

// One Ctrl-C may come twice: the terminal sends it to every process, and npm passes on what it got.
const SAME_WISH = seconds(1)

// The operator will not wait: what was under way is lost, and the records say so at the next start.
function exitOnSecondSignal(): void {
  const first = systemClock.monotonic()
  const exit = (signal: 'SIGTERM' | 'SIGINT') => {
    if (systemClock.monotonic() - first >= SAME_WISH) process.exit(128 + constants.signals[signal])
  }
  process.on('SIGTERM', () => exit('SIGTERM'))
  process.on('SIGINT', () => exit('SIGINT'))
}

type Ending = { readonly told: Promise<'SIGTERM' | 'SIGINT'>; forget(): void }

function untilTold(): Ending {
  let forget = (): void => undefined
  const told = new Promise<'SIGTERM' | 'SIGINT'>(resolve => {
    const onTerm = () => resolve('SIGTERM')
    const onInt = () => resolve('SIGINT')
    process.once('SIGTERM', onTerm)
    process.once('SIGINT', onInt)
    forget = () => {
      process.off('SIGTERM', onTerm)
      process.off('SIGINT', onInt)
    }
  })
  return { told, forget: () => forget() }
}

function tellReload(log: Log, cause: unknown): void {
  const text = cause instanceof CloakroomError ? cause.message : describeCause(cause)
  log.error('the reload failed; the last good policy stays in force', { cause: describeCause(cause), text })
}
