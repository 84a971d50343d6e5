/**
 * The processes of the benchmark, each on its own core where that can be had, and what they use of it.
 */
import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { Load, LoadTold, Measured } from './load.ts'

const hasTaskset = availableParallelism() > 1 && spawnSync('taskset', ['--version']).status === 0

/** The proxy under test has the first core for itself; the load and the third party share the second. */
export const CORES = { proxy: '0', others: '1' } as const

export const isPinned = hasTaskset

/** Puts a process, and the threads that it has, on a core. */
export function pin(pid: number | undefined, core: string): void {
  if (hasTaskset && pid !== undefined) spawnSync('taskset', ['-a', '-p', '-c', core, String(pid)])
}

/** A command line that runs on a core. */
export function onCore(core: string, command: readonly string[]): readonly string[] {
  return hasTaskset ? ['taskset', '-c', core, ...command] : command
}

/** Starts a program of this directory with a channel for messages. */
export function startChild(file: string): ChildProcess {
  const child = fork(join(import.meta.dirname, file), [], {
    execArgv: [],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  pin(child.pid, CORES.others)
  return child
}

/** Starts a proxy on its core, and leaves it running. */
export function startProxy(command: readonly string[], env: NodeJS.ProcessEnv = process.env): ChildProcess {
  const [file = '', ...args] = onCore(CORES.proxy, command)
  return spawn(file, args, { env, stdio: ['ignore', 'pipe', 'ignore'] })
}

/** The next message of a child; fails when the child ends without one. */
export async function nextMessage<T>(child: ChildProcess): Promise<T> {
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`a child of the benchmark ended with ${code}`)
  })
  ended.catch(() => undefined)
  const [message] = (await Promise.race([once(child, 'message'), ended])) as [T]
  return message
}

export type Sample = Measured & { readonly cpuMicrosPerRequest: number; readonly rssBytes: number }

/** Runs one load; `pids` are the processes whose CPU is counted. */
export async function measure(load: Load, pids: readonly number[]): Promise<Sample> {
  const child = startChild('load.ts')
  child.send(load)
  const told = async () => {
    const message = await nextMessage<LoadTold>(child)
    if (typeof message === 'object' && 'failed' in message) throw new Error(message.failed)
    return message
  }
  await told()
  const before = cpuNanos(pids)
  const measured = (await told()) as Measured
  const used = cpuNanos(pids) - before
  if (child.exitCode === null) await once(child, 'exit')
  return { ...measured, cpuMicrosPerRequest: used / 1000 / measured.requests, rssBytes: rss(pids) }
}

// proc(5): the first number of schedstat is the time on a CPU, in nanoseconds.
function cpuNanos(pids: readonly number[]): number {
  return sum(
    pids.flatMap(pid =>
      readdirSync(`/proc/${pid}/task`).map(task =>
        Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]),
      ),
    ),
  )
}

function rss(pids: readonly number[]): number {
  const kibibytes = pids.map(pid =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0),
  )
  return sum(kibibytes) * 1024
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0)
