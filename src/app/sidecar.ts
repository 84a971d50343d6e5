/**
 * The sidecar: everything started in order and stopped in reverse.
 *
 * The order is part of the design. Start: vault (nothing works without a record), policy, data path, then the listeners, the proxy
 * last but for health and admin, so that nothing is served before all of it stands. Stop: no new connections, running exchanges finish
 * until the deadline, then the audit trail is flushed and closed.
 */
import { dirname, join } from 'node:path'
import type { SidecarControl, StatusReport } from '../api/control.ts'
import { createOpsServer, type OpsServer } from '../api/ops-server.ts'
import { createAdminServer } from '../api/server.ts'
import { Lifecycle, type Part } from '../base/lifecycle.ts'
import type { Log } from '../base/log.ts'
import type { Config } from '../config/schema.ts'
import { writeTrustFiles } from '../config/trust-files.ts'
import { createMetrics, type Metrics } from '../metrics/observe.ts'
import { drain } from '../proxy/listener.ts'
import type { SecretAdmin } from '../secrets/store.ts'
import { assembleDataPath, type DataPath } from './data-path.ts'
import { healthChecks } from './health.ts'
import { afresh, listening } from './listening.ts'
import { summaryOf } from './policies.ts'
import { assembleVault, type Vault } from './vault.ts'
import { VERSION } from './version.ts'

export type Addresses = {
  readonly proxy: string
  readonly relay?: string
  readonly ops: string
  readonly admin: string
}

export type Sidecar = {
  /** Resolves when everything listens. @throws STORAGE_LOCKED, KEY_*, POLICY_*, TLS_AUTHORITY_INVALID, CONFIG_INVALID … */
  start(): Promise<Addresses>
  /** Drains and closes; `reason` is in the record. */
  stop(reason: string): Promise<void>
  /** Reads the policy again. @throws POLICY_* */
  reload(): Promise<void>
  addresses(): Addresses
  /** The checks behind /readyz. */
  status(): StatusReport
}

type Running = {
  readonly vault: Vault
  readonly meters: Metrics
  readonly path: DataPath
  readonly ops: OpsServer
  readonly lifecycle: Lifecycle
  readonly startedAt: number
}

export function createSidecar(config: Config, log: Log): Sidecar {
  let running: Running | undefined
  const require = (): Running => {
    if (running === undefined) throw new Error('the sidecar is not running')
    return running
  }
  return {
    async start() {
      running = await startAll(config, log)
      return addressesOf(config, running)
    },
    async stop(reason) {
      const parts = running
      running = undefined
      if (parts !== undefined) await stopAll(config, parts, { log, reason })
    },
    async reload() {
      await require().vault.policies.reload()
    },
    addresses: () => addressesOf(config, require()),
    status: () => statusOf(config, require()),
  }
}

async function startAll(config: Config, log: Log): Promise<Running> {
  const meters = await createMetrics({ version: VERSION, maxRoutes: config.metrics.maxRoutes })
  const vault = await assembleVault(config, log, {
    writer: 'sidecar',
    auditObserver: meters.audit,
    onCache: meters.onCache,
    onReload: (result, now) => meters.onReload('policy', result, now),
  })
  try {
    await vault.policies.load()
    const startedAt = vault.clock.now()
    let ops: OpsServer | undefined
    const path = await assembleDataPath({
      config,
      log,
      vault,
      meters,
      otherListeners: () => endpointsOf(ops),
    })
    path.policyReplaced(vault.policies.current())
    vault.policies.holder.onReplace(policy => path.policyReplaced(policy))
    meters.setCaExpiry('current', path.authority.notAfter)
    meters.onScrape(() => {
      const { idle, leased } = path.pool.stats()
      meters.setInFlight(path.live.count('exchange'))
      meters.setConnections('client', path.connections.size)
      meters.setConnections('upstream', idle + leased)
      for (const { sink, queued, limit } of vault.trail.stats()) meters.setAuditQueue(sink, queued, limit)
    })
    await writeTrustFiles(config)
    ops = createOpsServer({
      listen: config.ops.listen,
      metrics: meters,
      checks: healthChecks({ vault, path }),
      log,
    })
    const started: Running = {
      vault,
      meters,
      path,
      ops,
      lifecycle: lifecycleOf(config, log, { vault, path, ops, startedAt }),
      startedAt,
    }
    await started.lifecycle.start()
    vault.policies.watch()
    return started
  } catch (cause) {
    await vault.close().catch(() => undefined) // the first failure is the one to report
    throw cause
  }
}

