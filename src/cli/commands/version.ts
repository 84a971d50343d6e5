/**
 * `cloakroom version`.
 */
import { VERSION } from '../../app/version.ts'
import type { AddCommands } from '../command.ts'

export const addVersionCommand: AddCommands = (program, perform) => {
  program
    .command('version')
    .description('show the version of cloakroom and of Node.js')
    .action(
      perform(async ({ context: { output } }) => {
        const node = process.versions.node
        output.result(
          { version: VERSION, node },
          `cloakroom ${VERSION} (Node.js ${node}, ${process.platform} ${process.arch})`,
        )
        return 0
      }),
    )
}
