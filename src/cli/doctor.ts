/**
 * `cloakroom doctor`: what is wrong here, and how to mend it.
 *
 * Rules of this file: checks run in order and each by itself, so that one failure does not hide the next; a check changes nothing.
 * The checks are in doctor-checks.ts.
 */
import type { Control } from '../api/operations.ts'
import { faultsOf } from '../api/problem.ts'
import { CloakroomError } from '../base/errors.ts'
import { describeCause } from '../base/log.ts'
import type { Config } from '../config/schema.ts'
import type { CliContext } from './context.ts'
import { describeFileError } from './file-error.ts'
import type { Mark, Output } from './output.ts'

export type Finding = { readonly result: Mark; readonly detail: string; readonly hint?: string }
export type NamedFinding = Finding & { readonly check: string }

/** What checks work on; `config` is undefined where it cannot be loaded, `control` where no sidecar runs. */
export type Patient = {
  readonly context: CliContext
  config?: Config
  control?: Control
}

export type Check = {
  readonly name: string
  /** Needs a configuration that loads, or also a running sidecar; it is skipped without. */
  readonly needs: 'nothing' | 'config' | 'sidecar'
  run(patient: Patient): Promise<Finding>
}

export const ok = (detail: string): Finding => ({ result: 'ok', detail })
export const warning = (detail: string, hint: string): Finding => ({ result: 'warning', detail, hint })
export const failed = (detail: string, hint: string): Finding => ({ result: 'failed', detail, hint })
export const skipped = (detail: string): Finding => ({ result: 'skipped', detail })

/** Runs the checks, and tells each finding as it comes. */
export async function examine(
  patient: Patient,
  checks: readonly Check[],
  tell: (finding: NamedFinding) => void,
): Promise<readonly NamedFinding[]> {
  const findings: NamedFinding[] = []
  for (const check of checks) {
    const finding = { check: check.name, ...(await examineOne(patient, check)) }
    findings.push(finding)
    tell(finding)
  }
  return findings
}

async function examineOne(patient: Patient, check: Check): Promise<Finding> {
  if (check.needs !== 'nothing' && patient.config === undefined)
    return skipped('needs a configuration that loads')
  if (check.needs === 'sidecar' && patient.control === undefined) return skipped('no sidecar runs')
  try {
    return await check.run(patient)
  } catch (cause) {
    const file = describeFileError(cause)
    if (file !== undefined) return failed(file, 'is the path right, and may this user use it?')
    if (!(cause instanceof CloakroomError))
      return failed(`unexpected: ${describeCause(cause)}`, 'report this with the version')
    const faults = faultsOf(cause)
    return failed([`${cause.code}: ${cause.message}`, ...faults.slice(1)].join('\n'), cause.hint)
  }
}

/** Writes a finding as a line, with what to do about it on the next. */
export function formatFinding({ check, result, detail, hint }: NamedFinding, output: Output): string {
  const lines = detail.split('\n').join(`\n${' '.repeat(26)}`)
  const text = `${output.mark(result)}${' '.repeat(Math.max(1, 10 - result.length))}${check.padEnd(16)}${lines}`
  return hint === undefined ? text : `${text}\n${' '.repeat(26)}-> ${hint}`
}
