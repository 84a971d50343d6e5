/**
 * `cloakroom init`.
 */
import type { AddCommands } from '../command.ts'
import { COMMAND } from '../package.ts'

export const addInitCommand: AddCommands = (program, perform) => {
  program
    .command('init [directory]')
    .description('make configuration, policy, keys, store and CA (default: .cloakroom); never overwrites')
    .action(
      perform(async ({ context: { output }, args }) => {
        const { initialize, nextSteps } = await import('../init.ts')
        const report = await initialize(args[0] ?? '.cloakroom')
        for (const kept of report.kept) output.say(`kept ${kept}`)
        output.result(report, nextSteps(report, COMMAND))
        return 0
      }),
    )
}
