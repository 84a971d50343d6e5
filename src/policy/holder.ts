/**
 * Holds the policy in force.
 *
 * Rule of this file: a snapshot is immutable and replaced as a whole; an exchange asks once and keeps what it got, so that a
 * reload never changes the rules under a request (threat-model.md B9).
 */
import { CloakroomError } from '../base/errors.ts'
import type { CompiledPolicy } from './compiled.ts'

export interface PolicyHolder {
  /** The policy in force. @throws POLICY_NOT_LOADED before the first one. */
  snapshot(): CompiledPolicy
  isLoaded(): boolean
  /** Puts another policy in force, from the next snapshot on, and tells those who asked. */
  replace(policy: CompiledPolicy): void
  /** Calls `listener` after each replacement: to close what a policy no longer allows. */
  onReplace(listener: (policy: CompiledPolicy) => void): void
}

export function createPolicyHolder(first?: CompiledPolicy): PolicyHolder {
  let current = first
  const listeners: ((policy: CompiledPolicy) => void)[] = []
  return {
    snapshot() {
      if (current === undefined) throw new CloakroomError('POLICY_NOT_LOADED', {})
      return current
    },
    isLoaded: () => current !== undefined,
    replace(policy) {
      current = policy
      for (const listener of listeners) listener(policy)
    },
    onReplace: listener => void listeners.push(listener),
  }
}
