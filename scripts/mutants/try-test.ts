/**
 * Runs one test file by itself, up to its first failure, and reads from its TAP what became of it.
 *
 * Rule of this file: only an assertion that fails counts as a failing test. A source that does not load, or that stumbles over a name
 * that is not there, says nothing about tests.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Verdict } from './mutant.ts'

const GRACE = 5 // seconds that tap has to tell of its own timeout

/**
 * Runs it once.
 *
 * @param seconds - how long one test of the file may take.
 * @param signal - ends the test, and everything that it started.
 */
export async function tryTest(
  directory: string,
  test: { readonly test: string; readonly only?: string },
  { seconds, signal }: { readonly seconds: number; readonly signal: AbortSignal },
): Promise<Verdict> {
  const only = test.only === undefined ? {} : { TAP_GREP: `^${test.only}` }
  const output = join(directory, 'output')
  const file = openSync(output, 'w') // and no pipe: a process that bails may end before a pipe has taken everything
  const child = spawn(process.execPath, [`test/${test.test}.test.ts`], {
    cwd: directory,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      TAP_BAIL: '1',
      TAP_TIMEOUT: String(seconds),
      ...only,
    },
    detached: true, // a process group of its own, so that what the test started ends with it
    stdio: ['ignore', file, file],
  })
  closeSync(file)
  const ended = once(child, 'close') as Promise<[number | null]>
  const limit = AbortSignal.any([signal, AbortSignal.timeout((seconds + GRACE) * 1000)])
  const end = () => endGroup(child.pid)
  limit.addEventListener('abort', end)
  const [code] = await ended
  limit.removeEventListener('abort', end)
  end() // a test that bails may leave processes behind
  signal.throwIfAborted()
  return limit.aborted ? { kind: 'hangs' } : verdictOf(code, readFileSync(output, 'utf8'))
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    return // it is gone
  }
}

function verdictOf(code: number | null, output: string): Verdict {
  const failed = /^ *not ok \d+ *(?:- )?(.*)$/m.exec(output)?.[1]
  const missing = /ReferenceError: .*|SyntaxError: .*|ERR_MODULE_NOT_FOUND.*/.exec(output)?.[0]
  if (missing !== undefined && code !== 0) return { kind: 'broken', what: missing }
  if (failed !== undefined)
    return /^timeout!/.test(failed) ? { kind: 'hangs' } : { kind: 'fails', by: failed }
  if (code !== 0) return { kind: 'broken', what: `exit code ${code} without a failing test` }
  const hasRun = /^ok \d+ (?!.*# SKIP)/m.test(output)
  return hasRun ? { kind: 'passes' } : { kind: 'broken', what: 'no test ran' }
}
