/**
 * `cloakroom doctor`.
 */
import type { AddCommands } from '../command.ts'

export const addDoctorCommand: AddCommands = (program, perform) => {
  program
    .command('doctor')
    .description('tell what is wrong here and how to mend it; exit 1 when a check fails')
    .action(
      perform(async ({ context }) => {
        const { examine, formatFinding } = await import('../doctor.ts')
        const { CHECKS } = await import('../doctor-checks.ts')
        const { output } = context
        const tell = (finding: Parameters<typeof formatFinding>[0]) => {
          if (!output.isJson) output.result(finding, formatFinding(finding, output))
        }
        const findings = await examine({ context }, CHECKS, tell)
        const isWell = findings.every(({ result }) => result !== 'failed')
        if (output.isJson) output.result({ ok: isWell, findings }, '')
        return isWell ? 0 : 1
      }),
    )
}
