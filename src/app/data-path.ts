/**
 * The data path put together: who listens, who dials, and what an exchange gets of the rest of the house.
 */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { CloakroomError } from '../base/errors.ts'
import { readPrivateKey } from '../config/key-files.ts'
import { identify } from '../identity/identify.ts'
import { formatSecretRef, type SecretRef } from '../model/secret.ts'
import type { Endpoint } from '../net/address.ts'
import { createPool, type Pool } from '../net/pool.ts'
import type { CompiledPolicy } from '../policy/compiled.ts'
import { decide, decideConnection } from '../policy/decide.ts'
import type { ExchangeDeps, PolicySnapshot } from '../proxy/exchange-deps.ts'
import { HaltSwitch } from '../proxy/halt.ts'
import { CallerPlaces, GuessBudget, RuleLimiter } from '../proxy/limits.ts'
import { Connections, createListener, type Listener } from '../proxy/listener.ts'
import { Live, type Open, uses } from '../proxy/live.ts'
import { presentedBy } from '../proxy/presented.ts'
import { createRelay, type Relay, Tickets } from '../proxy/relay.ts'
import { createResolver } from '../secrets/resolve.ts'
import { type Authority, loadAuthority } from '../tls/authority.ts'
import { connectDeps, http1Limits } from './interception.ts'
import type { DataPathOptions } from './parts.ts'
import { asLoop, makeDialer } from './upstreams.ts'

export type DataPath = {
  readonly authority: Authority
  readonly live: Live
  readonly halt: HaltSwitch
  readonly connections: Connections
  readonly pool: Pool
  readonly proxy: Listener
  readonly relay: Relay | undefined
  /** The relay's way in; undefined without a relay. */
  readonly privateDoor: Listener | undefined
  /** Ends what uses a secret that may no longer be used (rulings.md 20). */
  revoke(secret: SecretRef): void
  /** Ends what runs for callers that are no more, tunnels that a new policy does not allow, and forgets counts of rules that may have changed. */
  policyReplaced(policy: CompiledPolicy): void
}

/** @throws TLS_AUTHORITY_INVALID, KEY_*, CONFIG_INVALID */
export async function assembleDataPath(options: DataPathOptions): Promise<DataPath> {
  const { config, vault, meters } = options
  const { clock } = vault
  const authority = await openAuthority(options)
  const live = new Live()
  const halt = new HaltSwitch(live)
  const connections = new Connections()
  const tickets = new Tickets()
  const limiter = new RuleLimiter(clock)
  const ours: (Listener | Relay)[] = []
  const dialer = makeDialer(options, () => [
    ...ours.flatMap(listener => endpointOf(listener.address())),
    ...options.otherListeners(),
  ])
  const pool = createPool({
    dialer,
    clock,
    maxIdle: config.upstream.idleConnections,
    idleTimeout: config.upstream.idleTimeout,
  })
  const exchange = exchangeDeps(options, { live, halt, limiter, pool, tickets })
  const connect = connectDeps(options, { authority, exchange, dialer, live, connections })
  const door = {
    clock,
    http1: http1Limits(config),
    maxConnections: config.proxy.maxConnections,
    connections,
    exchange,
  }
  const proxy = createListener({
    ...door,
    name: 'proxy',
    listen: { kind: 'tcp', ...config.proxy.listen },
    connect,
  })
  ours.push(proxy)
  const relayed = relayOf(options, { door, exchange, tickets })
  if (relayed !== undefined) ours.push(relayed.relay)
  return {
    authority,
    live,
    halt,
    connections,
    pool,
    proxy,
    relay: relayed?.relay,
    privateDoor: relayed?.privateDoor,
    revoke(secret) {
      live.cancel(open => uses(open, secret), new CloakroomError('SWAP_REFUSED', {}))
      pool.closeIdle(key => key.includes(`\n${formatSecretRef(secret)}@`))
    },
    policyReplaced(policy) {
      limiter.reset()
      meters.setPolicy(
        policy.hash,
        policy.rules.map(rule => rule.id),
      )
      endForbidden(live, policy)
    },
  }
}

async function openAuthority({ config, vault }: DataPathOptions): Promise<Authority> {
  const privateKey = await readPrivateKey(vault.provider, { kind: 'ca', path: config.ca.key })
  const file = config.ca.certificate
  return loadAuthority({ certificatePem: readFileSync(file, 'utf8'), privateKey, clock: vault.clock, file })
}

