/**
 * `cloakroom status`, `reload` and `halt`: the running sidecar.
 */

import type { Control, OperationResult } from '../../api/operations.ts'
import { formatTime, systemClock } from '../../base/clock.ts'
import { formatDuration } from '../../base/duration.ts'
import { CloakroomError } from '../../base/errors.ts'
import type { AddCommands, Handler, Invocation } from '../command.ts'
import { given } from '../command.ts'
import { openSidecar } from '../control.ts'
import { counted, type Output } from '../output.ts'

export const addStatusCommand: AddCommands = (program, perform) => {
  program
    .command('status')
    .description('show the running sidecar; exit 3 when none runs')
    .action(perform(status))
}

export const addReloadCommand: AddCommands = (program, perform) => {
  program.command('reload').description('read the policy files again, now').action(perform(reload))
}

export const addHaltCommand: AddCommands = (program, perform) => {
  program
    .command('halt')
    .description(
      'refuse all traffic at once, or that of a tenant, secret or target, until lifted or the sidecar is restarted',
    )
    .option('--tenant <tenant>', 'only this tenant')
    .option('--secret <tenant/name>', 'only requests that use this secret')
    .option('--target <url>', 'only requests to this target')
    .option('--lift', 'end such a halt')
    .option('--all', 'with --lift: end every halt, whatever its scope')
    .action(perform(halt))
}

async function withSidecar<T, O>(
  { context }: Invocation<O>,
  use: (control: Control) => Promise<T>,
): Promise<T> {
  const control = await openSidecar(context.config())
  try {
    return await use(control)
  } finally {
    await control.close()
  }
}

const status: Handler<object> = async invocation => {
  const { output } = invocation.context
  const report = await withSidecar(invocation, control => control.call('status', {}))
  const isWell = Object.values(report.checks).every(check => check.ok)
  output.result(report, formatStatus(report, output))
  return isWell ? 0 : 1
}

type Status = OperationResult<'status'>

function formatStatus(report: Status, output: Output): string {
  const { addresses, policy, counts } = report
  const up = formatDuration(Math.max(0, Math.floor((systemClock.now() - report.startedAt) / 1000)) * 1000)
  const lines: [string, string][] = [
    ['sidecar', `${report.instance}, pid ${report.pid}, version ${report.version}, up ${up}`],
    ['proxy', addresses.proxy],
    ...(addresses.relay === undefined ? [] : [['relay', addresses.relay] as [string, string]]),
    ['ops', addresses.ops],
    [
      'policy',
      policy === undefined
        ? 'none'
        : `${counted(policy.rules, 'rule')}, ${counted(policy.callers, 'caller')}, ${policy.hash.slice(0, 15)}…, since ${formatTime(policy.loadedAt)}`,
    ],
    ...(report.policyFault === undefined ? [] : [['policy fault', report.policyFault] as [string, string]]),
    ['CA', `until ${formatTime(report.caExpiresAt)}`],
    ['halted', report.halted.length === 0 ? 'nothing' : report.halted.join(', ')],
    [
      'now',
      Object.entries(counts)
        .map(([name, count]) => `${name} ${count}`)
        .join(', '),
    ],
    ...Object.entries(report.checks).map(([name, check]): [string, string] => [
      `check ${name}`,
      `${output.mark(check.ok ? 'ok' : 'failed')}${check.detail === undefined ? '' : `: ${check.detail}`}`,
    ]),
  ]
  return lines.map(([name, text]) => `${name.padEnd(16)}${text}`).join('\n')
}

const reload: Handler<object> = async invocation => {
  const summary = await withSidecar(invocation, control => control.call('policy.reload', {}))
  const text = `policy in force: ${counted(summary.rules, 'rule')}, ${counted(summary.callers, 'caller')}, ${summary.hash}`
  invocation.context.output.result(summary, text)
  return 0
}

type HaltOptions = {
  readonly tenant?: string
  readonly secret?: string
  readonly target?: string
  readonly lift?: boolean
  readonly all?: boolean
}

const halt: Handler<HaltOptions> = async invocation => {
  const { context, options } = invocation
  const scope = given({ tenant: options.tenant, secret: options.secret, target: options.target })
  if (options.lift === true) return liftHalt(invocation)
  if (options.all === true) {
    throw new CloakroomError('CLI_USAGE', {
      what: '--all goes with --lift; a halt without a scope is of everything',
    })
  }
  const done = await withSidecar(invocation, control => control.call('halt', scope))
  if (!done.recorded)
    context.output.warn('the halt is in force but could not be recorded: look at the audit sinks')
  if (done.known === false) context.output.warn(`no such ${done.scope.split(' ')[0]}; halted all the same`)
  context.output.result(done, `halted: ${done.scope}`)
  return 0
}

async function liftHalt(invocation: Invocation<HaltOptions>): Promise<number> {
  const { context, options } = invocation
  const scope = given({
    tenant: options.tenant,
    secret: options.secret,
    target: options.target,
    all: options.all === true ? (true as const) : undefined,
  })
  const done = await withSidecar(invocation, control => control.call('halt.lift', scope))
  const nothing = options.all === true ? 'nothing was halted' : `there was no halt of ${done.scope}`
  context.output.result(done, done.lifted ? `lifted: ${done.scope}` : nothing)
  if (done.inForce.length > 0)
    context.output.say(`still halted: ${done.inForce.join(', ')}; name one, or "cloakroom halt --lift --all"`)
  return done.lifted ? 0 : 1
}
