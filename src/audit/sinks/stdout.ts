/**
 * Writes the log to an already open descriptor: stdout, for platforms that collect it.
 *
 * Rules of this file. It uses the descriptor and not process.stdout, whose writes to a pipe block the event loop on Linux and macOS:
 * a reader that stops must cost 503s and not the whole sidecar (threat-model.md K1). "Written" means that the kernel took the
 * bytes; whether anybody reads them is not known here. Nothing can be read back or cut back, so a batch that broke off goes on at
 * the very byte where it stopped, and every start begins a chain of its own.
 */
import { write } from 'node:fs'
import { promisify } from 'node:util'
import type { Clock } from '../../base/clock.ts'
import type { AuditSink } from '../sink.ts'

export type StdoutSinkOptions = {
  readonly required: boolean
  readonly clock: Clock
  /** Default 1. */
  readonly descriptor?: number
}

const STDOUT = 1
/** How long to wait when a descriptor that others made non-blocking is full. */
const FULL_PAUSE = 5
const writeAsync = promisify(write)

export function createStdoutSink(options: StdoutSinkOptions): AuditSink {
  const descriptor = options.descriptor ?? STDOUT
  let done = 0
  let isClosed = false
  return {
    kind: 'stdout',
    required: options.required,
    open: async () => undefined,
    async write(lines) {
      while (done < lines.length && !isClosed) {
        const { bytesWritten } = await writeAsync(descriptor, lines, done, lines.length - done, null).catch(
          async cause => {
            if (!isFull(cause)) throw cause
            await options.clock.sleep(FULL_PAUSE)
            return { bytesWritten: 0 }
          },
        )
        done += bytesWritten
      }
      if (isClosed) throw new Error('closed')
      done = 0
    },
    // The descriptor is the process's, not ours.
    async close() {
      isClosed = true
    },
  }
}

function isFull(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'EAGAIN'
}
