/**
 * Runs pieces of asynchronous work one after another.
 *
 * Rule of this file: the order of the calls is the order of the work; a piece that fails does not stop those behind it.
 */

/** Runs `work` when all that was given before has ended, and gives its result. */
export type InOrder = <T>(work: () => Promise<T>) => Promise<T>

export function inOrder(): InOrder {
  let last: Promise<unknown> = Promise.resolve()
  return work => {
    const result = last.then(work)
    last = result.catch(() => undefined) // who gave the work is told
    return result
  }
}
