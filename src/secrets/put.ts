/**
 * Plans what it takes to put one secret: a new one, or a new version of one that is there.
 *
 * Rule of this file: it reads and seals, and writes nothing: the statements are run by who asked, several puts in one transaction
 * where there are many.
 */
import type { Clock } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { randomBytes } from '../base/random.ts'
import { sealVersion } from '../keys/envelope.ts'
import type { Keyring, TenantKey } from '../keys/keyring.ts'
import type { PlaceholderIndex } from '../keys/store-keys.ts'
import { formatSecretRef } from '../model/secret.ts'
import type { Statement } from '../storage/database.ts'
import {
  deleteVersion,
  insertSecret,
  type SecretRow,
  type SecretTable,
  updateSecret,
  type VersionRow,
  writeVersion,
} from '../storage/sealed-secrets.ts'
import { mintPlaceholder } from '../swap/placeholder.ts'
import { acceptTargets, refuse } from './acceptance.ts'
import { bindingOf, type GenuineSecret, type Notary } from './genuine.ts'
import type { KeySource } from './key-source.ts'
import type { PutRequest, PutResult, Stage } from './store.ts'

export type PutDeps = {
  readonly secrets: SecretTable
  readonly keyring: Keyring
  readonly notary: Notary
  readonly index: PlaceholderIndex
  readonly clock: Clock
}

export type PlannedPut = {
  readonly statements: readonly Statement[]
  readonly result: PutResult
  readonly secret: SecretRow
}

// As many as KV v2 of Vault keeps. Older ones are of no use to an exchange and only widen what a stolen store holds.
const MAX_VERSIONS = 10

/** @param request - checked by acceptance.ts. @throws SECRET_INVALID, SECRET_TARGETS_*, SECRET_TAMPERED */
export async function planPut(
  deps: PutDeps,
  request: PutRequest,
  change: { readonly epoch: number; readonly keys: KeySource },
): Promise<PlannedPut> {
  const stored = await deps.secrets.current(request.tenant, request.name)
  const key = await change.keys.of(request.tenant)
  const step = { key, epoch: change.epoch, now: deps.clock.now() }
  if (stored === undefined) return planFirst(deps, request, step)
  return planNext(deps, request, { ...step, existing: await deps.notary.check(stored) })
}

type Step = { readonly key: TenantKey; readonly epoch: number; readonly now: number }

function planFirst(deps: PutDeps, request: PutRequest, step: Step): PlannedPut {
  const targets = acceptTargets(request.targets ?? [])
  if (targets.length === 0) refuse('a new secret needs the targets that it may be sent to')
  const placeholder = mintPlaceholder()
  const { indexKey, index } = deps.index.current(placeholder)
  const secret = deps.notary.certifySecret(
    {
      ...UNUSED_COLUMNS,
      id: newSecretId(step.now),
      tenant: request.tenant,
      name: request.name,
      indexKey,
      placeholderIndex: index,
      state: 'active',
      currentVersion: 1,
      keyVersion: step.key.version,
      createdAt: step.now,
      updatedAt: step.now,
      epoch: step.epoch,
    },
    step.key,
  )
  const content = { placeholder, shape: request.shape ?? '' }
  const version = sealNew(deps, request, {
    ...step,
    secret,
    targets,
    content,
    expiresAt: request.expiresAt ?? undefined,
  })
  return {
    secret,
    statements: [insertSecret(secret), writeVersion(version)],
    result: resultOf(request, version, { content, removed: [] }),
  }
}

type NextStep = Step & { readonly existing: GenuineSecret }

async function planNext(deps: PutDeps, request: PutRequest, step: NextStep): Promise<PlannedPut> {
  const { existing } = step
  if (existing.info.state === 'revoked') {
    refuse('it is revoked; remove it and put it anew, under a new placeholder')
  }
  const targets = nextTargets(request, existing)
  const expiresAt = nextExpiry(request, existing, step.now)
  const content = shownContent(deps, existing)
  if (request.shape !== undefined && request.shape !== content.shape) {
    refuse('its shape is fixed: apps hold it together with the placeholder')
  }
  const older = await deps.secrets.versions(existing.secret.id)
  for (const version of older) await deps.notary.checkVersion(existing.secret, version)
  const { indexKey, index } = deps.index.current(content.placeholder)
  const secret = deps.notary.certifySecret(
    {
      ...existing.secret,
      indexKey,
      placeholderIndex: index,
      currentVersion: Math.max(...older.map(({ version }) => version)) + 1,
      keyVersion: step.key.version,
      updatedAt: step.now,
      epoch: step.epoch,
    },
    step.key,
  )
  const version = sealNew(deps, request, { ...step, secret, targets, content, expiresAt })
  const statements = [
    updateSecret(secret),
    ...(await restage(deps, existing, { older, epoch: step.epoch })),
    writeVersion(version),
  ]
  const removed = existing.info.targets.filter(target => !targets.includes(target))
  return { secret, statements, result: resultOf(request, version, { content, removed }) }
}

