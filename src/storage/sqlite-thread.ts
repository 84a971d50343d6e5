/**
 * The thread that writes to the embedded database, so that a slow disk never holds up the data path (rulings.md 19).
 *
 * It takes transactions by message, runs them in order and answers each; it ends when its port is closed. What it is sent is
 * sealed rows: no value and no key comes here.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { CloakroomError } from '../base/errors.ts'
import type { Statement, TransactionResult } from './database.ts'
import { connectWriter, runTransaction } from './sqlite-connection.ts'
import { describeSqlite } from './sqlite-fault.ts'

export type WriteRequest = { readonly id: number; readonly statements: readonly Statement[] }
export type WriteAnswer =
  | { readonly id: number; readonly result: TransactionResult }
  | { readonly id: number; readonly fault: string }

const writer = connectWriter(String(workerData))
parentPort?.on('message', (request: WriteRequest | 'close') => {
  if (request === 'close') {
    writer.database.close()
    parentPort?.close()
  } else parentPort?.postMessage(answer(request))
})

function answer({ id, statements }: WriteRequest): WriteAnswer {
  try {
    return { id, result: runTransaction(writer, statements) }
  } catch (cause) {
    return { id, fault: faultOf(cause) }
  }
}

function faultOf(cause: unknown): string {
  if (cause instanceof CloakroomError && cause.cause !== undefined) return describeSqlite(cause.cause)
  return describeSqlite(cause)
}
