/**
 * Operations on callers: edits of the policy file, checked as a whole before they are written, in force right after.
 *
 * Rule of this file: passwords are made here and shown once; the policy holds their hashes (rulings.md 13).
 */
import * as v from 'valibot'
import { CloakroomError, isError } from '../base/errors.ts'
import { newCallerPassword } from '../identity/password.ts'
import type { CompiledCaller, CompiledPolicy } from '../policy/compiled.ts'
import { addCaller, addCallerPassword, removeCallerPasswords } from '../policy/edit.ts'
import type { ControlDeps } from './control.ts'
import { read, write } from './operation.ts'
import { name, tenant } from './params.ts'
import { editPolicy, fileOfCaller } from './policy-file.ts'

export type CallerReport = {
  readonly caller: string
  readonly via: string
  readonly tenants: readonly string[]
  /** Passwords in force: two while one is being replaced, none when the caller is revoked. */
  readonly passwords: number
  readonly rules: readonly string[]
}

/** Shown once; nothing keeps the password. */
export type CallerPassword = { readonly caller: string; readonly password: string; readonly file: string }

const oneCaller = v.strictObject({ caller: name })

/** The table of operations on callers; operations.ts puts it together with the others. */
export const CALLER_OPERATIONS = {
  'caller.list': read({
    params: v.strictObject({}),
    run: async deps => {
      const policy = await currentPolicy(deps)
      return [...policy.callers.values()].map(known => report(policy, known))
    },
  }),
  'caller.add': write({
    params: v.strictObject({
      caller: name,
      tenants: v.union([
        v.pipe(v.tuple([v.literal('*')]), v.readonly()),
        v.pipe(v.array(tenant), v.minLength(1, 'names no tenant')),
      ]),
    }),
    event: 'caller_added',
    fields: ({ caller, tenants }) => ({ caller, tenants }),
    run: async (deps, { caller, tenants }): Promise<CallerPassword> => {
      if ((await currentPolicy(deps)).callers.has(caller)) {
        throw new CloakroomError('CLI_USAGE', { what: `there is a caller ${caller} already` })
      }
      const { password, sha256 } = newCallerPassword()
      const file = deps.policy.files[0] ?? ''
      await editPolicy(deps, file, text => addCaller(text, { id: caller, sha256, tenants }))
      return { caller, password, file }
    },
  }),
  // Both passwords are in force until `finish`: the app takes the new one without a gap.
  'caller.rotate': write({
    params: v.strictObject({ caller: name, finish: v.optional(v.boolean(), false) }),
    event: 'caller_rotated',
    fields: ({ caller, finish }) => ({ caller, finish }),
    run: async (
      deps,
      { caller, finish },
    ): Promise<CallerPassword | { readonly caller: string; readonly removed: number }> => {
      const known = await knownCaller(deps, caller)
      const file = await fileOfCaller(deps, caller)
      if (finish) {
        const removed = Math.max(0, known.passwordHashes.length - 1)
        if (removed > 0) await editPolicy(deps, file, text => removeCallerPasswords(text, caller, 1))
        return { caller, removed }
      }
      // Whoever revoked it meant to end it: a routine replacement of passwords must not undo that.
      if (known.passwordHashes.length === 0) {
        const what = `caller ${caller} is revoked, and stays so: add a caller of another name`
        throw new CloakroomError('CLI_USAGE', { what })
      }
      const { password, sha256 } = newCallerPassword()
      await editPolicy(deps, file, text => addCallerPassword(text, caller, sha256))
      return { caller, password, file }
    },
  }),
  'caller.revoke': write({
    params: oneCaller,
    event: 'caller_revoked',
    fields: ({ caller }) => ({ caller }),
    run: async (deps, { caller }) => {
      await knownCaller(deps, caller)
      await editPolicy(deps, await fileOfCaller(deps, caller), text => removeCallerPasswords(text, caller, 0))
      return { caller }
    },
  }),
} as const

// A command that acts without a sidecar has loaded no policy yet: only what touches callers needs one.
async function currentPolicy(deps: ControlDeps): Promise<CompiledPolicy> {
  try {
    return deps.policy.current()
  } catch (cause) {
    if (!isError(cause, 'POLICY_NOT_LOADED')) throw cause
    await deps.policy.reload()
    return deps.policy.current()
  }
}

async function knownCaller(deps: ControlDeps, caller: string): Promise<CompiledCaller> {
  const known = (await currentPolicy(deps)).callers.get(caller)
  if (known === undefined) throw new CloakroomError('CALLER_NOT_FOUND', { caller })
  if (known.caller.via !== 'proxyAuthorization') {
    const what = `caller ${caller} has no password: it is known by its source; change it in the policy file`
    throw new CloakroomError('CLI_USAGE', { what })
  }
  return known
}

function report(policy: CompiledPolicy, { caller, passwordHashes }: CompiledCaller): CallerReport {
  const rules = policy.rules.filter(rule => rule.callers.has(caller.id))
  return {
    caller: caller.id,
    via: caller.via,
    tenants: caller.tenants === '*' ? ['*'] : caller.tenants,
    passwords: passwordHashes.length,
    rules: rules.map(rule => rule.id),
  }
}
