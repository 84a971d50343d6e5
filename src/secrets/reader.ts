/**
 * The embedded store as the data path sees it.
 *
 * Rules of this file: what is cached are sealed rows that have been checked and KeyObjects, never a value (rulings.md 4). Known
 * and unknown placeholders are cached alike and cost the same number of look-ups (threat-model.md C2). A change made in this process
 * is forgotten at once; one made by another process is noticed within POLL (rulings.md 20).
 */
import { equalBytes } from '../base/bytes.ts'
import { SizedCache } from '../base/cache.ts'
import { type Clock, type Milliseconds, seconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { type Bytes, kib, mib } from '../base/size.ts'
import type { PlaceholderIndex } from '../keys/store-keys.ts'
import type { SecretInfo, SecretRef } from '../model/secret.ts'
import type { Database } from '../storage/database.ts'
import type { SecretTable, StoredSecret } from '../storage/sealed-secrets.ts'
import type { GenuineSecret, Notary } from './genuine.ts'
import type { OpenedSecret, SecretStore, VersionRef } from './store.ts'

export type ReaderOptions = {
  readonly database: Database
  readonly secrets: SecretTable
  readonly notary: Notary
  readonly index: PlaceholderIndex
  readonly clock: Clock
  /** Called when another process has changed the store: other caches of rows must go too. */
  readonly onForeignChange: () => void
  readonly cacheBytes?: Bytes
  /** How long cached rows are served while the database cannot be asked; 0: not at all. */
  readonly maxStale?: Milliseconds
  /** Told of every look-up of a placeholder, known or not; stale: a hit that the database could not confirm. */
  readonly onCache?: (cache: string, result: 'hit' | 'miss' | 'stale') => void
}

const CACHE_BYTES = mib(64)
const MAX_STALE = seconds(60)
/** How often the database is asked for changes of other processes: half of the second that ruling 20 allows. */
const POLL: Milliseconds = 500
// What an opened row costs beside its sealed bytes, KeyObject included: resident memory grows by 10 KiB for each (16,000 rows,
// Node 24.21); 4.5 KiB of it are V8's.
const ENTRY_BYTES = kib(10)
const INDEX_ENTRY_BYTES = 256

/** Which secret a placeholder stands for, or that it stands for none. */
type IndexEntry = { readonly row: string | undefined }

export class EmbeddedReader implements SecretStore {
  readonly #options: ReaderOptions
  readonly #rows: SizedCache<GenuineSecret>
  readonly #placeholders: SizedCache<IndexEntry>
  readonly #maxStale: Milliseconds
  /** Grows with every invalidation, so that a row read before one is not cached after it. */
  #generation = 0
  #askedAt: Milliseconds
  #answeredAt: Milliseconds

  constructor(options: ReaderOptions) {
    this.#options = options
    const bytes = options.cacheBytes ?? CACHE_BYTES
    this.#rows = new SizedCache(Math.ceil(bytes * 0.875))
    this.#placeholders = new SizedCache(Math.ceil(bytes * 0.125))
    this.#maxStale = options.maxStale ?? MAX_STALE
    this.#askedAt = options.clock.monotonic()
    this.#answeredAt = this.#askedAt
  }

  /** Bytes held by the caches, as they account for them. */
  get cachedBytes(): Bytes {
    return this.#rows.bytes + this.#placeholders.bytes
  }

  async locate(placeholders: readonly string[]): Promise<readonly (SecretInfo | undefined)[]> {
    this.#noticeChanges()
    const infos: (SecretInfo | undefined)[] = []
    for (const placeholder of placeholders) infos.push(await this.#locateOne(placeholder))
    return infos
  }

  async get(ref: VersionRef, signal: AbortSignal): Promise<OpenedSecret> {
    signal.throwIfAborted()
    this.#noticeChanges()
    const stale = this.#isStale // as it was when the cache was asked
    const genuine = this.#cachedVersion(ref) ?? (await this.#loadVersion(ref))
    if (genuine === undefined || !isUsable(genuine, this.#options.clock.now())) {
      throw new CloakroomError('SWAP_REFUSED', {})
    }
    const opened = this.#options.notary.open(genuine)
    return stale ? { ...opened, stale } : opened
  }

  /** Forgets one secret, and what its placeholder stood for: it has been changed. */
  forget(ref: SecretRef, placeholderIndex: Uint8Array): void {
    this.#generation++
    this.#rows.delete(rowKey(ref))
    this.#placeholders.delete(indexKey(placeholderIndex))
  }

  clear(): void {
    this.#generation++
    this.#rows.clear()
    this.#placeholders.clear()
  }

  /** Asks the database now, or takes an answer of this half second: for health checks. */
  isReadable(): boolean {
    try {
      this.#noticeChanges()
      return !this.#isStale
    } catch {
      return false
    }
  }

  /** True when the database did not answer when it was asked last. */
  get #isStale(): boolean {
    return this.#answeredAt !== this.#askedAt
  }

  // Every index key is asked for, also after a hit: the number of look-ups does not tell which key found it.
  async #locateOne(placeholder: string): Promise<SecretInfo | undefined> {
    let found: SecretInfo | undefined
    for (const { indexKey: key, index } of this.#options.index.all(placeholder)) {
      const known = this.#placeholders.get(indexKey(index))
      const genuine = known === undefined ? 'ask' : this.#cachedRow(known, index)
      this.#options.onCache?.('secret', genuine === 'ask' ? 'miss' : this.#isStale ? 'stale' : 'hit')
      const answer = genuine === 'ask' ? await this.#load(index, key) : genuine
      found ??= answer?.info
    }
    return found
  }

  // The row's own index is compared: a name may have been given to another secret since the entry was made.
  #cachedRow(known: IndexEntry, index: Uint8Array): GenuineSecret | undefined | 'ask' {
    if (known.row === undefined) return undefined
    const row = this.#rows.get(known.row)
    return row !== undefined && equalBytes(row.secret.placeholderIndex, index) ? row : 'ask'
  }

  async #load(index: Uint8Array, key: number): Promise<GenuineSecret | undefined> {
    const generation = this.#generation
    const stored = await this.#options.secrets.byPlaceholder(index, key)
    if (stored === undefined) this.#options.notary.checkNothing()
    const genuine = stored && (await this.#options.notary.check(stored))
    if (generation === this.#generation) {
      const row = genuine && this.#keep(genuine)
      this.#placeholders.set(indexKey(index), { row }, INDEX_ENTRY_BYTES)
    }
    return genuine
  }

  #cachedVersion(ref: VersionRef): GenuineSecret | undefined {
    const genuine = this.#rows.get(rowKey(ref))
    return genuine?.version.version === ref.version ? genuine : undefined
  }

  // Not in the cache: pushed out, or an exchange that began before a new version finishes on its own (threat-model.md C15).
  async #loadVersion(ref: VersionRef): Promise<GenuineSecret | undefined> {
    const generation = this.#generation
    const stored = await this.#options.secrets.version(ref.tenant, ref.name, ref.version)
    const genuine = stored && (await this.#options.notary.check(stored))
    if (genuine !== undefined && generation === this.#generation && isCurrent(genuine)) this.#keep(genuine)
    return genuine
  }

  #keep(genuine: GenuineSecret): string {
    const key = rowKey(genuine.info.ref)
    this.#rows.set(key, genuine, ENTRY_BYTES + genuine.version.sealed.length)
    return key
  }

  #noticeChanges(): void {
    const now = this.#options.clock.monotonic()
    if (now - this.#askedAt >= POLL) {
      this.#askedAt = now
      this.#askForChanges(now)
    }
    if (now - this.#answeredAt > this.#maxStale + POLL)
      throw new CloakroomError('SECRET_STORE_UNAVAILABLE', {})
  }

  #askForChanges(now: Milliseconds): void {
    try {
      if (this.#options.database.changedElsewhere()) {
        this.clear()
        this.#options.onForeignChange()
      }
      this.#answeredAt = now
    } catch (cause) {
      // Within maxStale the caches go on (rulings.md 20); what is not in them fails by itself.
      if (this.#maxStale === 0) throw new CloakroomError('SECRET_STORE_UNAVAILABLE', {}, { cause })
    }
  }
}

function isCurrent({ secret, version }: StoredSecret): boolean {
  return version.version === secret.currentVersion
}

function isUsable({ info, version }: GenuineSecret, now: number): boolean {
  if (info.state !== 'active') return false
  if (version.stage !== 'current' && version.stage !== 'previous') return false
  if (info.expiresAt !== undefined && info.expiresAt <= now) return false
  return info.notBefore === undefined || info.notBefore <= now
}

// Tenants and names hold no "/", so the pair is one text.
function rowKey(ref: SecretRef): string {
  return `${ref.tenant}/${ref.name}`
}

function indexKey(index: Uint8Array): string {
  return index instanceof Buffer ? index.toString('latin1') : Buffer.from(index).toString('latin1')
}
