/**
 * The processes of the demo: the command line, the sidecar, the app. Each has an environment of its own, and nothing of ours in it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '..', '..')
const BINARY = join(ROOT, 'bin', 'cloakroom')
const APP = join(import.meta.dirname, 'app.mjs')
const CLEAN = { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '/' }

export type Ended = { readonly code: number | null; readonly out: string; readonly err: string }

/** Runs `cloakroom --config FILE …` to its end. */
export function cloakroom(config: string, args: readonly string[], input = ''): Promise<Ended> {
  return finish(spawn(BINARY, ['--config', config, ...args], { env: CLEAN }), input)
}

/** Runs the app with these variables and no others. */
export function runApp(variables: Readonly<Record<string, string>>): Promise<Ended> {
  return finish(spawn(process.execPath, [APP], { env: { PATH: CLEAN.PATH, ...variables } }), '')
}

async function finish(child: ChildProcess, input: string): Promise<Ended> {
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout?.on('data', chunk => out.push(chunk))
  child.stderr?.on('data', chunk => err.push(chunk))
  child.stdin?.on('error', () => undefined) // it may have ended without reading
  child.stdin?.end(input)
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, out: Buffer.concat(out).toString(), err: Buffer.concat(err).toString() }
}

export type RunningSidecar = {
  readonly proxy: string
  readonly ops: string
  /** Everything that it logged. */
  log(): string
  /** Ends it as an operator does, and gives its exit code. */
  stop(): Promise<number | null>
}

/** Starts `cloakroom run` and waits for its ready line. */
export async function startSidecar(config: string): Promise<RunningSidecar> {
  const child = spawn(BINARY, ['--config', config, '--json', 'run'], { env: CLEAN, stdio: 'pipe' })
  const log: Buffer[] = []
  child.stderr.on('data', chunk => log.push(chunk))
  const ended = once(child, 'close') as Promise<[number | null]>
  const ready = new Promise<string>(resolve => {
    let text = ''
    child.stdout.on('data', chunk => {
      text += String(chunk)
      if (text.includes('\n')) resolve(text)
    })
  })
  const first = await Promise.race([ready, ended])
  if (typeof first !== 'string') throw new Error(`the sidecar did not start:\n${Buffer.concat(log)}`)
  const { proxy, ops } = JSON.parse(first) as { proxy: string; ops: string }
  return {
    proxy,
    ops,
    log: () => Buffer.concat(log).toString(),
    async stop() {
      child.kill('SIGTERM')
      return (await ended)[0]
    },
  }
}
