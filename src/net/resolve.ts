/**
 * Names to addresses, once for each connection.
 *
 * Rules of this file: a name is looked up as a fully qualified one, so that no search domain can capture it (threat-model.md A14),
 * and every answer is checked: one that may not be dialled refuses the name, so that a mixed answer gains nothing.
 */
import { lookup as lookupByGetaddrinfo } from 'node:dns/promises'
import { Cache } from '../base/cache.ts'
import { type Clock, type Milliseconds, seconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { bareHost, formatTarget, isIpHost, parseAuthority, type Target } from '../model/target.ts'
import type { AddressGuard, Endpoint } from './address.ts'
import { errorFrom } from './failure.ts'
import { createLookupQueue, type Lookup } from './lookup-queue.ts'

const MAX_NAMES = 1000
const LIFETIME = seconds(30) // getaddrinfo tells no TTL; a change of address is followed within this time
const FAILURE_LIFETIME = seconds(2)

export type ResolverOptions = {
  readonly guard: AddressGuard
  /** `host:port` to `ip:port`, as curl --resolve; the guard checks these too. */
  readonly overrides?: Readonly<Record<string, string>>
  readonly lookup?: Lookup
  readonly clock: Clock
  readonly timeout: Milliseconds
  readonly onCache?: (cache: string, result: 'hit' | 'miss') => void
}

/** An address that was checked, and how it passed. */
export type CheckedEndpoint = Endpoint & { readonly allowed: 'public' | 'by_operator' }

export type Resolver = {
  /**
   * Gives the endpoints of a target, every one of them checked.
   *
   * @throws NET_NAME_UNKNOWN, NET_NAME_TIMEOUT, NET_ADDRESS_REFUSED, SIDECAR_OVERLOADED; the signal's reason.
   */
  resolve(target: Target, signal: AbortSignal): Promise<readonly CheckedEndpoint[]>
}

/** @throws CONFIG_INVALID when an override is malformed. */
export function createResolver(options: ResolverOptions): Resolver {
  const overrides = parseOverrides(options.overrides ?? {})
  const queue = createLookupQueue({
    lookup: options.lookup ?? systemLookup,
    clock: options.clock,
    onDropped: name => names.delete(name), // nobody may come to share what will not be done
  })
  const names = new Cache<readonly string[]>({
    name: 'dns',
    max: MAX_NAMES,
    lifetime: LIFETIME,
    failureLifetime: FAILURE_LIFETIME,
    clock: options.clock,
    ...(options.onCache === undefined ? {} : { onRequest: options.onCache }),
  })

  const endpointsOf = async (target: Target, signal: AbortSignal): Promise<readonly Endpoint[]> => {
    const fixed = overrides.get(`${target.host}:${target.port}`)
    if (fixed !== undefined) return [fixed]
    if (isIpHost(target.host)) return [{ address: bareHost(target.host), port: target.port }]
    if (signal.aborted) throw signal.reason
    const name = `${target.host}.`
    const found = names.get(name, () => queue.load(name))
    const leave = queue.join(name)
    try {
      const addresses = await withinTime(found, target, signal, options)
      return addresses.map(address => ({ address, port: target.port }))
    } finally {
      leave()
    }
  }

  return {
    async resolve(target, signal) {
      const endpoints = await endpointsOf(target, signal).catch(cause => {
        throw signal.aborted ? signal.reason : errorFrom(cause, target, 'dns')
      })
      if (endpoints.length === 0)
        throw new CloakroomError('NET_NAME_UNKNOWN', { target: formatTarget(target) })
      return endpoints.map(endpoint => ({ ...endpoint, allowed: checked(endpoint, target, options.guard) }))
    },
  }
}

function checked(endpoint: Endpoint, target: Target, guard: AddressGuard): 'public' | 'by_operator' {
  const check = guard.check(endpoint.address, endpoint.port)
  if (check.ok) return check.allowed
  throw new CloakroomError('NET_ADDRESS_REFUSED', { target: formatTarget(target), kind: check.kind })
}

// Ends the wait and not the look-up, which others may share; one that has not begun is dropped when the last has left.
async function withinTime<T>(
  wait: Promise<T>,
  target: Target,
  signal: AbortSignal,
  options: ResolverOptions,
): Promise<T> {
  const patience = new AbortController()
  const onAbort = () => patience.abort(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  const tooLate = options.clock.sleep(options.timeout, patience.signal).then(() => {
    throw new CloakroomError('NET_NAME_TIMEOUT', { target: formatTarget(target), waited: options.timeout })
  })
  try {
    return await Promise.race([wait, tooLate])
  } finally {
    signal.removeEventListener('abort', onAbort)
    tooLate.catch(() => undefined) // the race may have been won by the answer
    patience.abort()
  }
}

async function systemLookup(name: string): Promise<readonly string[]> {
  const answers = await lookupByGetaddrinfo(name, { all: true, order: 'verbatim' })
  return answers.map(answer => answer.address)
}

function parseOverrides(overrides: Readonly<Record<string, string>>): ReadonlyMap<string, Endpoint> {
  const parsed = new Map<string, Endpoint>()
  for (const [from, to] of Object.entries(overrides)) {
    const name = parseAuthority(from)
    const place = parseAuthority(to)
    if (name?.port === undefined || place?.port === undefined || !isIpHost(place.host)) {
      const first = `upstream.resolve: ${from}: ${to} is not HOST:PORT: IP:PORT`
      throw new CloakroomError('CONFIG_INVALID', { faults: 1, first })
    }
    parsed.set(`${name.host}:${name.port}`, { address: bareHost(place.host), port: place.port })
  }
  return parsed
}
