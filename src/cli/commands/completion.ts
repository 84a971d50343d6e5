/**
 * `cloakroom completion bash|zsh|fish`.
 */
import type { Command } from 'commander'
import { CloakroomError } from '../../base/errors.ts'
import { type AddCommands, argument } from '../command.ts'
import { COMPLETIONS, type CompletionWords, isShell } from '../completion.ts'

export const addCompletionCommand: AddCommands = (program, perform) => {
  program
    .command('completion <shell>')
    .description('print a completion script for bash, zsh or fish')
    .addHelpText(
      'after',
      '\nbash: source <(cloakroom completion bash)\nzsh: source <(cloakroom completion zsh)\nfish: cloakroom completion fish | source',
    )
    .action(
      perform(async ({ context, args }) => {
        const shell = argument(args, 0)
        if (!isShell(shell))
          throw new CloakroomError('CLI_USAGE', { what: 'the shell must be bash, zsh or fish' })
        context.output.raw(COMPLETIONS[shell](wordsOf(program)))
        return 0
      }),
    )
}

/** Every command with what may follow it, read out of the command line itself. */
function wordsOf(program: Command): CompletionWords[] {
  const globals = optionsOf(program)
  const walk = (command: Command, path: readonly string[]): CompletionWords[] => {
    const subcommands = command.commands.map(sub => ({ word: sub.name(), text: sub.description() }))
    const own = path.length === 0 ? [] : optionsOf(command)
    const here = { path, words: subcommands, options: [...own, ...globals] }
    return [here, ...command.commands.flatMap(sub => walk(sub, [...path, sub.name()]))]
  }
  return walk(program, [])
}

function optionsOf(command: Command): { word: string; text: string }[] {
  return command.options.flatMap(option =>
    option.long ? [{ word: option.long, text: option.description }] : [],
  )
}
