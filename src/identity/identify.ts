/**
 * Tells which caller sent a connection or a request.
 *
 * Rules of this file (rulings.md 12): what is presented decides. A wrong or unreadable Proxy-Authorization is `rejected` and
 * never falls through to the loopback caller; only its absence does. Asked anew for every request inside a tunnel, with the
 * policy of that moment, so that a revoked caller is gone at once.
 */
import { equalBytes } from '../base/bytes.ts'
import type { Identified, Presented } from '../model/caller.ts'
import type { CompiledPolicy } from '../policy/compiled.ts'

// Compared with when a caller is unknown or has no password in force, so that the time does not tell (C2).
// No input has this hash: it is checked by length and content, and nothing is accepted on its account.
const NOBODY: readonly Buffer[] = [Buffer.alloc(32)]

export function identify(policy: CompiledPolicy, presented: Presented): Identified {
  const { authorization } = presented
  if (authorization === undefined) {
    const loopback = presented.isLoopback ? policy.loopback : undefined
    return loopback === undefined ? { kind: 'none' } : { kind: 'caller', caller: loopback.caller }
  }
  if (authorization.kind === 'malformed') return { kind: 'rejected' }
  const known = policy.callers.get(authorization.callerId)
  const hasPassword = known !== undefined && known.passwordHashes.length > 0
  const hashes = hasPassword ? known.passwordHashes : NOBODY
  // Every hash is compared, with no early end: which of two passwords fits is not to be seen from outside.
  let matches = 0
  for (const expected of hashes) matches += equalBytes(expected, authorization.passwordHash) ? 1 : 0
  if (!hasPassword || matches === 0) return { kind: 'rejected' }
  const { tenant } = authorization
  return { kind: 'caller', caller: known.caller, ...(tenant === undefined ? {} : { tenant }) }
}
