/**
 * Who writes to the embedded database: this thread, or one of its own.
 */
import { once } from 'node:events'
import { extname, join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { CloakroomError } from '../base/errors.ts'
import type { Statement, TransactionResult } from './database.ts'
import { type Connection, connectWriter, runTransaction } from './sqlite-connection.ts'
import type { WriteAnswer, WriteRequest } from './sqlite-thread.ts'

export interface Writer {
  run(statements: readonly Statement[]): Promise<TransactionResult>
  /** The connection to ask for changes of others: undefined when it is in another thread. */
  readonly connection: Connection | undefined
  close(): Promise<void>
}

/** Writes on this thread: for commands, which have nothing else to do meanwhile. */
export function writeHere(file: string): Writer {
  const connection = connectWriter(file)
  return {
    connection,
    run: async statements => runTransaction(connection, statements),
    close: async () => connection.database.close(),
  }
}

type Waiting = PromiseWithResolvers<TransactionResult>

// "sqlite-thread.ts" in a checkout, "sqlite-thread.js" in the package.
const THREAD = join(import.meta.dirname, `sqlite-thread${extname(import.meta.filename)}`)

/**
 * Writes on a thread of its own, started with the first write: for a sidecar, whose event loop never waits for the disk.
 *
 * A thread that fails takes the writes that wait with it; the next write starts another one.
 */
export function writeOnThread(file: string): Writer {
  const waiting = new Map<number, Waiting>()
  let worker: Worker | undefined
  let lastId = 0

  const fail = (what: string) => {
    worker = undefined
    for (const { reject } of waiting.values()) reject(new CloakroomError('STORAGE_FAILED', { what }))
    waiting.clear()
  }
  const settle = (answer: WriteAnswer) => {
    const write = waiting.get(answer.id)
    waiting.delete(answer.id)
    if (waiting.size === 0) worker?.unref() // an idle writer does not keep the process
    if ('result' in answer) write?.resolve(answer.result)
    else write?.reject(new CloakroomError('STORAGE_FAILED', { what: answer.fault }))
  }
  const start = (): Worker => {
    const started = new Worker(THREAD, { workerData: file, name: 'store-writer' })
    started.on('message', settle)
    started.on('error', () => fail('the writer thread failed'))
    started.on('exit', () => {
      if (worker === started) fail('the writer thread ended')
    })
    return started
  }

  return {
    connection: undefined,
    run(statements) {
      worker ??= start()
      worker.ref()
      const write: Waiting = Promise.withResolvers()
      const request: WriteRequest = { id: ++lastId, statements }
      waiting.set(request.id, write)
      worker.postMessage(request)
      return write.promise
    },
    async close() {
      const last = worker
      if (last === undefined) return
      last.ref()
      last.postMessage('close') // after the writes that wait: messages keep their order
      await once(last, 'exit')
    },
  }
}
