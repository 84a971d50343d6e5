/**
 * `cloakroom caller …`: who may use the proxy. Passwords are made here and shown once.
 */

import type { CallerPassword } from '../../api/caller-operations.ts'
import { CloakroomError } from '../../base/errors.ts'
import type { Config } from '../../config/schema.ts'
import { type AddCommands, argument, collect, type Handler } from '../command.ts'
import type { CliContext } from '../context.ts'
import { counted, formatTable } from '../output.ts'
import { proxyUrl } from '../variables.ts'

export const addCallerCommands: AddCommands = (program, perform) => {
  const caller = program.command('caller').description('who may use the proxy')
  caller
    .command('add <id>')
    .description('add a caller with a password, which is shown once')
    .option('--tenant <tenant>', "whom it may act for; may be repeated; '*' for every tenant", collect)
    .action(perform(add))
  caller.command('list').description('list callers').action(perform(list))
  caller
    .command('rotate <id>')
    .description('make a second password, shown once; with --finish the older ones end')
    .option('--finish', 'keep the newest password only')
    .action(perform(rotate))
  caller.command('revoke <id>').description('end all passwords of a caller').action(perform(revoke))
}

const add: Handler<{ tenant?: readonly string[] }> = async ({ context, args, options }) => {
  const tenants = options.tenant ?? []
  if (tenants.length === 0) {
    throw new CloakroomError('CLI_USAGE', {
      what: "say whom it may act for: --tenant acme, or --tenant '*' for every tenant",
    })
  }
  const isAll = tenants.length === 1 && tenants[0] === '*'
  await context.withControl(async (control, config) => {
    const made = await control.call('caller.add', {
      caller: argument(args, 0),
      tenants: isAll ? ['*'] : [...tenants],
    })
    show(context, config, made)
    context.output.say(`added to ${made.file}; name it in the rules that it may use`)
  })
  return 0
}

const rotate: Handler<{ finish?: boolean }> = async ({ context, args, options }) => {
  const caller = argument(args, 0)
  await context.withControl(async (control, config) => {
    const done = await control.call('caller.rotate', { caller, finish: options.finish === true })
    if ('password' in done) {
      show(context, config, done)
      context.output.say(`both passwords are in force until "cloakroom caller rotate ${caller} --finish"`)
    } else context.output.result(done, `${caller}: ${counted(done.removed, 'older password')} ended`)
  })
  return 0
}

function show({ output }: CliContext, config: Config, { caller, password }: CallerPassword): void {
  const proxy = proxyUrl({ proxy: config.proxy.listen, credentials: { user: caller, password } })
  output.result({ caller, password, proxy }, proxy)
  output.say('this is shown once: keep it now')
}

const list: Handler<object> = async ({ context }) => {
  const found = await context.withControl(control => control.call('caller.list', {}))
  const rows = found.map(one => [
    one.caller,
    one.via === 'loopback'
      ? 'loopback'
      : one.passwords === 0
        ? 'revoked'
        : counted(one.passwords, 'password'),
    one.tenants.join(' '),
    one.rules.join(' '),
  ])
  context.output.result(found, formatTable(['CALLER', 'KNOWN BY', 'TENANTS', 'RULES'], rows))
  return 0
}

const revoke: Handler<object> = async ({ context, args }) => {
  const done = await context.withControl(control =>
    control.call('caller.revoke', { caller: argument(args, 0) }),
  )
  context.output.result(done, `${done.caller} has no password any more`)
  return 0
}
