/**
 * `cloakroom env`: the variables that make an app use the proxy.
 */
import { Option } from 'commander'
import { CloakroomError } from '../../base/errors.ts'
import { type AppOptions, PASSWORD_BLANK, runningProxy, variablesFor } from '../app-environment.ts'
import type { AddCommands, Handler } from '../command.ts'
import { formatVariables, VARIABLE_FORMATS, type VariableFormat } from '../variables.ts'

const CONTAINER_FORMATS: ReadonlySet<VariableFormat> = new Set(['docker', 'k8s'])
const CONTAINER_NOTE =
  'note: mount the files that these variables name at the same paths in the app; 127.0.0.1 is the sidecar only in its own pod or network'

export const addEnvCommand: AddCommands = (program, perform) => {
  program
    .command('env')
    .description('print the variables that make an app use the proxy and trust its CA')
    .addOption(new Option('--format <format>', 'how to write them').choices(VARIABLE_FORMATS).default('sh'))
    .option('--caller <id>', 'for a caller with a password')
    .option('--tenant <tenant>', 'act for this tenant')
    .option(
      '--password-file <file>',
      "the caller's password, or the URL that `caller add` printed; - for stdin",
    )
    .option('--no-preload', 'leave NODE_OPTIONS alone')
    .addHelpText('after', '\nIn a shell: eval "$(cloakroom env)"')
    .action(perform(printVariables))
}

const printVariables: Handler<AppOptions & { readonly format: VariableFormat }> = async ({
  context,
  options,
}) => {
  const config = context.config()
  const proxy = (await runningProxy(config)) ?? config.proxy.listen
  if (proxy.port === 0) {
    const what = 'the sidecar: proxy.listen has port 0, so only a running one knows its address'
    throw new CloakroomError('CLI_UNREACHABLE', { what })
  }
  const variables = await variablesFor(context, config, { options, proxy })
  if (variables.some(({ value }) => value.includes(`:${PASSWORD_BLANK}@`))) {
    context.output.warn('put the password of the caller in, or give --caller and --password-file')
  }
  if (!context.output.isJson && CONTAINER_FORMATS.has(options.format)) context.output.say(CONTAINER_NOTE)
  context.output.raw(formatVariables(variables, context.output.isJson ? 'json' : options.format))
  return 0
}
