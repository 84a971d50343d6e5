/**
 * One change of the store at a time, each under a new epoch.
 *
 * Rule of this file: the epoch is read, checked and moved on within the transaction that it stamps, so two writers never build on
 * the same state: the later one finds that the epoch has moved, and plans anew (compare and swap).
 */
import type { KeyObject } from 'node:crypto'
import { CloakroomError } from '../base/errors.ts'
import { isSameMac, macOfEpoch } from '../keys/row-mac.ts'
import type { Database, Statement } from '../storage/database.ts'
import { type EpochRow, readEpoch, updateEpoch } from '../storage/meta.ts'

/** What a change writes, and what its author is told when it has been written. */
export type Plan<T> = { readonly statements: readonly Statement[]; readonly result: T }

export interface Changes {
  /**
   * Plans a change and writes it, durably, before the promise resolves. `plan` may run again when another process wrote first.
   *
   * @throws what `plan` throws; SECRET_EXISTS when another process keeps writing; SIDECAR_OVERLOADED; STORAGE_FAILED
   */
  apply<T>(what: string, plan: (epoch: number) => Promise<Plan<T>>): Promise<T>
}

export type ChangesOptions = {
  readonly database: Database
  readonly storeId: Uint8Array
  readonly epochKey: KeyObject
}

const MAX_WAITING = 1000
const MAX_TRIES = 5

export function createChanges(options: ChangesOptions): Changes {
  let last: Promise<unknown> = Promise.resolve()
  let waiting = 0
  return {
    apply(what, plan) {
      if (waiting >= MAX_WAITING)
        throw new CloakroomError('SIDECAR_OVERLOADED', { what: 'changes of secrets' })
      waiting++
      const mine = last.then(() => applyOne(options, what, plan)).finally(() => waiting--)
      last = mine.catch(() => undefined) // its author is told; the next one begins either way
      return mine
    },
  }
}

async function applyOne<T>(
  options: ChangesOptions,
  what: string,
  plan: (epoch: number) => Promise<Plan<T>>,
): Promise<T> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const before = await genuineEpoch(options)
    const after = certifyEpoch(options, before.epoch + 1)
    const { statements, result } = await plan(after.epoch)
    const outcome = await options.database.transaction([updateEpoch(before, after), ...statements])
    if (outcome === 'done') return result
  }
  throw new CloakroomError('SECRET_EXISTS', { secret: what })
}

/** Reads the epoch and checks its MAC. @throws SECRET_TAMPERED */
export async function genuineEpoch(options: ChangesOptions): Promise<EpochRow> {
  const row = await readEpoch(options.database)
  if (row === undefined || !isSameMac(row.mac, macOfEpoch(options.epochKey, options.storeId, row.epoch))) {
    throw new CloakroomError('SECRET_TAMPERED', { secret: '*/*', what: 'the epoch of the store' })
  }
  return row
}

export function certifyEpoch(
  { epochKey, storeId }: Pick<ChangesOptions, 'epochKey' | 'storeId'>,
  epoch: number,
): EpochRow {
  return { epoch, mac: macOfEpoch(epochKey, storeId, epoch) }
}
