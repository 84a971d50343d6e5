/**
 * TLS contexts of intercepted hosts: minted on demand, once, and kept.
 *
 * Rules of this file: concurrent handshakes for one host share one mint; a context is never served past half of its leaf's
 * life; new hosts are minted at a bounded rate (threat-model.md G9), because a context costs a millisecond of the event loop.
 */
import { constants } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import { Cache } from '../base/cache.ts'
import { type Clock, days, type Milliseconds, seconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Authority, LeafCertificate } from './authority.ts'
import { createTickets } from './tickets.ts'

const MAX_CONTEXTS = 1000 // about 25 KB each
const MINTS_PER_SECOND = 20
const MINT_BURST = 100 // an app that starts may open all its upstreams at once
const CACHE_LIFETIME = days(3.5) // the upper bound; `renewAt` of each leaf decides

export type LeafCacheOptions = {
  readonly authority: Authority
  readonly clock: Clock
  readonly max?: number
  /** New leaves a second, and how many may come at once after a pause. */
  readonly mintRate?: number
  readonly mintBurst?: number
  /** Told how long a minting took. */
  readonly onMint?: (duration: Milliseconds) => void
  readonly onCache?: (cache: string, result: 'hit' | 'miss') => void
  readonly onEvict?: (cache: string) => void
}

export type LeafCache = {
  /**
   * Gives the TLS context for a host in the form of parseHost.
   *
   * @throws TLS_LEAF_REFUSED when new hosts come too fast; TLS_AUTHORITY_INVALID when the CA has expired.
   */
  contextFor(host: string): Promise<SecureContext>
  /** Mints with another CA from now on; open connections keep what they have. */
  replaceAuthority(authority: Authority): void
  readonly size: number
}

type Leaf = { readonly context: SecureContext; readonly renewAt: number }

export function createLeafCache(options: LeafCacheOptions): LeafCache {
  const { clock } = options
  const tickets = createTickets(clock)
  const takeMint = createBudget(options)
  const retired = new WeakSet<Leaf>()
  let { authority } = options
  const cache = new Cache<Leaf>({
    name: 'leaf_cert',
    max: options.max ?? MAX_CONTEXTS,
    lifetime: CACHE_LIFETIME,
    clock,
    ...(options.onCache === undefined ? {} : { onRequest: options.onCache }),
    ...(options.onEvict === undefined ? {} : { onEvict: options.onEvict }),
  })

  const load = async (host: string): Promise<Leaf> => {
    if (!takeMint()) throw new CloakroomError('TLS_LEAF_REFUSED', {})
    const started = clock.monotonic()
    const leaf = authority.mint(host)
    options.onMint?.(clock.monotonic() - started)
    const context = createContext(leaf)
    tickets.apply(context)
    const now = clock.now()
    return { context, renewAt: now + (leaf.notAfter - now) / 2 }
  }

  return {
    async contextFor(host) {
      const leaf = await cache.get(host, () => load(host))
      if (clock.now() < leaf.renewAt) return leaf.context
      // By the wall clock, as certificates are: a machine that slept has a monotonic clock that did not move. Of all who
      // waited for the old leaf one may delete it: the others would delete its successor.
      if (!retired.has(leaf)) {
        retired.add(leaf)
        cache.delete(host)
      }
      return (await cache.get(host, () => load(host))).context
    },
    replaceAuthority(next) {
      authority = next
      cache.clear()
    },
    get size() {
      return cache.size
    },
  }
}

function createContext(leaf: LeafCertificate): SecureContext {
  return createSecureContext({
    cert: leaf.certificatePem,
    key: leaf.privateKey.export({ type: 'sec1', format: 'pem' }),
    ca: [], // no client certificates are asked for: an empty list spares the parsing of 140 roots
    minVersion: 'TLSv1.2',
    // H4. Renegotiation exists in TLS 1.2 only, and nothing here ever needs it.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
    // Node's default is a hash of the command line: set, so that a ticket outlives nothing but the keys.
    sessionIdContext: 'cloakroom',
  })
}

// A token bucket on the monotonic clock.
function createBudget(options: LeafCacheOptions): () => boolean {
  const { clock, mintRate = MINTS_PER_SECOND, mintBurst = MINT_BURST } = options
  let left = mintBurst
  let updated = clock.monotonic()
  return () => {
    const now = clock.monotonic()
    left = Math.min(mintBurst, left + ((now - updated) / seconds(1)) * mintRate)
    updated = now
    if (left < 1) return false
    left -= 1
    return true
  }
}
