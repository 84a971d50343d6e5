/**
 * `cloakroom ca …`: the certificate that apps trust.
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Option } from 'commander'
import { CloakroomError } from '../../base/errors.ts'
import { trustFilesOf, writeTrustFiles } from '../../config/trust-files.ts'
import { finishRotation, prepareRotation, readCertificates } from '../ca.ts'
import type { AddCommands, Handler } from '../command.ts'
import { formatTable } from '../output.ts'

export const addCaCommands: AddCommands = (program, perform) => {
  const ca = program.command('ca').description('the certificate authority that apps trust')
  ca.command('show').description('show the CA certificate, and those of a rotation').action(perform(show))
  ca.command('export')
    .description('print what apps need to trust')
    .addOption(
      new Option('--format <format>', 'pem: our CA; bundle: with the public roots; pkcs12: for Java')
        .choices(['pem', 'bundle', 'pkcs12'])
        .default('pem'),
    )
    .option('--out <file>', 'write to a file')
    .action(perform(exportTrust))
  ca.command('install')
    .description("add the CA to the system's trust store; --remove takes it out (needs root)")
    .option('--remove', 'take it out again')
    .option('--dry-run', 'only say what would be done')
    .action(perform(install))
  ca.command('rotate')
    .description('make a new CA beside the one in use; with --finish it takes over')
    .option('--finish', 'the apps have been restarted and trust the new CA: put it into use')
    .action(perform(rotate))
}

const show: Handler<object> = async ({ context }) => {
  const found = readCertificates(context.config())
  const rows = found.map(({ role, subject, notAfter, fingerprint }) => [role, subject, notAfter, fingerprint])
  context.output.result(found, formatTable(['ROLE', 'SUBJECT', 'UNTIL', 'SHA-256'], rows))
  return 0
}

type ExportOptions = { readonly format: 'pem' | 'bundle' | 'pkcs12'; readonly out?: string }

const exportTrust: Handler<ExportOptions> = async ({ context, options }) => {
  const config = context.config()
  await writeTrustFiles(config)
  const files = trustFilesOf(config)
  const file = { pem: files.ca, bundle: files.bundle, pkcs12: files.trustStore }[options.format]
  const content = readFileSync(file)
  if (options.out !== undefined) {
    writeFileSync(options.out, content, { mode: 0o644 })
    context.output.result({ file: options.out }, `wrote ${options.out}`)
  } else if (options.format === 'pkcs12') {
    throw new CloakroomError('CLI_USAGE', { what: 'a trust store is not text: give --out FILE' })
  } else context.output.raw(content.toString('utf8'))
  return 0
}

type SystemStore = { readonly directory: string; readonly update: readonly [string, ...string[]] }

// Where a distribution looks for local CAs, and the program that takes them in.
const SYSTEM_STORES: readonly SystemStore[] = [
  { directory: '/usr/local/share/ca-certificates', update: ['update-ca-certificates'] }, // Debian, Ubuntu, Alpine
  { directory: '/etc/pki/ca-trust/source/anchors', update: ['update-ca-trust', 'extract'] }, // Fedora, RHEL
  { directory: '/etc/ca-certificates/trust-source/anchors', update: ['trust', 'extract-compat'] }, // Arch
]
const MACOS_KEYCHAIN = '/Library/Keychains/System.keychain'

const install: Handler<{ remove?: boolean; dryRun?: boolean }> = async ({ context, options }) => {
  const { ca } = trustFilesOf(context.config())
  const steps = stepsFor(ca, options.remove === true)
  const text = steps.map(({ says }) => says).join('\n')
  if (options.dryRun !== true) for (const { does } of steps) attempt(does)
  context.output.result({ steps: steps.map(({ says }) => says), done: options.dryRun !== true }, text)
  if (options.dryRun !== true)
    context.output.say(
      'Java, Node.js, Python requests and Firefox keep stores of their own: see "cloakroom env"',
    )
  return 0
}

type Step = { readonly says: string; does(): void }

function stepsFor(certificate: string, isRemoval: boolean): readonly Step[] {
  if (process.platform === 'darwin') {
    const args = isRemoval
      ? ['remove-trusted-cert', '-d', certificate]
      : ['add-trusted-cert', '-d', '-r', 'trustRoot', '-k', MACOS_KEYCHAIN, certificate]
    return [command('security', args)]
  }
  const store = SYSTEM_STORES.find(({ directory }) => existsSync(directory))
  if (store === undefined) {
    throw new CloakroomError('CLI_FAILED', {
      what: 'this system has no trust store that is known here; use "cloakroom env"',
    })
  }
  const installed = join(store.directory, 'cloakroom.crt')
  const [program, ...args] = store.update
  const file: Step = isRemoval
    ? command('rm', ['-f', installed])
    : { says: `cp ${certificate} ${installed}`, does: () => copyFileSync(certificate, installed) }
  return [file, command(program, args)]
}

function command(program: string, args: readonly string[]): Step {
  return {
    says: [program, ...args].join(' '),
    does: () => void execFileSync(program, args, { stdio: ['ignore', 'ignore', 'inherit'] }),
  }
}

function attempt(does: () => void): void {
  try {
    does()
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'failed'
    throw new CloakroomError(
      'CLI_FAILED',
      { what: `the trust store could not be changed (${code}); it needs root` },
      { cause },
    )
  }
}

const rotate: Handler<{ finish?: boolean }> = async ({ context, options }) => {
  await context.withControl(async (control, config) => {
    if (options.finish === true) {
      const report = await finishRotation(config, control)
      context.output.result(report, `in use from the next start on: ${report.fingerprint}`)
      if (control.via === 'socket') context.output.say('restart the sidecar now')
    } else {
      const report = await prepareRotation(config, control)
      context.output.result(report, `prepared: ${report.fingerprint}`)
      context.output.say(
        'apps trust it from their next start on; when all have been restarted: "cloakroom ca rotate --finish"',
      )
    }
  })
  return 0
}
