/**
 * What the house tells its metrics, and the only place that knows which number moves for what.
 *
 * Rules of this file: it counts and returns, never throws and never keeps what it is given; the series of a hot path are found
 * when metrics are made or a policy is loaded, so that counting is an addition. A rule beyond the limit is `other` (threat-model.md L1).
 */
import type { Milliseconds } from '../base/clock.ts'
import type { ExchangeRecord } from '../model/exchange.ts'
import { ExchangeMetrics } from './exchanges.ts'
import {
  CACHES,
  type HANDSHAKE_LABELS,
  type RELOAD_KINDS,
  type SIDES,
  STORE_OPERATIONS,
} from './instruments.ts'
import { createRegistry, type Families } from './registry.ts'

export type MetricsOptions = {
  readonly version: string
  /** Commit that was built; "unknown" when nobody said. */
  readonly revision?: string
  /** Rules with a label value of their own; the others share `other`. */
  readonly maxRoutes?: number
  /** Metrics of the process and of Node; default true. */
  readonly processMetrics?: boolean
}

type Side = (typeof SIDES)[number]
type Sink = 'file' | 'stdout'
type HandshakeLabel = (typeof HANDSHAKE_LABELS)[number]
type StoreOperation = (typeof STORE_OPERATIONS)[number]
type ReloadKind = (typeof RELOAD_KINDS)[number]

/** Durations are milliseconds, times are milliseconds since 1970; the text has seconds. */
export type Metrics = {
  readonly contentType: string
  text(): Promise<string>
  /** Calls `run` before each scrape, to set gauges that are cheaper to ask for than to keep. */
  onScrape(run: () => void): void

  /** Counts an exchange that ended: an ExchangeObserver. */
  readonly observeExchange: (record: Readonly<ExchangeRecord>) => void
  readonly setInFlight: (count: number) => void
  readonly setConnections: (side: Side, count: number) => void
  readonly onTunnel: (mode: 'intercept' | 'passthrough', result: 'opened' | 'refused' | 'failed') => void
  readonly onUpstreamConnect: (phase: 'dns' | 'tcp' | 'tls', duration: Milliseconds) => void
  readonly onHandshake: (side: Side, result: HandshakeLabel) => void
  readonly onLeafMinted: (result: 'ok' | 'failed', duration: Milliseconds) => void
  /** A cache that the table does not name is counted as `other`. */
  readonly onCache: (cache: string, result: 'hit' | 'miss' | 'stale') => void
  readonly onEvict: (cache: string) => void
  readonly onStore: (operation: StoreOperation, result: 'ok' | 'failed', duration: Milliseconds) => void
  readonly setCaExpiry: (ca: 'current' | 'next', notAfter: number) => void
  /** A policy is in force: its hash, and the ids of its rules; beyond the limit they share `other`. */
  readonly setPolicy: (version: string, rules: readonly string[]) => void
  readonly onReload: (kind: ReloadKind, result: 'ok' | 'failed', wall: number) => void
  readonly setAuditQueue: (sink: Sink, queued: number, limit: number) => void
  /** An AuditObserver. */
  readonly audit: AuditMetrics
}

export type AuditMetrics = {
  onWritten(sink: Sink, records: number, duration: Milliseconds, wall: number): void
  onRetry(sink: Sink, records: number): void
  onDropped(sink: Sink, records: number): void
  onRefused(sink: Sink): void
  onCheckpoint(sink: Sink, wall: number): void
}

const DEFAULT_MAX_ROUTES = 20

