/**
 * The embedded store as its administrator sees it.
 *
 * Rule of this file: when a call has resolved, its change is on the disk and the data path has forgotten what it knew before.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { CloakroomError } from '../base/errors.ts'
import { formatSecretRef, type SecretRef, type SecretState } from '../model/secret.ts'
import { parseTenantId, type TenantId } from '../model/tenant.ts'
import { deleteSecret, type SecretRow, updateSecret } from '../storage/sealed-secrets.ts'
import type { TenantKeyTable } from '../storage/tenant-keys.ts'
import { maskPlaceholder } from '../swap/placeholder.ts'
import { checkPut, refuse } from './acceptance.ts'
import type { Changes } from './changes.ts'
import type { GenuineSecret } from './genuine.ts'
import { keySource } from './key-source.ts'
import { maskValue } from './mask.ts'
import { type PutDeps, planPut, shownContent } from './put.ts'
import type {
  ImportProgress,
  ListRequest,
  PutRequest,
  PutResult,
  SecretAdmin,
  SecretDescription,
  SecretSummary,
  SecretVersion,
} from './store.ts'

export type AdminDeps = PutDeps & {
  readonly changes: Changes
  readonly tenantKeys: TenantKeyTable
  /** Tells the data path that a secret has changed. */
  readonly forget: (ref: SecretRef, placeholderIndex: Uint8Array) => void
}

// Few enough that no transaction holds the data path up for long (rulings.md 19), many enough to share a sync.
const IMPORT_BATCH = 64
const MAX_PAGE = 1000

export function createAdmin(deps: AdminDeps): SecretAdmin {
  const find = (ref: SecretRef) => findSecret(deps, ref)
  return {
    put: async request => {
      const [result] = await putTogether(deps, [request])
      return result ?? refuse('there is no request')
    },
    list: request => listSecrets(deps, request),
    describe: async ref => describe(deps, await find(ref)),
    versions: async ref => listVersions(deps, (await find(ref)).secret),
    async placeholder(ref) {
      const { shape, placeholder } = shownContent(deps, await find(ref))
      return shape + placeholder
    },
    setState: (ref, state) => setState(deps, ref, state),
    remove: ref => remove(deps, ref),
    import: (many, onProgress) => importMany(deps, many, onProgress),
    tenants: () => listTenants(deps),
  }
}

/** Puts several in one transaction: all or none. */
async function putTogether(deps: AdminDeps, requests: readonly PutRequest[]): Promise<readonly PutResult[]> {
  for (const request of requests) checkPut(request, deps.clock.now())
  const [first] = requests
  const what = first === undefined ? '' : formatSecretRef(first)
  const planned = await deps.changes.apply(what, async epoch => {
    const keys = keySource(deps.keyring)
    const plans = []
    for (const request of requests) plans.push(await planPut(deps, request, { epoch, keys }))
    const statements = [...keys.statements, ...plans.flatMap(plan => plan.statements)]
    return { statements, result: plans }
  })
  for (const { secret, result } of planned) deps.forget(result.ref, secret.placeholderIndex)
  return planned.map(({ result }) => result)
}

async function importMany(
  deps: AdminDeps,
  many: AsyncIterable<PutRequest> | Iterable<PutRequest>,
  onProgress: (progress: ImportProgress) => void,
): Promise<number> {
  let done = 0
  let batch = new Map<string, PutRequest>()
  const flush = async () => {
    const results = await putTogether(deps, [...batch.values()])
    done += results.length
    batch = new Map()
    onProgress({ done, results })
    await nextTurn() // the exchanges that wait go first
  }
  for await (const request of many) {
    const name = formatSecretRef(request)
    // A second entry of the same name is the next version, and has to see the first one.
    if (batch.size >= IMPORT_BATCH || batch.has(name)) await flush()
    batch.set(name, request)
  }
  if (batch.size > 0) await flush()
  return done
}

async function findSecret(deps: AdminDeps, ref: SecretRef): Promise<GenuineSecret> {
  const { version } = ref
  const stored =
    version === undefined
      ? await deps.secrets.current(ref.tenant, ref.name)
      : await deps.secrets.version(ref.tenant, ref.name, version)
  if (stored === undefined) throw new CloakroomError('SECRET_NOT_FOUND', { secret: formatSecretRef(ref) })
  return deps.notary.check(stored)
}

async function listSecrets(deps: AdminDeps, request: ListRequest): Promise<readonly SecretSummary[]> {
  const [tenant = '', name = ''] = (request.after ?? '').split('/')
  const limit = Math.min(Math.max(1, Math.floor(request.limit)), MAX_PAGE)
  const page = await deps.secrets.list({ after: [tenant, name], limit }, request.tenant)
  return Promise.all(page.map(async stored => summaryOf(await deps.notary.check(stored))))
}

async function listVersions(deps: AdminDeps, secret: SecretRow): Promise<readonly SecretVersion[]> {
  const rows = await deps.secrets.versions(secret.id)
  return Promise.all(
    rows.map(async row => ({
      version: row.version,
      stage: await deps.notary.checkVersion(secret, row),
      targets: row.targets,
      createdAt: row.createdAt,
      notBefore: row.notBefore,
      expiresAt: row.expiresAt,
      keyVersion: row.keyVersion,
    })),
  )
}

function describe(deps: AdminDeps, genuine: GenuineSecret): SecretDescription {
  const { value, placeholder, shape } = deps.notary.open(genuine)
  const masked = maskValue(value)
  value.dispose()
  return { ...summaryOf(genuine), masked, shape, maskedPlaceholder: maskPlaceholder(placeholder) }
}

function summaryOf({ info, secret }: GenuineSecret): SecretSummary {
  return { ...info, createdAt: secret.createdAt, updatedAt: secret.updatedAt }
}

async function setState(deps: AdminDeps, ref: SecretRef, state: SecretState): Promise<void> {
  const changed = await deps.changes.apply(formatSecretRef(ref), async epoch => {
    const { secret, info } = await findSecret(deps, { tenant: ref.tenant, name: ref.name })
    if (info.state === 'revoked' && state !== 'revoked') {
      refuse('it is revoked, and that is final; remove it and put it anew')
    }
    const key = await deps.keyring.byVersion(info.ref.tenant, secret.keyVersion)
    const row = deps.notary.certifySecret({ ...secret, state, updatedAt: deps.clock.now(), epoch }, key)
    return { statements: [updateSecret(row)], result: row }
  })
  deps.forget(ref, changed.placeholderIndex)
}

async function remove(deps: AdminDeps, ref: SecretRef): Promise<void> {
  const removed = await deps.changes.apply(formatSecretRef(ref), async () => {
    const { secret } = await findSecret(deps, { tenant: ref.tenant, name: ref.name })
    return { statements: deleteSecret(secret.id), result: secret }
  })
  deps.forget(ref, removed.placeholderIndex)
}

async function listTenants(
  deps: AdminDeps,
): Promise<readonly { readonly tenant: TenantId; readonly secrets: number }[]> {
  const counted = []
  for (const name of await deps.tenantKeys.tenants()) {
    const tenant = parseTenantId(name)
    if (tenant !== undefined) counted.push({ tenant, secrets: await deps.secrets.count(tenant) })
  }
  return counted
}
