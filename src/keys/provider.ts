/**
 * Key providers: they keep the root key and wrap other keys under it.
 *
 * The contract that every provider keeps (test/contract/key-provider.ts):
 * - the root key never leaves the provider;
 * - `unwrap` gives back what `wrap` got, only with the same associated data, and otherwise throws;
 * - two calls of `wrap` never give the same bytes.
 */

export interface KeyProvider {
  /** Names the root key, not its place: kept with each wrapped key, the same after a restart. Not secret. */
  readonly id: string
  /** Wraps 32 bytes of key. @throws KEY_UNAVAILABLE */
  wrap(key: Uint8Array, associated: Uint8Array): Promise<Buffer>
  /**
   * Gives back a wrapped key, in memory of its own.
   *
   * @throws KEY_WRONG when it was wrapped by another root key, with other associated data, or was changed; KEY_UNAVAILABLE
   */
  unwrap(wrapped: Uint8Array, associated: Uint8Array): Promise<Buffer>
}
