/**
 * `cloakroom version`.
 */
import { VERSION } from '../../app/version.ts'
import type { AddCommands } from '../command.ts'

/** The version as people read it; `cloakroom --version` prints it too. */
export function versionText(): string {
  return `cloakroom ${VERSION} (Node.js ${process.versions.node}, ${process.platform} ${process.arch})`
}

export const addVersionCommand: AddCommands = (program, perform) => {
  program
    .command('version')
    .description('show the version of cloakroom and of Node.js')
    .action(
      perform(async ({ context: { output } }) => {
        output.result({ version: VERSION, node: process.versions.node }, versionText())
        return 0
      }),
    )
}
