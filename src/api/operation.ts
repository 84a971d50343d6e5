/**
 * What an operation of the control path is: a name, a scope, checked parameters, an audit event, and what it does.
 *
 * Rule of this file: an operation that changes something cannot be written down without the event that is recorded before it
 * takes effect (threat-model.md M5): the type asks for it.
 */
import * as v from 'valibot'
import { CloakroomError } from '../base/errors.ts'
import { describeCause } from '../base/log.ts'
import type { AuditFields } from '../model/exchange.ts'
import type { ControlDeps } from './control.ts'

/** Called with what is done of the total, for operations that may take long. */
export type Progress = (done: number, total: number) => void

export type ReadOperation<S extends v.GenericSchema, R> = {
  readonly scope: 'read'
  readonly params: S
  run(deps: ControlDeps, params: v.InferOutput<S>, progress: Progress): Promise<R>
}

/** `event` and `fields` go to the audit trail first; when they cannot be written, nothing is done. */
export type WriteOperation<S extends v.GenericSchema, R> = {
  readonly scope: 'write'
  readonly params: S
  readonly event: string
  fields(params: v.InferOutput<S>): AuditFields
  run(deps: ControlDeps, params: v.InferOutput<S>, progress: Progress): Promise<R>
}

/** A change that takes effect before it is recorded, because waiting would be the greater danger; records itself. */
export type UrgentOperation<S extends v.GenericSchema, R> = {
  readonly scope: 'urgent'
  readonly params: S
  run(deps: ControlDeps, params: v.InferOutput<S>, progress: Progress): Promise<R>
}

export type Operation<S extends v.GenericSchema = v.GenericSchema, R = unknown> =
  | ReadOperation<S, R>
  | WriteOperation<S, R>
  | UrgentOperation<S, R>

/** Keeps the types of schema and result together; gives the operation back unchanged. */
export function read<S extends v.GenericSchema, R>(
  operation: Omit<ReadOperation<S, R>, 'scope'>,
): ReadOperation<S, R> {
  return { scope: 'read', ...operation }
}

export function write<S extends v.GenericSchema, R>(
  operation: Omit<WriteOperation<S, R>, 'scope'>,
): WriteOperation<S, R> {
  return { scope: 'write', ...operation }
}

export function urgent<S extends v.GenericSchema, R>(
  operation: Omit<UrgentOperation<S, R>, 'scope'>,
): UrgentOperation<S, R> {
  return { scope: 'urgent', ...operation }
}

/**
 * Checks the parameters, records what is about to change, and does it.
 *
 * @throws API_MALFORMED, AUDIT_UNAVAILABLE, and what the operation throws.
 */
export async function performOperation<S extends v.GenericSchema, R>(
  operation: Operation<S, R>,
  deps: ControlDeps,
  given: unknown,
  progress: Progress,
): Promise<R> {
  const checked = v.safeParse(operation.params, given)
  if (!checked.success) throw malformed(checked.issues[0])
  if (operation.scope !== 'write') return operation.run(deps, checked.output, progress)
  const fields = operation.fields(checked.output)
  await deps.note(operation.event, fields)
  try {
    return await operation.run(deps, checked.output, progress)
  } catch (cause) {
    // The record says that the change was asked for; it must also say that it did not happen.
    await deps.note(`${operation.event}_failed`, { ...fields, error: describeCause(cause) })
    throw cause
  }
}

// The path only, and of it only names that are ours: what was given could be a value in the wrong place (threat-model.md K4).
function malformed(issue: v.BaseIssue<unknown>): CloakroomError<'API_MALFORMED'> {
  const isUnknownMember = issue.expected === 'never'
  const names = (issue.path ?? []).map(item => String(item.key))
  const path = (isUnknownMember ? names.slice(0, -1) : names).join('.')
  const what = isUnknownMember
    ? 'a member that is not known'
    : issue.message.startsWith('Invalid ')
      ? `expected ${issue.expected ?? 'something else'}`
      : issue.message
  return new CloakroomError('API_MALFORMED', { what: path === '' ? what : `${path}: ${what}` })
}
