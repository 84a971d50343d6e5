/**
 * `cloakroom secret …`: values go in, metadata and placeholders come out. There is no command that prints a value.
 */
import type { PutReport, SecretReport } from '../../api/secret-operations.ts'
import { formatTime } from '../../base/clock.ts'
import { CloakroomError } from '../../base/errors.ts'
import { type AddCommands, argument, collect, given, type Handler } from '../command.ts'
import { parseInstant } from '../context.ts'
import { importSecrets } from '../import.ts'
import { formatTable } from '../output.ts'
import { confirm, readValue } from '../prompt.ts'

type PutOptions = {
  readonly target?: readonly string[]
  readonly shape?: string
  readonly expires?: string
  readonly notBefore?: string
  readonly widen?: boolean
  readonly narrow?: boolean
  readonly force?: boolean
  readonly file?: string
}

const VALUE_HELP =
  '\nThe value is read from a prompt, from stdin or from --file; one final newline is not part of it.'

export const addSecretCommands: AddCommands = (program, perform) => {
  const secret = program.command('secret').description('keep secrets; no command prints a value')

  secret
    .command('put <tenant/name>')
    .description('store a secret, or a new version of it, and print its placeholder')
    .option('--target <url>', 'where it may ever be sent, https://HOST; may be repeated', collect)
    .option('--shape <text>', 'what its placeholder begins with, for SDKs that check: sk_live_')
    .option('--expires <when>', 'a duration from now (90d), a date (2027-01-31), or never')
    .option('--not-before <when>', 'not valid before then')
    .option('--widen', 'add targets to those that the secret has')
    .option('--narrow', 'keep the targets given, and no other that the secret had')
    .option('--force', 'allow a value that is short, or holds control characters')
    .option('--file <file>', 'read the value from a file')
    .addHelpText('after', VALUE_HELP)
    .action(perform(put))

  secret
    .command('rotate <tenant/name>')
    .description('store a new version of a secret under the same placeholder and targets')
    .option('--force', 'allow a value that is short, or holds control characters')
    .option('--file <file>', 'read the value from a file')
    .addHelpText('after', VALUE_HELP)
    .action(perform(rotate))

  secret
    .command('import [file]')
    .description('store many: JSON lines {"secret":"acme/stripe","value":"…","targets":["https://…"]}')
    .addHelpText(
      'after',
      '\nOne object a line; "valueBase64" instead of "value" for bytes. Without a file, or with -, reads stdin.',
    )
    .action(perform(importSecrets))

  secret
    .command('get <tenant/name>')
    .description('show what is known of a secret, masked')
    .action(perform(get))
  secret
    .command('list')
    .description('list secrets')
    .option('--tenant <tenant>', 'of one tenant only')
    .action(perform(list))
  secret
    .command('versions <tenant/name>')
    .description('list the versions of a secret')
    .action(perform(versions))
  secret
    .command('placeholder <tenant/name>')
    .description('print the placeholder again; who asks is recorded')
    .action(perform(placeholder))

  for (const [name, text] of STATES) {
    secret
      .command(`${name} <tenant/name>`)
      .description(text)
      .action(perform(changeState(name)))
  }
  secret
    .command('delete <tenant/name>')
    .description('remove a secret with all of its versions; its placeholder becomes unknown')
    .option('--yes', 'do not ask')
    .action(perform(remove))
}

const STATES = [
  ['disable', 'refuse its placeholder until it is enabled again'],
  ['enable', 'end a disable'],
  ['revoke', 'refuse its placeholder for ever, and close what was opened with it'],
] as const

const put: Handler<PutOptions> = async ({ context, args, options }) => {
  const secret = argument(args, 0)
  const expiresAt = options.expires === undefined ? undefined : instantOrNever(options.expires)
  const notBefore = options.notBefore === undefined ? undefined : parseInstant(options.notBefore)
  const { target: targets, shape, widen, narrow, force } = options
  return withValue(secret, options.file, async value => {
    const report = await context.withControl(control =>
      control.call('secret.put', {
        secret,
        value,
        ...given({ targets: targets && [...targets], shape, expiresAt, notBefore, widen, narrow, force }),
      }),
    )
    tellPut(context.output.say, report)
    context.output.result(report, report.placeholder)
  })
}