type Core = {
  readonly live: Live
  readonly halt: HaltSwitch
  readonly limiter: RuleLimiter
  readonly pool: Pool
  readonly tickets: Tickets
}

function exchangeDeps(options: DataPathOptions, core: Core): ExchangeDeps {
  const { config, log, vault, meters } = options
  const { clock, store, policies } = vault
  const resolver = createResolver({ store: store.store, timeout: config.store.timeout, clock })
  const timed = async <T>(operation: 'locate' | 'open', work: () => Promise<T>): Promise<T> => {
    const started = clock.monotonic()
    try {
      const result = await work()
      meters.onStore(operation, 'ok', clock.monotonic() - started)
      return result
    } catch (cause) {
      meters.onStore(operation, 'failed', clock.monotonic() - started)
      throw cause
    }
  }
  return {
    clock,
    log,
    policy: snapshots(() => policies.current()),
    presented: inbound => presentedBy(inbound, core.tickets),
    secrets: {
      locate: placeholders => timed('locate', () => store.store.locate(placeholders)),
      resolve: (permit, signal) => timed('open', () => resolver.resolve(permit, signal)),
    },
    fingerprint: vault.fingerprint,
    audit: vault.trail,
    acquire: wish => core.pool.acquire(wish).catch(asLoop),
    places: new CallerPlaces({
      what: 'requests in flight',
      total: config.limits.inFlight,
      perCaller: config.limits.inFlightPerCaller,
    }),
    observe: meters.observeExchange,
    live: core.live,
    halt: core.halt,
    limiter: core.limiter,
    guesses: new GuessBudget(clock, config.limits.guesses),
    limits: {
      responseHead: {
        bytes: config.limits.responseHead,
        count: config.limits.headers,
        line: config.limits.responseHead,
      },
      upstreamHead: config.limits.upstreamHead,
      idle: config.limits.idle,
    },
  }
}

/** One snapshot object for each compiled policy. */
function snapshots(current: () => CompiledPolicy): () => PolicySnapshot {
  let made: { readonly of: CompiledPolicy; readonly snapshot: PolicySnapshot } | undefined
  return () => {
    const policy = current()
    if (made?.of === policy) return made.snapshot
    const snapshot: PolicySnapshot = {
      hash: policy.hash,
      identify: presented => identify(policy, presented),
      decide: ask => decide(policy, ask),
      connection: (caller, target) => decideConnection(policy, caller, target),
    }
    made = { of: policy, snapshot }
    return snapshot
  }
}

type Door = Omit<Parameters<typeof createListener>[0], 'name' | 'listen' | 'connect'>

function relayOf(
  { config, vault }: DataPathOptions,
  parts: { door: Door; exchange: ExchangeDeps; tickets: Tickets },
): { relay: Relay; privateDoor: Listener } | undefined {
  const { listen } = config.relay
  if (listen === undefined) return undefined
  const socketPath = join(dirname(config.admin.socket), 'relay.sock')
  const relay = createRelay({
    listen,
    socketPath,
    clock: vault.clock,
    exchange: parts.exchange,
    tickets: parts.tickets,
    headBytes: config.limits.requestHead,
    headers: config.limits.headers,
  })
  const privateDoor = createListener({
    ...parts.door,
    name: 'relay door',
    listen: { kind: 'unix', path: socketPath },
    connect: undefined,
  })
  return { relay, privateDoor }
}

// rulings.md 20: what was opened by a caller that is revoked ends with it, and a blind tunnel with the rule that allowed it.
function endForbidden(live: Live, policy: CompiledPolicy): void {
  const isForbidden = ({ kind, presented, parsedTarget }: Open): boolean => {
    if (presented === undefined) return false // not identified yet: it will be, by the new policy or the one before
    const identified = identify(policy, presented)
    if (identified.kind !== 'caller') return true
    if (kind !== 'tunnel' || parsedTarget === undefined) return false
    return decideConnection(policy, identified.caller, parsedTarget).kind !== 'tunnel'
  }
  live.cancel(isForbidden, new CloakroomError('IDENTITY_REVOKED', {}))
}

function endpointOf(address: { host: string; port: number } | undefined): Endpoint[] {
  return address === undefined ? [] : [{ address: address.host, port: address.port }]
}
