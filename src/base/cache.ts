/**
 * A bounded cache with a lifetime and single-flight loading, over lru-cache.
 *
 * Rule of this file: keys may come from the network, so every cache has a bound and every entry ends;
 * concurrent misses for one key share one load; failures are kept for a shorter time, or not at all.
 */
import { LRUCache } from 'lru-cache'
import type { Clock, Milliseconds } from './clock.ts'
import type { Bytes } from './size.ts'

export type CacheOptions = {
  readonly name: string
  readonly max: number
  readonly lifetime: Milliseconds
  /** How long a failed load is remembered; 0 (the default) means that the next caller tries again. */
  readonly failureLifetime?: Milliseconds
  readonly clock: Clock
  readonly onRequest?: (cache: string, result: 'hit' | 'miss') => void
  readonly onEvict?: (cache: string) => void
}

type Entry<V> = { readonly value: Promise<V>; readonly ends: Milliseconds }

export class Cache<V extends object> {
  readonly #entries: LRUCache<string, Entry<V>>
  readonly #options: CacheOptions

  constructor(options: CacheOptions) {
    this.#options = options
    this.#entries = new LRUCache({
      max: options.max,
      dispose: (_entry, _key, reason) => {
        if (reason === 'evict') options.onEvict?.(options.name)
      },
    })
  }

  get size(): number {
    return this.#entries.size
  }

  /** Returns the cached value, or the one `load` gives; concurrent callers for one key share one load. */
  get(key: string, load: () => Promise<V>): Promise<V> {
    const now = this.#options.clock.monotonic()
    const cached = this.#entries.get(key)
    if (cached !== undefined && cached.ends > now) {
      this.#options.onRequest?.(this.#options.name, 'hit')
      return cached.value
    }
    this.#options.onRequest?.(this.#options.name, 'miss')
    const entry: Entry<V> = { value: load(), ends: now + this.#options.lifetime }
    this.#entries.set(key, entry)
    entry.value.catch(() => this.#forgetFailure(key, entry))
    return entry.value
  }

  delete(key: string): void {
    this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
  }

  #forgetFailure(key: string, entry: Entry<V>): void {
    if (this.#entries.peek(key) !== entry) return
    const keep = this.#options.failureLifetime ?? 0
    if (keep === 0) this.#entries.delete(key)
    else this.#entries.set(key, { value: entry.value, ends: this.#options.clock.monotonic() + keep })
  }
}

/**
 * A cache bounded by the bytes of what it holds; the least recently used go first.
 *
 * For plain rows that are read at once: no lifetime and no loading. The owner clears it when the truth has changed.
 */
export class SizedCache<V extends object> {
  readonly #entries: LRUCache<string, V>

  /** @param maxBytes - the sum of the sizes that `set` is told; an entry larger than that is not kept. */
  constructor(maxBytes: Bytes) {
    this.#entries = new LRUCache({ maxSize: maxBytes })
  }

  get size(): number {
    return this.#entries.size
  }

  get bytes(): Bytes {
    return this.#entries.calculatedSize
  }

  get(key: string): V | undefined {
    return this.#entries.get(key)
  }

  set(key: string, value: V, size: Bytes): void {
    this.#entries.set(key, value, { size })
  }

  delete(key: string): void {
    this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
  }
}
