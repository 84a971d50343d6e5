/**
 * `cloakroom run`: the sidecar in the foreground.
 *
 * Signals: SIGHUP reloads the policy, SIGTERM and SIGINT drain and exit 0, a second one exits at once.
 */
import { constants } from 'node:os'
import { CloakroomError } from '../../base/errors.ts'
import { describeCause, type Log } from '../../base/log.ts'
import type { AddCommands, Handler } from '../command.ts'
import { logOf } from '../output.ts'

export const addRunCommand: AddCommands = (program, perform) => {
  program
    .command('run')
    .description('start the sidecar; SIGHUP reloads the policy, SIGTERM drains')
    .action(perform(runSidecar))
}

const runSidecar: Handler<object> = async ({ context }) => {
  const config = context.config()
  const log = logOf(config.log)
  const { createSidecar } = await import('../../app.ts')
  const sidecar = createSidecar(config, log)
  const ending = untilTold()
  try {
    const addresses = await sidecar.start()
    log.info('ready', { ...addresses })
    if (context.output.isJson) context.output.result({ event: 'ready', ...addresses }, '')
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

// The operator will not wait: what was under way is lost, and the records say so at the next start.
function exitOnSecondSignal(): void {
  process.on('SIGTERM', () => process.exit(128 + constants.signals.SIGTERM))
  process.on('SIGINT', () => process.exit(128 + constants.signals.SIGINT))
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