type Parts = Pick<Running, 'vault' | 'path' | 'ops' | 'startedAt'>

function lifecycleOf(config: Config, log: Log, parts: Parts): Lifecycle {
  const { path, ops, vault } = parts
  const control: SidecarControl = {
    status: () => statusOf(config, parts),
    halt: scope => path.halt.halt(scope),
    lift: scope => path.halt.lift(scope),
    halts: () => path.halt.list(),
  }
  const deps = vault.deps(control)
  const admin = createAdminServer({
    socket: config.admin.socket,
    deps: { ...deps, secrets: revoking(deps.secrets, path) },
    log,
  })
  const relay: Part[] =
    path.privateDoor === undefined || path.relay === undefined
      ? []
      : [
          afresh(path.privateDoor, join(dirname(config.admin.socket), 'relay.sock')),
          listening(path.relay, {
            listener: 'the relay',
            address: formatEndpoint(config.relay.listen ?? config.proxy.listen),
          }),
        ]
  return new Lifecycle([
    listening(ops, { listener: 'ops', address: formatEndpoint(config.ops.listen) }),
    admin,
    ...relay,
    listening(path.proxy, { listener: 'the proxy', address: formatEndpoint(config.proxy.listen) }),
  ])
}

/** The store's administration, with what runs ended when a secret may no longer be used (rulings.md 20). */
function revoking(secrets: SecretAdmin, path: DataPath): SecretAdmin {
  return {
    ...secrets,
    async setState(ref, state) {
      await secrets.setState(ref, state)
      if (state !== 'active') path.revoke(ref)
    },
    async remove(ref) {
      await secrets.remove(ref)
      path.revoke(ref)
    },
  }
}

async function stopAll(config: Config, running: Running, why: { log: Log; reason: string }): Promise<void> {
  const { path, vault, lifecycle } = running
  why.log.info('stopping', { reason: why.reason })
  path.relay?.drain()
  await path.proxy.stop()
  await drain({ live: path.live, connections: path.connections, clock: vault.clock }, config.limits.drain)
  path.pool.closeAll()
  try {
    await lifecycle.stop()
  } finally {
    await vault.close()
  }
}

function addressesOf(config: Config, { path, ops }: Pick<Running, 'path' | 'ops'>): Addresses {
  const relay = path.relay?.address()
  return {
    proxy: formatEndpoint(path.proxy.address() ?? config.proxy.listen),
    ...(relay === undefined ? {} : { relay: formatEndpoint(relay) }),
    ops: formatEndpoint(ops.address() ?? config.ops.listen),
    admin: config.admin.socket,
  }
}

function formatEndpoint({ host, port }: { host: string; port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function endpointsOf(ops: OpsServer | undefined): { address: string; port: number }[] {
  const address = ops?.address()
  return address === undefined ? [] : [{ address: address.host, port: address.port }]
}

function statusOf(config: Config, parts: Parts): StatusReport {
  const { vault, path, startedAt } = parts
  const { policies } = vault
  const pool = path.pool.stats()
  return {
    version: VERSION,
    node: process.version,
    pid: process.pid,
    instance: config.instance,
    startedAt,
    addresses: addressesOf(config, parts),
    policy: policies.holder.isLoaded()
      ? { ...summaryOf(policies.current()), loadedAt: policies.loadedAt }
      : undefined,
    ...(policies.fault === undefined ? {} : { policyFault: policies.fault }),
    checks: Object.fromEntries([...healthChecks({ vault, path })].map(([name, check]) => [name, check()])),
    counts: {
      connections: path.connections.size,
      tunnels: path.live.count('tunnel'),
      inFlight: path.live.count('exchange'),
      upstreamIdle: pool.idle,
      upstreamInUse: pool.leased,
    },
    caExpiresAt: path.authority.notAfter,
  }
}