/** Makes the metrics of one sidecar, every known series at 0. */
export async function createMetrics(options: MetricsOptions): Promise<Metrics> {
  const { families, ...registry } = await createRegistry(options.processMetrics ?? true)
  const beforeScrape: (() => void)[] = []
  const exchanges = new ExchangeMetrics(families, options.maxRoutes ?? DEFAULT_MAX_ROUTES)
  const { version, revision = 'unknown' } = options
  families.buildInfo.at(version, revision, process.version, process.versions.openssl ?? 'none').set(1)
  return {
    contentType: registry.contentType,
    onScrape: run => beforeScrape.push(run),
    text() {
      for (const run of beforeScrape) run()
      return registry.text()
    },
    observeExchange: record => exchanges.observe(record),
    setPolicy(hash, rules) {
      families.policyInfo.clear() // one series at a time
      families.policyInfo.at(hash).set(1)
      exchanges.setRoutes(rules)
    },
    ...houseMetrics(families),
    ...hotMetrics(families),
    audit: auditMetrics(families),
  }
}

function houseMetrics(families: Families) {
  return {
    setInFlight: (count: number) => families.inFlight.at().set(count),
    setConnections: (side: Side, count: number) => families.connections.at(side).set(count),
    onTunnel: (mode: 'intercept' | 'passthrough', result: 'opened' | 'refused' | 'failed') =>
      families.tunnels.at(mode, result).add(1),
    onUpstreamConnect: (phase: 'dns' | 'tcp' | 'tls', duration: Milliseconds) =>
      families.upstreamConnect.at(phase).observe(duration),
    onHandshake: (side: Side, result: HandshakeLabel) => families.handshakes.at(side, result).add(1),
    onLeafMinted(result: 'ok' | 'failed', duration: Milliseconds) {
      families.leafMints.at(result).add(1)
      families.leafDuration.at().observe(duration)
    },
    setCaExpiry: (ca: 'current' | 'next', notAfter: number) =>
      families.caNotAfter.at(ca).set(notAfter / 1000),
    onReload(kind: ReloadKind, result: 'ok' | 'failed', wall: number) {
      families.reloads.at(kind, result).add(1)
      families.reloadSuccessful.at(kind).set(result === 'ok' ? 1 : 0)
      if (result === 'ok') families.reloadTime.at(kind).set(wall / 1000)
    },
    setAuditQueue(sink: Sink, queued: number, limit: number) {
      families.auditQueue.at(sink).set(queued)
      families.auditQueueLimit.at(sink).set(limit)
    },
  }
}

// Bound once: these are asked on the way of every request.
function hotMetrics(families: Families) {
  const caches = new Map(
    CACHES.map(cache => [
      cache as string,
      {
        hit: families.cacheRequests.at(cache, 'hit'),
        miss: families.cacheRequests.at(cache, 'miss'),
        stale: families.cacheRequests.at(cache, 'stale'),
        evicted: families.cacheEvictions.at(cache),
      },
    ]),
  )
  const other = caches.get('other')
  const stores = new Map(
    STORE_OPERATIONS.map(operation => [
      operation as string,
      {
        ok: families.storeOperations.at(operation, 'ok'),
        failed: families.storeOperations.at(operation, 'failed'),
        duration: families.storeDuration.at(operation),
      },
    ]),
  )
  return {
    onCache: (cache: string, result: 'hit' | 'miss' | 'stale') =>
      (caches.get(cache) ?? other)?.[result].add(1),
    onEvict: (cache: string) => (caches.get(cache) ?? other)?.evicted.add(1),
    onStore(operation: StoreOperation, result: 'ok' | 'failed', duration: Milliseconds) {
      const store = stores.get(operation)
      store?.[result].add(1)
      store?.duration.observe(duration)
    },
  }
}

function auditMetrics(families: Families): AuditMetrics {
  return {
    onWritten(sink, records, duration, wall) {
      families.auditRecords.at(sink, 'written').add(records)
      families.auditDuration.at(sink).observe(duration)
      families.auditLastDurable.at(sink).set(wall / 1000)
    },
    onRetry: (sink, records) => families.auditRecords.at(sink, 'retried').add(records),
    onDropped: (sink, records) => families.auditDropped.at(sink).add(records),
    onRefused: sink => families.auditRefused.at(sink).add(1),
    onCheckpoint: (sink, wall) => families.auditLastCheckpoint.at(sink).set(wall / 1000),
  }
}
