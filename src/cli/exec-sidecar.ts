/**
 * The sidecar behind `exec`: the one that runs, or else a private one.
 *
 * Rule of this file: a private sidecar lives until the last `exec` that uses it has ended. The state lock allows one sidecar a
 * directory, so a second `exec` joins the first one's; each holds a share of the use lock, and who started it waits for them.
 */
import { dirname } from 'node:path'
import { seconds, systemClock } from '../base/clock.ts'
import { CloakroomError, isError } from '../base/errors.ts'
import { type Listen, parseListen } from '../config/options.ts'
import type { Config } from '../config/schema.ts'
import { claimUse, shareUse, type UseHold } from '../storage/use-lock.ts'
import { runningProxy } from './app-environment.ts'
import type { CliContext } from './context.ts'

export type ExecSidecar = {
  readonly proxy: Listen
  /** Ends the private sidecar when nobody else uses it any more; a signal ends it at once. */
  stop(): Promise<void>
}

// Another one that starts or ends at this moment is soon there, or gone.
const PATIENCE = seconds(15)
const STEP = 100

/** @throws STORAGE_LOCKED when another process keeps the state to itself; what a sidecar's start throws */
export async function reachOrStart(context: CliContext, config: Config): Promise<ExecSidecar> {
  const until = systemClock.monotonic() + PATIENCE
  for (;;) {
    try {
      return await reachOrStartOnce(context, config)
    } catch (cause) {
      if (!isError(cause, 'STORAGE_LOCKED') || systemClock.monotonic() >= until) throw cause
    }
    await systemClock.sleep(STEP)
  }
}

// The share comes before the look: what is seen to run then cannot end before we do.
async function reachOrStartOnce(context: CliContext, config: Config): Promise<ExecSidecar> {
  const directory = directoryOf(config)
  const use = shareOf(directory)
  if (use === undefined) throw new CloakroomError('STORAGE_LOCKED', { directory })
  const running = await runningProxy(config).catch(cause => {
    use.release()
    throw cause
  })
  if (running !== undefined) return { proxy: running, stop: async () => use.release() }
  use.release()
  return startPrivate(context, config)
}

// A directory that is not there or is another user's: no private sidecar of ours is behind it.
function shareOf(directory: string): UseHold | undefined {
  try {
    return shareUse(directory)
  } catch (cause) {
    if (isError(cause, 'STORAGE_UNSAFE')) return { release: () => undefined }
    throw cause
  }
}

async function startPrivate(context: CliContext, config: Config): Promise<ExecSidecar> {
  const { createSidecar } = await import('../app.ts')
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
  return {
    proxy: listen,
    async stop() {
      const claim = await claimFromAll(directoryOf(config), () =>
        context.output.say(
          'cloakroom: other exec commands use the private sidecar: waiting; Ctrl-C ends it now',
        ),
      )
      try {
        await sidecar.stop('exec ended')
      } finally {
        claim?.release()
      }
    },
  }
}

const ENDS_WAITING = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

/** Waits until nobody holds a share; gives nothing when a signal comes first. */
async function claimFromAll(directory: string, tellWaiting: () => void): Promise<UseHold | undefined> {
  const told = new AbortController()
  const onSignal = () => told.abort()
  for (const signal of ENDS_WAITING) process.on(signal, onSignal)
  try {
    for (let isFirst = true; !told.signal.aborted; isFirst = false) {
      const claim = claimUse(directory)
      if (claim !== undefined) return claim
      if (isFirst) tellWaiting()
      await systemClock.sleep(STEP, told.signal).catch(() => undefined)
    }
    return undefined
  } finally {
    for (const signal of ENDS_WAITING) process.off(signal, onSignal)
  }
}

const directoryOf = (config: Config): string => dirname(config.admin.socket)
