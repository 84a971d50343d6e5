/**
 * Tells genuine rows from changed ones, and makes rows genuine.
 *
 * Rule of this file: nothing that a row says is believed before its MAC has been checked (SECURITY I6; threat-model.md J1, J2).
 */
import { CloakroomError } from '../base/errors.ts'
import { randomBytes } from '../base/random.ts'
import { keyFrom } from '../keys/derive.ts'
import {
  type OpenedContent,
  type UnlockedVersion,
  unlockVersion,
  type VersionBinding,
} from '../keys/envelope.ts'
import type { Keyring, TenantKey } from '../keys/keyring.ts'
import { isSameMac, macOfSecret, macOfVersion } from '../keys/row-mac.ts'
import { SECRET_STATES, type SecretInfo, type SecretState } from '../model/secret.ts'
import { parseTenantId, type TenantId } from '../model/tenant.ts'
import type { SecretRow, StoredSecret, VersionRow } from '../storage/sealed-secrets.ts'
import { STAGES, type Stage } from './store.ts'

/** A secret with one version, both checked; `key` is the tenant key that seals this version. */
export type GenuineSecret = {
  readonly secret: SecretRow
  readonly version: VersionRow
  readonly info: SecretInfo
  readonly key: TenantKey
  readonly binding: VersionBinding
}

export interface Notary {
  readonly storeId: Uint8Array
  /** @throws SECRET_TAMPERED */
  check(stored: StoredSecret): Promise<GenuineSecret>
  checkVersion(secret: SecretRow, version: VersionRow): Promise<Stage>
  /** Does what `check` does, for a row that is not there: a miss costs what a hit costs (threat-model.md C2). */
  checkNothing(): void
  certifySecret(row: Omit<SecretRow, 'mac'>, key: TenantKey): SecretRow
  certifyVersion(row: Omit<VersionRow, 'mac'>, key: TenantKey): VersionRow
  /** Opens a checked version. @throws SECRET_TAMPERED */
  open(genuine: GenuineSecret): OpenedContent
}

export function createNotary(storeId: Uint8Array, keyring: Keyring): Notary {
  const decoyKey = keyFrom(randomBytes(32))
  const place = (tenant: string) => ({ storeId, tenant })

  const checkVersion = async (secret: SecretRow, version: VersionRow): Promise<Stage> => {
    const key = await keyring.byVersion(tenantOf(secret), version.keyVersion)
    if (!isSameMac(version.mac, macOfVersion(key.rowKey, place(secret.tenant), version)))
      throw tampered(secret, `version ${version.version}`)
    return stageOf(secret, version)
  }

  // Deriving a version's key costs twice what decrypting does: it is kept as long as its row is, as a KeyObject.
  const unlocked = new WeakMap<GenuineSecret, UnlockedVersion>()
  const unlock = (genuine: GenuineSecret): UnlockedVersion | undefined => {
    const version = unlockVersion(genuine.key.key, genuine.binding, genuine.version.sealed)
    if (version !== undefined) unlocked.set(genuine, version)
    return version
  }

  return {
    storeId,
    checkVersion,
    async check({ secret, version }) {
      const rowKey = (await keyring.byVersion(tenantOf(secret), secret.keyVersion)).rowKey
      if (!isSameMac(secret.mac, macOfSecret(rowKey, storeId, secret))) throw tampered(secret, 'its columns')
      await checkVersion(secret, version)
      const key = await keyring.byVersion(tenantOf(secret), version.keyVersion)
      const binding = bindingOf(storeId, secret, version)
      return { secret, version, key, binding, info: infoOf(secret, version) }
    },
    checkNothing() {
      macOfSecret(decoyKey, storeId, DECOY_SECRET)
      macOfVersion(decoyKey, place(DECOY_SECRET.tenant), DECOY_VERSION)
    },
    certifySecret: (row, key) => ({ ...row, mac: macOfSecret(key.rowKey, storeId, row) }),
    certifyVersion: (row, key) => ({ ...row, mac: macOfVersion(key.rowKey, place(key.tenant), row) }),
    open(genuine) {
      const version = unlocked.get(genuine) ?? unlock(genuine)
      const opened = version?.open()
      if (opened === undefined) throw tampered(genuine.secret, 'its sealed value')
      return opened
    },
  }
}

/** What version 1 or any other version of a secret is bound to. */
export function bindingOf(
  storeId: Uint8Array,
  secret: Pick<SecretRow, 'id' | 'tenant'>,
  version: Pick<VersionRow, 'version' | 'targets' | 'expiresAt'>,
): VersionBinding {
  return {
    storeId,
    tenant: secret.tenant,
    secretId: secret.id,
    version: version.version,
    targets: version.targets,
    expiresAt: version.expiresAt,
  }
}

function infoOf(secret: SecretRow, version: VersionRow): SecretInfo {
  return {
    ref: { tenant: tenantOf(secret), name: secret.name, version: version.version },
    targets: version.targets,
    state: stateOf(secret),
    ...(version.notBefore === undefined ? {} : { notBefore: version.notBefore }),
    ...(version.expiresAt === undefined ? {} : { expiresAt: version.expiresAt }),
  }
}

function tenantOf(secret: SecretRow): TenantId {
  const tenant = parseTenantId(secret.tenant)
  if (tenant === undefined) throw tampered(secret, 'its tenant')
  return tenant
}

// After the MAC these can only fail for a row that a newer version wrote; then refusing is right as well.
function stateOf(secret: SecretRow): SecretState {
  const state = SECRET_STATES.find(known => known === secret.state)
  if (state === undefined) throw tampered(secret, 'its state')
  return state
}

function stageOf(secret: SecretRow, version: VersionRow): Stage {
  const stage = STAGES.find(known => known === version.stage)
  if (stage === undefined) throw tampered(secret, `the stage of version ${version.version}`)
  return stage
}

function tampered(secret: SecretRow, what: string): CloakroomError {
  return new CloakroomError('SECRET_TAMPERED', { secret: `${secret.tenant}/${secret.name}`, what })
}

// About as long as a real row, so that its MAC takes as long.
const DECOY_SECRET: SecretRow = {
  id: Buffer.alloc(16),
  tenant: 'tenant',
  name: 'secret',
  indexKey: 1,
  placeholderIndex: Buffer.alloc(32),
  state: 'active',
  currentVersion: 1,
  keyVersion: 1,
  maxUses: undefined,
  usesLeft: undefined,
  idleExpiresAfter: undefined,
  lastUsedAt: undefined,
  archivedAt: undefined,
  held: 0,
  labels: '{}',
  createdAt: 0,
  updatedAt: 0,
  epoch: 0,
  mac: Buffer.alloc(32),
}

const DECOY_VERSION: VersionRow = {
  secretId: DECOY_SECRET.id,
  version: 1,
  stage: 'current',
  targets: ['https://api.example.com:443'],
  notBefore: undefined,
  expiresAt: undefined,
  keyVersion: 1,
  createdAt: 0,
  epoch: 0,
  sealed: Buffer.alloc(221),
  mac: Buffer.alloc(32),
}
