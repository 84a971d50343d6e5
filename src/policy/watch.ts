/**
 * Notices that policy files have changed.
 *
 * Rules of this file: the content decides, not the event. Directories are watched, because editors rename and Kubernetes swaps
 * the `..data` link; a poll catches what no event tells (network file systems, a directory that was replaced). It never
 * throws and never decides: the new texts, or what keeps them from being read, are given to the owner.
 */
import { type FSWatcher, watch } from 'node:fs'
import { dirname } from 'node:path'
import { type Clock, type Milliseconds, seconds, type Timer } from '../base/clock.ts'
import { type InOrder, inOrder } from '../base/in-order.ts'
import type { Fault } from '../base/yaml.ts'
import { hashTexts } from './compile.ts'
import { readPolicyFiles } from './load.ts'
import type { PolicyText } from './source.ts'

export type WatchOptions = {
  readonly files: readonly string[]
  readonly clock: Clock
  /** Hash of the policy in force, so that an unchanged file is no news. */
  readonly hash: string
  readonly onChange: (texts: readonly PolicyText[]) => void
  /** Called once for each new state in which the files cannot be read; the policy in force stays. */
  readonly onUnreadable: (faults: readonly Fault[]) => void
  /** Shared with who else reads the files and acts on them, so that older content never comes last. */
  readonly inOrder?: InOrder
  readonly pollEvery?: Milliseconds
  readonly debounce?: Milliseconds
}

export interface PolicyWatch {
  /** Looks now, as on SIGHUP; resolves after onChange or onUnreadable has been called, if there was news. */
  check(): Promise<void>
  /** Forgets what was seen: the owner has read the files itself, so the next look tells of them again. */
  forget(): void
  close(): void
}

const POLL_EVERY = seconds(2)
const DEBOUNCE: Milliseconds = 100 // an editor's write and rename, or a kubelet's link swap, are one change

export function watchPolicyFiles(options: WatchOptions): PolicyWatch {
  const directories = new Set(options.files.map(file => dirname(file)))
  const watchers = new Map<string, FSWatcher>()
  let seen: string | undefined = options.hash
  let timers: readonly Timer[] = []
  let isClosed = false
  const oneByOne = options.inOrder ?? inOrder()

  const look = async (): Promise<void> => {
    const read = await readPolicyFiles(options.files)
    const state = read.kind === 'texts' ? hashTexts(read.texts) : JSON.stringify(read.faults)
    if (isClosed || state === seen) return
    seen = state
    if (read.kind === 'texts') options.onChange(read.texts)
    else options.onUnreadable(read.faults)
  }
  // One look at a time: two that overlap could report the older content last.
  const check = (): Promise<void> => oneByOne(look)
  const later = (delay: Milliseconds, run: () => void): void => {
    if (!isClosed) timers = [...timers, options.clock.after(delay, run)]
  }
  let isDebouncing = false
  const onEvent = (): void => {
    if (isDebouncing) return
    isDebouncing = true
    later(options.debounce ?? DEBOUNCE, () => {
      isDebouncing = false
      watchDirectories(directories, watchers, onEvent)
      void check().catch(() => undefined) // onChange is the owner's; the next poll looks again
    })
  }
  const poll = (): void => {
    timers = []
    isDebouncing = false
    watchDirectories(directories, watchers, onEvent)
    void check().catch(() => undefined)
    later(options.pollEvery ?? POLL_EVERY, poll)
  }
  watchDirectories(directories, watchers, onEvent)
  later(options.pollEvery ?? POLL_EVERY, poll)
  return {
    check,
    forget() {
      seen = undefined
    },
    close() {
      isClosed = true
      for (const timer of timers) timer.cancel()
      for (const watcher of watchers.values()) watcher.close()
    },
  }
}

/** Watches every directory that is not watched yet; one that cannot be is left to the poll. */
function watchDirectories(
  directories: ReadonlySet<string>,
  watchers: Map<string, FSWatcher>,
  onEvent: () => void,
): void {
  for (const directory of directories) {
    if (watchers.has(directory)) continue
    try {
      const watcher = watch(directory, { persistent: false }, event => {
        // A deleted directory ends its events without an error, after a 'rename': so each one is followed by a new watch.
        if (event === 'rename') forget(directory, watchers)
        onEvent()
      })
      watcher.on('error', () => forget(directory, watchers))
      watchers.set(directory, watcher)
    } catch {
      watchers.delete(directory)
    }
  }
}

function forget(directory: string, watchers: Map<string, FSWatcher>): void {
  watchers.get(directory)?.close()
  watchers.delete(directory)
}
