/**
 * Runs the real command line, ./bin/cloakroom, as a process of its own.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import type { Test } from 'tap'
import { aDirectory } from './directory.ts'

export const BINARY = join(import.meta.dirname, '..', '..', 'bin', 'cloakroom')

export type CliRun = {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly out: string
  readonly err: string
}

export type CliOptions = {
  /** What stands on stdin; an empty one is closed at once. */
  readonly input?: string | Buffer
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

// Nothing of the test runner's environment: its NODE_OPTIONS would be refused, and CLOAKROOM_ variables would be options.
const CLEAN = { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '/' }

/** Runs a command to its end. */
export async function cloakroom(args: readonly string[], options: CliOptions = {}): Promise<CliRun> {
  const child = startCloakroom(args, options)
  const chunks: { out: Buffer[]; err: Buffer[] } = { out: [], err: [] }
  child.stdout?.on('data', chunk => chunks.out.push(chunk))
  child.stderr?.on('data', chunk => chunks.err.push(chunk))
  child.stdin?.on('error', () => undefined) // a command that reads nothing may be gone already
  child.stdin?.end(options.input ?? '')
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) =>
      resolve({
        code,
        signal,
        out: Buffer.concat(chunks.out).toString('utf8'),
        err: Buffer.concat(chunks.err).toString('utf8'),
      }),
    )
  })
}

/** Starts a command and leaves it running; the test ends it. */
export function startCloakroom(args: readonly string[], options: CliOptions = {}): ChildProcess {
  const variables = Object.entries({ ...CLEAN, ...options.env }).map(([name, value]) => `${name}=${value}`)
  // env(1) in between: the test runner adds its own NODE_OPTIONS to whatever it sees being spawned.
  return spawn('env', ['-i', ...variables, BINARY, ...args], {
    cwd: options.cwd,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
}

export type Place = {
  readonly directory: string
  readonly config: string
  /** Runs a command with this place's configuration. */
  run(args: readonly string[], options?: CliOptions): Promise<CliRun>
}

/** A directory made by `cloakroom init`, with this policy in place of the starter's. */
export async function aPlace(t: Test, policy?: string): Promise<Place> {
  const directory = join(aDirectory(t), 'd')
  const made = await cloakroom(['init', directory])
  if (made.code !== 0) throw new Error(`init failed: ${made.err}`)
  const config = join(directory, 'cloakroom.yaml')
  if (policy !== undefined) {
    const { writeFileSync } = await import('node:fs')
    writeFileSync(join(directory, 'policy.yaml'), policy)
  }
  return { directory, config, run: (args, options) => cloakroom(['--config', config, ...args], options) }
}

export type RunningSidecar = {
  readonly child: ChildProcess
  readonly addresses: { readonly proxy: string; readonly ops: string; readonly admin: string }
  /** Sends SIGTERM and gives the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
  /** What it has written to stderr so far. */
  log(): string
}

/** Starts `cloakroom run` on free ports and waits until it is ready. */
export async function aRunningSidecar(
  t: Test,
  place: Place,
  options: CliOptions = {},
): Promise<RunningSidecar> {
  const ports = ['--set', 'proxy.listen=127.0.0.1:0', '--set', 'ops.listen=127.0.0.1:0']
  const child = startCloakroom(['--config', place.config, ...ports, '--json', 'run'], options)
  child.stdin?.end()
  let err = ''
  child.stderr?.on('data', chunk => {
    err += String(chunk)
  })
  const ended = new Promise<number | null>(resolve => child.once('exit', resolve))
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
  })
  const addresses = await new Promise<RunningSidecar['addresses']>((resolve, reject) => {
    let out = ''
    child.stdout?.on('data', chunk => {
      out += String(chunk)
      if (out.includes('\n')) resolve(JSON.parse(out.slice(0, out.indexOf('\n'))))
    })
    void ended.then(code => reject(new Error(`run ended with ${code}: ${err}`)))
  })
  return {
    child,
    addresses,
    log: () => err,
    stop: (signal = 'SIGTERM') => {
      child.kill(signal)
      return ended
    },
  }
}
