/**
 * Starts the sidecar as a manifest says, on free ports and with the manifest's directories moved to a temporary one.
 */
import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from 'tap'
import { startCloakroom } from '../support/cli.ts'

export const ROOT = join(import.meta.dirname, '..', '..')
export const DEPLOY = join(ROOT, 'deploy')

/** Paths that the ops listener serves. */
export const PROBES = ['/livez', '/readyz', '/startupz', '/metrics']

const FREE_PORTS = { CLOAKROOM_PROXY_LISTEN: '127.0.0.1:0', CLOAKROOM_OPS_LISTEN: '127.0.0.1:0' }

export type Started = {
  readonly ops: string
  readonly admin: string
  readonly log: () => string
  stop(): Promise<number | null>
}

/** Waits until it is ready; throws with what it said when it ends instead. */
export async function start(
  t: Test,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Started> {
  const child = startCloakroom(args, { env: { ...FREE_PORTS, ...env } })
  let log = ''
  let ready = (_line: string): void => undefined
  const listening = new Promise<string>(resolve => {
    ready = resolve
  })
  child.stdout?.resume()
  child.stderr?.on('data', chunk => {
    log += String(chunk)
    const line = log.split('\n').find(text => text.includes('"message":"ready"') && text.endsWith('}'))
    if (line !== undefined) ready(line)
  })
  const ended = once(child, 'exit') as Promise<[number | null]>
  t.teardown(async () => {
    if (child.exitCode === null) child.kill('SIGKILL')
    await ended
  })
  const first = await Promise.race([listening, ended])
  if (typeof first !== 'string') throw new Error(log)
  const { ops, admin } = JSON.parse(first) as { ops: string; admin: string }
  return {
    ops,
    admin,
    log: () => log,
    async stop() {
      child.kill('SIGTERM')
      return (await ended)[0]
    },
  }
}

/** Asks the ops listener; gives the status. */
export async function probe(ops: string, path: string): Promise<number> {
  const answer = await fetch(`http://${ops.replace('0.0.0.0', '127.0.0.1')}${path}`)
  await answer.text()
  return answer.status
}
