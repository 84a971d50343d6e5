/**
 * What `policy explain` asks: a request as people write it, or one that is in the audit log.
 *
 * Rule of this file: it asks the policy files, not the sidecar; secrets stand for active ones of the request's own target, unless a
 * sidecar runs and can tell their true state.
 */
import { systemClock } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Config } from '../config/schema.ts'
import type { Found } from '../model/decision.ts'
import type { RefusedPlaceholder } from '../model/exchange.ts'
import type { SecretInfo } from '../model/secret.ts'
import { formatTarget } from '../model/target.ts'
import { parseTenantId, type TenantId } from '../model/tenant.ts'
import type { CompiledCaller, CompiledPolicy } from '../policy/compiled.ts'
import { type Explanation, explain, withRecord } from '../policy/explain.ts'
import { parseLocation } from '../policy/location.ts'
import { parseRequestText, parseSwapText, type WrittenSwap } from '../policy/request.ts'
import { reachSidecar } from './admin-client.ts'
import type { CliContext } from './context.ts'
import { type RecordedRequest, recordedRequest } from './explain-record.ts'

export type ExplainOptions = {
  readonly caller?: string
  readonly tenant?: string
  readonly swap?: readonly string[]
}

type Question = RecordedRequest

// A ULID, as in Cloakroom-Request-Id.
const REQUEST_ID = /^[0-9A-HJKMNP-TV-Z]{26}$/

// How a record shows what is no whole placeholder.
const DAMAGED = '…'

/** @throws CLI_USAGE, AUDIT_RECORD_NOT_FOUND when no record has the request id. */
export async function explainRequest(
  context: CliContext,
  policy: CompiledPolicy,
  { args, options }: { readonly args: readonly string[]; readonly options: ExplainOptions },
): Promise<Explanation> {
  const [first = ''] = args
  const question: Question =
    args.length === 1 && REQUEST_ID.test(first)
      ? await recordedRequest(auditFileOf(context.config()), first)
      : {
          caller: options.caller,
          tenant: options.tenant,
          request: args.join(' '),
          swaps: options.swap ?? [],
          recorded: undefined,
        }
  const written = parseRequestText(question.request)
  if (written === undefined) {
    throw new CloakroomError('CLI_USAGE', {
      what: 'write the request as METHOD https://HOST/PATH, or give a request id',
    })
  }
  const target = formatTarget(written.target)
  const { recorded } = question
  const found = await Promise.all([
    ...question.swaps.map(text => foundOf(context, swapOf(text), target)),
    ...(recorded?.refused ?? []).map(one => foundInRecord(context, one, target)),
  ])
  const explanation = explain(policy, {
    ...written,
    caller: callerOf(policy, question.caller).caller,
    tenant: tenantOf(question.tenant),
    found,
    now: systemClock.now(),
  })
  return recorded === undefined ? explanation : withRecord(explanation, recorded)
}

// A record shows placeholders masked: one with its secret is asked for by name, the others are known by no store.
async function foundInRecord(
  context: CliContext,
  { secret, placeholder, in: place }: RefusedPlaceholder,
  target: string,
): Promise<Found> {
  const location = place === undefined ? undefined : parseLocation(place)
  const swap = secret === undefined ? undefined : parseSwapText(`${secret} in ${place ?? ''}`)
  if (swap !== undefined && typeof swap !== 'string')
    return { ...(await foundOf(context, swap, target)), placeholder }
  return {
    placeholder: placeholder === DAMAGED ? '' : placeholder,
    location: typeof location === 'string' ? undefined : location,
    info: undefined,
  }
}

function callerOf(policy: CompiledPolicy, id: string | undefined): CompiledCaller {
  const [only] = policy.callers.values()
  const known =
    id === undefined ? (policy.callers.size === 1 ? only : policy.loopback) : policy.callers.get(id)
  if (known !== undefined) return known
  const names = [...policy.callers.keys()].join(', ')
  throw new CloakroomError('CLI_USAGE', {
    what: `${id === undefined ? 'give --caller' : `there is no caller ${id}`}: the policy has ${names}`,
  })
}

function tenantOf(text: string | undefined): TenantId | undefined {
  if (text === undefined) return undefined
  const tenant = parseTenantId(text)
  if (tenant === undefined)
    throw new CloakroomError('CLI_USAGE', { what: `${JSON.stringify(text)} is not a tenant` })
  return tenant
}

function swapOf(text: string): WrittenSwap {
  const swap = parseSwapText(text)
  if (typeof swap === 'string') throw new CloakroomError('CLI_USAGE', { what: `--swap ${swap}` })
  return swap
}

async function foundOf(
  context: CliContext,
  { tenant, name, location }: WrittenSwap,
  target: string,
): Promise<Found> {
  const supposed: SecretInfo = { ref: { tenant, name, version: 1 }, targets: [target], state: 'active' }
  const secret = `${tenant}/${name}`
  const control = await reachSidecar(context.config().admin.socket)
  if (control === undefined) return { placeholder: secret, location, info: supposed }
  try {
    const { version, targets, state, expiresAt, notBefore } = await control.call('secret.get', { secret })
    const times = {
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...(notBefore === undefined ? {} : { notBefore }),
    }
    return {
      placeholder: secret,
      location,
      info: {
        ref: { tenant, name, version },
        targets,
        state: state === 'expired' ? 'active' : state, // its times say so
        ...times,
      },
    }
  } catch (cause) {
    if (cause instanceof CloakroomError && cause.code === 'SECRET_NOT_FOUND') {
      return { placeholder: secret, location, info: undefined }
    }
    throw cause
  }
}

/** The file that `audit tail` and `verify` read. @throws CLI_USAGE when no sink is a file. */
export function auditFileOf(config: Config): string {
  const path = config.audit.sinks.find(sink => sink.kind === 'file')?.path
  if (path === undefined)
    throw new CloakroomError('CLI_USAGE', { what: 'no audit sink of this configuration is a file' })
  return path
}
