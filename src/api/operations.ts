/**
 * Every operation of the control path, in one table: the admin socket serves these names, and the command line calls them.
 *
 * To add one, write it in the file it belongs to; its scope, parameters and audit event come with it.
 */
import type * as v from 'valibot'
import { CALLER_OPERATIONS } from './caller-operations.ts'
import type { ControlDeps } from './control.ts'
import { type Operation, type Progress, performOperation } from './operation.ts'
import { SECRET_OPERATIONS } from './secret-operations.ts'
import { SIDECAR_OPERATIONS } from './sidecar-operations.ts'

export const OPERATIONS = { ...SIDECAR_OPERATIONS, ...SECRET_OPERATIONS, ...CALLER_OPERATIONS } as const

export type OperationName = keyof typeof OPERATIONS
export type OperationParams<N extends OperationName> = v.InferInput<(typeof OPERATIONS)[N]['params']>
export type OperationResult<N extends OperationName> = Awaited<ReturnType<(typeof OPERATIONS)[N]['run']>>

/** A way to perform operations: through the admin socket of a running sidecar, or in this process under the state lock. */
export interface Control {
  readonly via: 'socket' | 'lock'
  /** @throws what the operation throws; CLI_UNREACHABLE when the sidecar went away. */
  call<N extends OperationName>(
    name: N,
    params: OperationParams<N>,
    progress?: Progress,
  ): Promise<OperationResult<N>>
  close(): Promise<void>
}

export function isOperationName(text: string): text is OperationName & string {
  return Object.hasOwn(OPERATIONS, text)
}

/**
 * Performs one operation by name; `params` may come from anywhere and are checked.
 *
 * @throws API_MALFORMED, AUDIT_UNAVAILABLE, and what the operation throws.
 */
export function perform<N extends OperationName>(
  deps: ControlDeps,
  name: N,
  params: unknown,
  progress: Progress = () => undefined,
): Promise<OperationResult<N>> {
  const operation = OPERATIONS[name] as unknown as Operation<v.GenericSchema, OperationResult<N>>
  return performOperation(operation, deps, params, progress)
}
