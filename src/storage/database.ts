/**
 * The database as the program sees it: rows out, batches of statements in.
 *
 * Rule of this file: a transaction is a list of statements that is known before it begins. Nothing is awaited in the middle of
 * one, so it is short, it can run on another thread or another machine, and it can be tried again.
 */

export type SqlParameter = null | number | string | Uint8Array
export type SqlValue = SqlParameter | bigint
export type SqlRow = readonly SqlValue[]

export type Statement = {
  readonly sql: string
  readonly parameters: readonly SqlParameter[]
  /** The number of rows it must change: if it does not, the whole transaction is undone (compare and swap). */
  readonly changes?: number
}

export type TransactionResult = 'done' | 'conflict'

export interface Database {
  /** Runs one query. On the data path only point reads: an embedded database runs it on the event loop (rulings.md 19). */
  query(sql: string, parameters: readonly SqlParameter[]): Promise<readonly SqlRow[]>
  /**
   * Runs statements in order, all or none; durable when it resolves.
   *
   * @returns conflict when a statement did not change the rows that it must; then nothing has changed.
   * @throws STORAGE_FAILED
   */
  transaction(statements: readonly Statement[]): Promise<TransactionResult>
  /** Tells whether another process has written since the last call. Cheap enough to ask twice a second. */
  changedElsewhere(): boolean
  close(): Promise<void>
}
