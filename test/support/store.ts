/**
 * A real embedded store in a directory of its own, for tests.
 */
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Clock } from '../../src/base/clock.ts'
import { randomBytes } from '../../src/base/random.ts'
import { keyFrom } from '../../src/keys/derive.ts'
import { createFileProvider } from '../../src/keys/file.ts'
import type { KeyProvider } from '../../src/keys/provider.ts'
import type { SecretRef } from '../../src/model/secret.ts'
import { parseTenantId, type TenantId } from '../../src/model/tenant.ts'
import { type EmbeddedOptions, type EmbeddedStore, openEmbeddedStore } from '../../src/secrets/embedded.ts'
import type { PutRequest, SecretStore } from '../../src/secrets/store.ts'
import type { Database } from '../../src/storage/database.ts'
import { openSqlite } from '../../src/storage/sqlite.ts'
import { manualClock } from './clock.ts'
import { aDirectory } from './directory.ts'

export function aProvider(): KeyProvider {
  return createFileProvider(keyFrom(randomBytes(32)))
}

export function tenant(name: string): TenantId {
  const id = parseTenantId(name)
  if (id === undefined) throw new Error(`not a tenant: ${name}`)
  return id
}

export function ref(text: string): SecretRef {
  const [owner = '', name = ''] = text.split('/')
  return { tenant: tenant(owner), name }
}

/** A request to put `tenant/name`, with what a test leaves out. */
export function aPut(text: string, value: string, more: Partial<PutRequest> = {}): PutRequest {
  return { ...ref(text), value: Buffer.from(value), targets: ['https://api.example.com'], ...more }
}

export type TestStore = EmbeddedStore & {
  readonly directory: string
  readonly file: string
  readonly database: Database
  readonly provider: KeyProvider
}

export type TestStoreOptions = {
  readonly directory?: string
  readonly provider?: KeyProvider
  readonly clock?: Clock
  readonly wrap?: (database: Database) => Database
  readonly writer?: 'here' | 'thread'
} & Pick<EmbeddedOptions, 'cacheBytes' | 'maxStale' | 'onCache'>

export async function aStore(t: Test, options: TestStoreOptions = {}): Promise<TestStore> {
  const { directory = aDirectory(t), provider = aProvider(), clock = manualClock(), wrap } = options
  const file = join(directory, 'store.db')
  const opened = openSqlite({ file, writer: options.writer ?? 'here' })
  t.teardown(() => opened.close().catch(() => undefined)) // some tests close it themselves
  const database = wrap?.(opened) ?? opened
  const vault = await openEmbeddedStore({ database, provider, clock, ...boundsOf(options) })
  return { ...vault, directory, file, database, provider }
}

// By name: what a test passes may be a whole other store.
function boundsOf({
  cacheBytes,
  maxStale,
  onCache,
}: TestStoreOptions): Pick<EmbeddedOptions, 'cacheBytes' | 'maxStale' | 'onCache'> {
  return {
    ...(cacheBytes === undefined ? {} : { cacheBytes }),
    ...(maxStale === undefined ? {} : { maxStale }),
    ...(onCache === undefined ? {} : { onCache }),
  }
}

/** Opens what a placeholder stands for, as the data path does; undefined when it stands for nothing. */
export async function openPlaceholder(
  { store }: { readonly store: SecretStore },
  placeholder: string,
): Promise<string | undefined> {
  const [info] = await store.locate([placeholder])
  if (info === undefined) return undefined
  const opened = await store.get(info.ref, new AbortController().signal)
  const text = opened.value.use(bytes => bytes.toString('latin1'))
  opened.value.dispose()
  return text
}

/** The 34 characters at the end of what an app holds. */
export function withoutShape(placeholder: string): string {
  return placeholder.slice(-34)
}
