/**
 * Programs as processes of their own, with the environment that a test names and nothing else.
 */
import { spawn } from 'node:child_process'

export type Ran = {
  readonly code: number | null
  readonly out: string
  readonly err: string
  /** Everything it said, for the message of an assertion. */
  readonly said: string
}

export type RunOptions = {
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string | Buffer
  readonly cwd?: string
  readonly timeoutMs?: number
}

const CLEAN = { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '/', LC_ALL: 'C.UTF-8' }

/** Runs a program to its end; a failure is a code and not a throw. */
export function runProgram(command: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const variables = Object.entries({ ...CLEAN, ...options.env }).map(([name, value]) => `${name}=${value}`)
  // env(1) in between: the test runner adds its own NODE_OPTIONS to whatever it sees being spawned.
  const child = spawn('env', ['-i', ...variables, ...command], {
    cwd: options.cwd,
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: options.timeoutMs ?? 120_000,
    killSignal: 'SIGKILL',
  })
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout.on('data', chunk => out.push(chunk))
  child.stderr.on('data', chunk => err.push(chunk))
  child.stdin.on('error', () => undefined) // a program that reads nothing may be gone already
  child.stdin.end(options.input ?? '')
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => {
      const [stdout, stderr] = [Buffer.concat(out).toString('utf8'), Buffer.concat(err).toString('utf8')]
      resolve({
        code,
        out: stdout,
        err: stderr,
        said: `${command[0]} ended with ${code}: ${stderr}${stdout}`,
      })
    })
  })
}