/** Opens what is sealed with a value for the sake of the placeholder; the value is gone before this returns. */
export function shownContent(deps: Pick<PutDeps, 'notary'>, genuine: GenuineSecret): Shown {
  const { value, placeholder, shape } = deps.notary.open(genuine)
  value.dispose()
  return { placeholder, shape }
}

type Shown = { readonly placeholder: string; readonly shape: string }

function nextTargets(request: PutRequest, existing: GenuineSecret): readonly string[] {
  const kept = existing.info.targets
  if (request.targets === undefined) return kept
  const targets = acceptTargets(request.targets)
  if (targets.length === 0) refuse('a secret needs at least one target')
  const secret = formatSecretRef(existing.info.ref)
  const added = targets.find(target => !kept.includes(target))
  if (added !== undefined && request.widen !== true) {
    throw new CloakroomError('SECRET_TARGETS_WIDENED', { secret, added })
  }
  if (request.narrow === true) return targets
  // A target that was forgotten in a list would end an access that somebody relies on: nothing goes without being told to.
  if (request.widen === true) return acceptTargets([...kept, ...targets])
  const removed = kept.find(target => !targets.includes(target))
  if (removed !== undefined) throw new CloakroomError('SECRET_TARGETS_NARROWED', { secret, removed })
  return targets
}

// Forgotten must mean safe: an access that was to end does not become endless because its value was rotated.
function nextExpiry(request: PutRequest, existing: GenuineSecret, now: number): number | undefined {
  if (request.expiresAt !== undefined) return request.expiresAt ?? undefined
  const kept = existing.info.expiresAt
  if (kept !== undefined && kept <= now) refuse('it has expired: say until when the new version is valid')
  return kept
}

type SealStep = Step & {
  readonly secret: SecretRow
  readonly targets: readonly string[]
  readonly content: Shown
  readonly expiresAt: number | undefined
}

function sealNew(deps: PutDeps, request: PutRequest, step: SealStep): VersionRow {
  const { secret, targets, expiresAt, key } = step
  const version = { version: secret.currentVersion, targets, expiresAt }
  const binding = bindingOf(deps.notary.storeId, secret, version)
  const row = {
    ...version,
    secretId: secret.id,
    stage: 'current',
    notBefore: request.notBefore,
    keyVersion: key.version,
    createdAt: step.now,
    epoch: step.epoch,
    sealed: sealVersion(key.key, binding, { value: request.value, ...step.content }),
  }
  return deps.notary.certifyVersion(row, key)
}

/** The version that was current becomes the previous one, that one is retired, and the oldest go. */
async function restage(
  deps: PutDeps,
  existing: GenuineSecret,
  step: { readonly older: readonly VersionRow[]; readonly epoch: number },
): Promise<readonly Statement[]> {
  const statements: Statement[] = []
  for (const [age, row] of step.older.entries()) {
    if (age + 1 >= MAX_VERSIONS) {
      statements.push(deleteVersion(row.secretId, row.version))
      continue
    }
    const stage: Stage = row.version === existing.secret.currentVersion ? 'previous' : 'retired'
    if (row.stage === stage) continue
    const key = await deps.keyring.byVersion(existing.info.ref.tenant, row.keyVersion)
    statements.push(writeVersion(deps.notary.certifyVersion({ ...row, stage, epoch: step.epoch }, key)))
  }
  return statements
}

function resultOf(
  request: PutRequest,
  version: VersionRow,
  { content, removed }: { readonly content: Shown; readonly removed: readonly string[] },
): PutResult {
  return {
    ref: { tenant: request.tenant, name: request.name, version: version.version },
    placeholder: content.shape + content.placeholder,
    targets: version.targets,
    removed,
    expiresAt: version.expiresAt,
  }
}

// Columns that are authenticated from the first day, for features that come later.
const UNUSED_COLUMNS = {
  maxUses: undefined,
  usesLeft: undefined,
  idleExpiresAfter: undefined,
  lastUsedAt: undefined,
  archivedAt: undefined,
  held: 0,
  labels: '{}',
} as const

const TIME_BYTES = 6
const ID_BYTES = 16

/** 48 bits of time and 80 of randomness: new rows go to the end of their table, and an id is never made twice. */
function newSecretId(now: number): Buffer {
  const id = randomBytes(ID_BYTES)
  id.writeUIntBE(now % 2 ** 48, 0, TIME_BYTES)
  return id
}
