/**
 * Permit in, opened secrets out: the only caller of SecretStore#get (SECURITY I2).
 *
 * Rule of this file: what was opened is either handed over whole or disposed of, also when one of several fails, when the wait
 * ends first, and when a store answers after that.
 */

import { invariant } from '../base/assert.ts'
import type { Clock, Milliseconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Permit, Swap } from '../model/decision.ts'
import { formatSecretRef } from '../model/secret.ts'
import type { OpenedSecret, SecretStore } from './store.ts'

export type ResolverOptions = {
  readonly store: Pick<SecretStore, 'get'>
  /** How long all secrets of one permit may take together. */
  readonly timeout: Milliseconds
  readonly clock: Clock
}

export interface SecretResolver {
  /**
   * Opens the secrets of a permit, each once, at the same time.
   *
   * @param signal - ends the wait.
   * @returns by placeholder; the caller disposes of the values.
   * @throws SECRET_STORE_TIMEOUT; SECRET_TAMPERED; what the store throws
   */
  resolve(permit: Permit, signal: AbortSignal): Promise<ReadonlyMap<string, OpenedSecret>>
}

export function createResolver(options: ResolverOptions): SecretResolver {
  return {
    async resolve(permit, signal) {
      const swaps = eachOnce(permit)
      if (swaps.length === 0) return NOTHING
      signal.throwIfAborted()
      return withTimeout(options, signal, inner => openAll(options.store, swaps, inner))
    },
  }
}

const NOTHING: ReadonlyMap<string, OpenedSecret> = new Map()

/** One swap for each placeholder: one that stands in two places is opened once. */
function eachOnce(permit: Permit): readonly Swap[] {
  const byPlaceholder = new Map<string, Swap>()
  for (const swap of permit.swaps) {
    // SECURITY I6: decide has checked it; a permit that crosses tenants is a fault in this program.
    invariant(swap.secret.tenant === permit.tenant, 'a permit swaps secrets of its own tenant')
    byPlaceholder.set(swap.placeholder, swap)
  }
  return [...byPlaceholder.values()]
}

async function openAll(
  store: Pick<SecretStore, 'get'>,
  swaps: readonly Swap[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, OpenedSecret>> {
  const outcomes = await Promise.allSettled(swaps.map(swap => openOne(store, swap, signal)))
  const opened = new Map<string, OpenedSecret>()
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') opened.set(outcome.value.placeholder, outcome.value)
  }
  const failed = outcomes.find(outcome => outcome.status === 'rejected')
  if (failed === undefined) return opened
  disposeAll(opened)
  throw failed.reason
}

async function openOne(
  store: Pick<SecretStore, 'get'>,
  swap: Swap,
  signal: AbortSignal,
): Promise<OpenedSecret> {
  const opened = await store.get(swap.secret, signal)
  if (opened.placeholder === swap.placeholder) return opened
  // The index led here and the sealed content disagrees: whatever this is, it is not what was asked for.
  opened.value.dispose()
  const secret = formatSecretRef(swap.secret)
  throw new CloakroomError('SECRET_TAMPERED', { secret, what: 'it is sealed for another placeholder' })
}

/** Runs `open` until it ends, the time is over or `outer` aborts; what comes too late is disposed of. */
function withTimeout(
  { clock, timeout }: ResolverOptions,
  outer: AbortSignal,
  open: (signal: AbortSignal) => Promise<ReadonlyMap<string, OpenedSecret>>,
): Promise<ReadonlyMap<string, OpenedSecret>> {
  return new Promise((resolve, reject) => {
    const inner = new AbortController()
    const give = (cause: unknown) => {
      leave()
      inner.abort(cause)
      reject(cause)
    }
    const onAbort = () => give(outer.reason)
    const timer = clock.after(timeout, () =>
      give(new CloakroomError('SECRET_STORE_TIMEOUT', { waited: timeout })),
    )
    const leave = () => {
      timer.cancel()
      outer.removeEventListener('abort', onAbort)
    }
    outer.addEventListener('abort', onAbort, { once: true })
    open(inner.signal).then(
      opened => {
        if (inner.signal.aborted) return disposeAll(opened)
        leave()
        resolve(opened)
      },
      cause => give(cause),
    )
  })
}

function disposeAll(opened: ReadonlyMap<string, OpenedSecret>): void {
  for (const { value } of opened.values()) value.dispose()
}
