/**
 * Makes the families of the table, with their known series at 0, and writes them out as Prometheus reads them.
 *
 * Rule of this file: prom-client is loaded here alone, and only when metrics are made (it costs 34 ms of a start).
 */
import { performance } from 'node:perf_hooks'
import type { Metric } from 'prom-client'
import { Buckets, Cell, Family, knownSeries } from './family.ts'
import { INSTRUMENTS, type Instrument, type InstrumentName } from './instruments.ts'

type FamilyOf<T extends Instrument> = T['type'] extends 'histogram' ? Family<Buckets> : Family<Cell>

export type Families = { readonly [N in InstrumentName]: FamilyOf<(typeof INSTRUMENTS)[N]> }

export type Registry = {
  readonly families: Families
  readonly contentType: string
  /** Everything in the text format. */
  text(): Promise<string>
}

/** @param processMetrics - also the `process_` and `nodejs_` metrics of prom-client; off in most tests. */
export async function createRegistry(processMetrics: boolean): Promise<Registry> {
  const { Registry: PromRegistry, collectDefaultMetrics } = await import('prom-client')
  const registry = new PromRegistry()
  const families = Object.fromEntries(
    Object.entries<Instrument>(INSTRUMENTS).map(([key, instrument]) => [key, familyOf(instrument)]),
  ) as unknown as Families
  // The registry uses name and get() of a metric, which a Family has; its type asks for a class of prom-client.
  for (const family of Object.values(families)) registry.registerMetric(family as unknown as Metric<string>)
  if (processMetrics) collectDefaultMetrics({ register: registry })
  let last = performance.eventLoopUtilization()
  return {
    families,
    contentType: registry.contentType,
    async text() {
      const now = performance.eventLoopUtilization()
      families.eventLoop.at().set(performance.eventLoopUtilization(now, last).utilization)
      last = now
      return registry.metrics()
    },
  }
}

function familyOf(instrument: Instrument): Family<Cell> | Family<Buckets> {
  const { buckets } = instrument
  const family =
    buckets === undefined
      ? new Family(instrument, () => new Cell())
      : new Family(instrument, () => new Buckets(buckets))
  for (const values of knownSeries(instrument, ['other'])) family.at(...values)
  return family
}
