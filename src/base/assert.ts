/**
 * Two ways to say that something cannot be: a value of type never, and a broken assumption.
 */
import { CloakroomError } from './errors.ts'

/** Ends a switch over a union; the compiler refuses the call while a member is not handled. */
export function unreachable(value: never): never {
  throw new CloakroomError('INTERNAL_BROKEN_INVARIANT', { what: `unexpected case of type ${typeof value}` })
}

/** Throws INTERNAL_BROKEN_INVARIANT when `condition` does not hold; `what` never carries values of a message. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new CloakroomError('INTERNAL_BROKEN_INVARIANT', { what })
}