const rotate: Handler<{ force?: boolean; file?: string }> = async ({ context, args, options }) => {
  const secret = argument(args, 0)
  return withValue(secret, options.file, async value => {
    const report = await context.withControl(control =>
      control.call('secret.rotate', { secret, value, ...given({ force: options.force }) }),
    )
    tellPut(context.output.say, report)
    context.output.result(report, report.placeholder)
  })
}

// The bytes are wiped here; the base64 text that goes to the operation is a string, which JavaScript cannot wipe.
async function withValue(
  secret: string,
  file: string | undefined,
  use: (value: string) => Promise<void>,
): Promise<number> {
  const bytes = await readValue({ file, question: `value of ${secret}` })
  try {
    if (bytes.length === 0) throw new CloakroomError('CLI_USAGE', { what: 'the value is empty' })
    await use(bytes.toString('base64'))
    return 0
  } finally {
    bytes.fill(0)
  }
}

function tellPut(say: (text: string) => void, { secret, version, targets, removed }: PutReport): void {
  say(`${secret} version ${version}, for ${targets.join(' ')}`)
  if (removed.length > 0) say(`removed: ${removed.join(' ')}`)
}

const get: Handler<object> = async ({ context, args }) => {
  const report = await context.withControl(control =>
    control.call('secret.get', { secret: argument(args, 0) }),
  )
  const lines: [string, string][] = [
    ['secret', report.secret],
    ['version', String(report.version)],
    ['state', stateOf(report)],
    ['value', report.masked],
    ['placeholder', report.shape + report.maskedPlaceholder],
    ['targets', report.targets.join(' ')],
    ['created', formatTime(report.createdAt)],
    ['updated', formatTime(report.updatedAt)],
  ]
  context.output.result(report, lines.map(([name, value]) => `${name.padEnd(12)}${value}`).join('\n'))
  return 0
}

const PAGE = 500

const list: Handler<{ tenant?: string }> = async ({ context, options }) => {
  const found = await context.withControl(async control => {
    const all: SecretReport[] = []
    for (;;) {
      const after = all.at(-1)?.secret
      const page = await control.call('secret.list', {
        limit: PAGE,
        ...given({ tenant: options.tenant, after }),
      })
      all.push(...page)
      if (page.length < PAGE) return all
    }
  })
  const rows = found.map(one => [one.secret, String(one.version), stateOf(one), one.targets.join(' ')])
  context.output.result(found, formatTable(['SECRET', 'VERSION', 'STATE', 'TARGETS'], rows))
  return 0
}

function stateOf({ state, expiresAt, notBefore }: SecretReport): string {
  const expiry =
    expiresAt === undefined ? '' : `, ${state === 'expired' ? 'at' : 'until'} ${formatTime(expiresAt)}`
  const start = notBefore === undefined ? '' : `, from ${formatTime(notBefore)}`
  return `${state}${start}${expiry}`
}

const versions: Handler<object> = async ({ context, args }) => {
  const found = await context.withControl(control =>
    control.call('secret.versions', { secret: argument(args, 0) }),
  )
  const rows = found.map(one => [
    String(one.version),
    one.stage,
    formatTime(one.createdAt),
    one.expiresAt === undefined ? 'never' : formatTime(one.expiresAt),
  ])
  context.output.result(found, formatTable(['VERSION', 'STAGE', 'CREATED', 'EXPIRES'], rows))
  return 0
}

const placeholder: Handler<object> = async ({ context, args }) => {
  const found = await context.withControl(control =>
    control.call('secret.placeholder', { secret: argument(args, 0) }),
  )
  context.output.result(found, found.placeholder)
  return 0
}

function changeState(name: 'disable' | 'enable' | 'revoke'): Handler<object> {
  return async ({ context, args }) => {
    const done = await context.withControl(control =>
      control.call(`secret.${name}`, { secret: argument(args, 0) }),
    )
    context.output.result(done, `${done.secret} is ${done.state}`)
    return 0
  }
}

const remove: Handler<{ yes?: boolean }> = async ({ context, args, options }) => {
  const secret = argument(args, 0)
  const answer = options.yes === true ? true : await confirm(`Delete ${secret} with all of its versions?`)
  if (answer === undefined)
    throw new CloakroomError('CLI_USAGE', { what: 'nobody can be asked here: give --yes' })
  if (!answer) {
    context.output.say('nothing was deleted')
    return 1
  }
  const done = await context.withControl(control => control.call('secret.delete', { secret }))
  context.output.result(done, `${done.secret} is deleted`)
  return 0
}

function instantOrNever(text: string): number | null {
  return text === 'never' ? null : parseInstant(text)
}
