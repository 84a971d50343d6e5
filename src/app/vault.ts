/**
 * The vault: keys, store, audit trail and policy, opened together under the lock of the state directory.
 *
 * A running sidecar and a command line that changes something use this same composition (rulings.md 19): one writer at a time.
 */
import type { KeyObject } from 'node:crypto'
import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { ControlDeps, SidecarControl } from '../api/control.ts'
import { createFingerprint, fingerprintKeyOf } from '../audit/fingerprint.ts'
import type { AuditObserver } from '../audit/sink.ts'
import { createSink, type SinkSettings } from '../audit/sinks.ts'
import { openTrail, type Trail } from '../audit/trail.ts'
import { type Clock, systemClock } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { readPrivateKey } from '../config/key-files.ts'
import type { Config } from '../config/schema.ts'
import type { KeyProvider } from '../keys/provider.ts'
import { openKeyProvider } from '../keys/providers.ts'
import type { SecretValue } from '../model/secret.ts'
import { type EmbeddedStore, openEmbeddedStore } from '../secrets/embedded.ts'
import type { Database } from '../storage/database.ts'
import { openSqlite } from '../storage/sqlite.ts'
import { lockState, type StateLock } from '../storage/state-lock.ts'
import { Policies } from './policies.ts'

export type Vault = {
  readonly clock: Clock
  readonly provider: KeyProvider
  readonly store: EmbeddedStore
  readonly trail: Trail
  readonly policies: Policies
  readonly fingerprint: (value: SecretValue) => string
  /** What the control path gets; `sidecar` is set by the sidecar. */
  readonly deps: (sidecar: SidecarControl | undefined) => ControlDeps
  close(): Promise<void>
}

export type VaultOptions = {
  readonly clock?: Clock
  readonly auditObserver?: AuditObserver
  readonly onCache?: (cache: string, result: 'hit' | 'miss' | 'stale') => void
  readonly onReload?: (result: 'ok' | 'failed', now: number) => void
  /** In the `start` record: who writes. */
  readonly writer: 'sidecar' | 'command'
}

/**
 * Takes the lock and opens everything; what was opened is closed again when a later step fails.
 *
 * @throws STORAGE_LOCKED, STORAGE_*, KEY_*, AUDIT_UNAVAILABLE, AUDIT_BROKEN, SECRET_TAMPERED
 */
export async function assembleVault(config: Config, log: Log, options: VaultOptions): Promise<Vault> {
  const clock = options.clock ?? systemClock
  const opened: Opened = {}
  try {
    opened.lock = lockState(dirname(config.store.file))
    const provider = await openKeyProvider(config.keys)
    const signingKey = await readPrivateKey(provider, { kind: 'audit', path: config.audit.signingKey })
    const database = openDatabase(config, log, options.writer)
    opened.database = database
    const store = await openEmbeddedStore({
      database,
      provider,
      clock,
      cacheBytes: config.store.cache,
      maxStale: config.store.maxStale,
      ...(options.onCache === undefined ? {} : { onCache: options.onCache }),
    })
    const trail = makeTrail(config, log, { ...options, clock, signingKey })
    await trail.start()
    opened.trail = trail
    const note = (event: string, fields: Parameters<Trail['note']>[1]) => trail.note(event, fields)
    const policies = new Policies({
      config,
      clock,
      log,
      note,
      ...(options.onReload && { onReload: options.onReload }),
    })
    return {
      clock,
      provider,
      store,
      trail,
      policies,
      fingerprint: createFingerprint(fingerprintKeyOf(signingKey)),
      deps: sidecar => ({ secrets: store.admin, policy: policies, sidecar, clock, note }),
      close: () => closeAll(opened, policies),
    }
  } catch (cause) {
    await closeAll(opened).catch(() => undefined) // the first failure is the one to report
    throw cause
  }
}

type Opened = { lock?: StateLock; database?: Database; trail?: Trail }

async function closeAll(opened: Opened, policies?: Policies): Promise<void> {
  try {
    await policies?.close()
    await opened.trail?.stop()
  } finally {
    await opened.database?.close()
    opened.lock?.release()
  }
}

function openDatabase(config: Config, log: Log, writer: VaultOptions['writer']): Database {
  refuseLostStore(config)
  return openSqlite({
    file: config.store.file,
    writer: writer === 'sidecar' ? 'thread' : 'here', // rulings.md 19: nothing that may block stands on the data path's loop
    onUpgrade: copy => log.info('the store was upgraded; a copy of the old one was kept', { copy }),
  })
}

// A store is made where nothing was before. Where a log tells of one, an empty one in its place would look like a good start, and
// every placeholder would be unknown.
function refuseLostStore({ store, audit }: Config): void {
  if ((statSync(store.file, { throwIfNoEntry: false })?.size ?? 0) > 0) return
  const sizes = audit.sinks.map(({ path }) =>
    path === undefined ? 0 : (statSync(path, { throwIfNoEntry: false })?.size ?? 0),
  )
  if (sizes.some(size => size > 0)) throw new CloakroomError('STORAGE_MISSING', { file: store.file })
}

function makeTrail(
  config: Config,
  log: Log,
  { clock, signingKey, auditObserver, writer }: VaultOptions & { clock: Clock; signingKey: KeyObject },
): Trail {
  const { durability } = config.audit
  const sinks = config.audit.sinks.map(sink => createSink(settingsOf(sink), durability, clock))
  return openTrail({
    sinks,
    instance: config.instance,
    clock,
    log,
    signingKey,
    startFields: { writer },
    ...(auditObserver === undefined ? {} : { observer: auditObserver }),
  })
}

function settingsOf(sink: Config['audit']['sinks'][number]): SinkSettings {
  if (sink.kind === 'stdout') return { kind: 'stdout', required: sink.required }
  return { kind: 'file', path: sink.path ?? '', required: sink.required, rotateAfter: sink.maxSize }
}
