/**
 * Operations on secrets. They take values in and give metadata and placeholders out (threat-model.md M2).
 */
import * as v from 'valibot'
import { formatSecretRef, type SecretRef, type SecretState } from '../model/secret.ts'
import type {
  PutRequest,
  PutResult,
  SecretDescription,
  SecretSummary,
  SecretVersion,
} from '../secrets/store.ts'
import type { ControlDeps } from './control.ts'
import { type Progress, read, write } from './operation.ts'
import { instant, secretRef, target, tenant, value } from './params.ts'

/** A secret as people see it. Times are milliseconds since 1970. */
export type SecretReport = {
  /** `tenant/name`. */
  readonly secret: string
  readonly version: number
  /** `expired`: active, and its time is over. */
  readonly state: SecretState | 'expired'
  readonly targets: readonly string[]
  readonly createdAt: number
  readonly updatedAt: number
  readonly expiresAt?: number
  readonly notBefore?: number
}

export type PutReport = {
  readonly secret: string
  readonly version: number
  readonly placeholder: string
  readonly targets: readonly string[]
  /** Targets that the version before had. */
  readonly removed: readonly string[]
  readonly expiresAt?: number
}

const MOST_LISTED = 1000

const newSecret = v.strictObject({
  secret: secretRef,
  value,
  targets: v.optional(
    v.pipe(v.array(target), v.minLength(1, 'names no target'), v.maxLength(64, 'names more than 64 targets')),
  ),
  shape: v.optional(v.string()),
  /** null: never. */
  expiresAt: v.optional(v.nullable(instant)),
  notBefore: v.optional(instant),
  /** Adds `targets` to those that the secret has; without it a target that is new is refused. */
  widen: v.optional(v.boolean()),
  /** Keeps `targets` alone; without it a target that is missing is refused. */
  narrow: v.optional(v.boolean()),
  force: v.optional(v.boolean()),
})
type NewSecret = v.InferOutput<typeof newSecret>

const oneSecret = v.strictObject({ secret: secretRef })

/** The table of operations on secrets; operations.ts puts it together with the others. */
export const SECRET_OPERATIONS = {
  'secret.put': write({
    params: newSecret,
    event: 'secret_put',
    fields: put => ({
      secret: formatSecretRef(put.secret),
      targets: put.targets,
      widen: put.widen,
      narrow: put.narrow,
      force: put.force,
    }),
    run: putOne,
  }),
  'secret.rotate': write({
    params: v.strictObject({ secret: secretRef, value, force: v.optional(v.boolean()) }),
    event: 'secret_rotated',
    fields: ({ secret, force }) => ({ secret: formatSecretRef(secret), force }),
    run: async (deps, put) => {
      await deps.secrets.describe(put.secret) // a slip in the name must not make a new secret
      return putOne(deps, put)
    },
  }),
  'secret.import': write({
    params: v.strictObject({
      secrets: v.pipe(v.array(newSecret), v.maxLength(10_000, 'holds more than 10000 secrets')),
    }),
    event: 'secret_imported',
    fields: ({ secrets }) => ({
      count: secrets.length,
      tenants: [...new Set(secrets.map(put => put.secret.tenant))].sort().slice(0, 16),
    }),
    run: (deps, { secrets }, progress) => importMany(deps, secrets, progress),
  }),
  'secret.get': read({
    params: oneSecret,
    run: async (deps, { secret }) => describe(await deps.secrets.describe(secret), deps.clock.now()),
  }),
  'secret.list': read({
    params: v.strictObject({
      tenant: v.optional(tenant),
      after: v.optional(v.string()),
      limit: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MOST_LISTED)), MOST_LISTED),
    }),
    run: async (deps, query) =>
      (await deps.secrets.list(withoutAbsent(query))).map(found => summarize(found, deps.clock.now())),
  }),
  'secret.versions': read({
    params: oneSecret,
    run: (deps, { secret }): Promise<readonly SecretVersion[]> => deps.secrets.versions(secret),
  }),
  // A placeholder is a capability: who asked for it again is recorded.
  'secret.placeholder': write({
    params: oneSecret,
    event: 'secret_placeholder_shown',
    fields: ({ secret }) => ({ secret: formatSecretRef(secret) }),
    run: async (deps, { secret }) => ({
      secret: formatSecretRef(secret),
      placeholder: await deps.secrets.placeholder(secret),
    }),
  }),
  'secret.disable': changeState('disabled', 'secret_disabled'),
  'secret.enable': changeState('active', 'secret_enabled'),
  'secret.revoke': changeState('revoked', 'secret_revoked'),
  'secret.delete': write({
    params: oneSecret,
    event: 'secret_deleted',
    fields: ({ secret }) => ({ secret: formatSecretRef(secret) }),
    run: async (deps, { secret }) => {
      await deps.secrets.remove(secret)
      return { secret: formatSecretRef(secret) }
    },
  }),
} as const

function changeState(state: SecretState, event: string) {
  return write({
    params: oneSecret,
    event,
    fields: ({ secret }) => ({ secret: formatSecretRef(secret) }),
    run: async (deps, { secret }) => {
      await deps.secrets.setState(secret, state)
      return { secret: formatSecretRef(secret), state }
    },
  })
}

type Put = { readonly secret: SecretRef; readonly value: Buffer }

async function putOne(deps: ControlDeps, put: Put): Promise<PutReport> {
  try {
    return putReport(await deps.secrets.put(toRequest(put)))
  } finally {
    put.value.fill(0)
  }
}

async function importMany(
  deps: ControlDeps,
  secrets: readonly NewSecret[],
  progress: Progress,
): Promise<readonly PutReport[]> {
  const results: PutResult[] = []
  try {
    await deps.secrets.import(secrets.map(toRequest), step => {
      results.push(...step.results)
      progress(step.done, secrets.length)
    })
  } finally {
    for (const put of secrets) put.value.fill(0)
  }
  return results.map(putReport)
}

function toRequest({ secret, ...given }: Put): PutRequest {
  return { tenant: secret.tenant, name: secret.name, ...withoutAbsent(given) }
}

// exactOptionalPropertyTypes: what was not given is left out, so that the store keeps what it has.
function withoutAbsent<T extends object>(given: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const present = Object.entries(given).filter(([, option]) => option !== undefined)
  return Object.fromEntries(present) as { [K in keyof T]: Exclude<T[K], undefined> }
}

function putReport({ ref, placeholder, targets, removed, expiresAt }: PutResult): PutReport {
  const report = { secret: formatSecretRef(ref), version: ref.version, placeholder, targets, removed }
  return expiresAt === undefined ? report : { ...report, expiresAt }
}

function summarize(found: SecretSummary, now: number): SecretReport {
  const { ref, targets, createdAt, updatedAt, expiresAt, notBefore } = found
  const isOver = found.state === 'active' && expiresAt !== undefined && expiresAt <= now
  const state: SecretReport['state'] = isOver ? 'expired' : found.state
  const report = { secret: formatSecretRef(ref), version: ref.version, state, targets, createdAt, updatedAt }
  return {
    ...report,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(notBefore === undefined ? {} : { notBefore }),
  }
}

function describe(
  found: SecretDescription,
  now: number,
): SecretReport & {
  readonly shape: string
  readonly masked: string
  readonly maskedPlaceholder: string
} {
  const { shape, masked, maskedPlaceholder } = found
  return { ...summarize(found, now), shape, masked, maskedPlaceholder }
}
