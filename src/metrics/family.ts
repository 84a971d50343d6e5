/**
 * Counters, gauges and histograms whose series are plain cells: found once, then counted without any look-up.
 *
 * Rule of this file: prom-client writes them out (`get` gives what its registry asks of a metric) but does not count: its bound children
 * hash their labels at each call, which is 20 times the cost of what happens here, a dozen times in every request.
 */
import { invariant } from '../base/assert.ts'
import { type Instrument, ROUTES } from './instruments.ts'

/** One series of a counter or gauge. */
export class Cell {
  value = 0

  add(amount: number): void {
    this.value += amount
  }

  set(value: number): void {
    this.value = value
  }
}

/** One histogram: its buckets are counted apart, and summed up when they are read. */
export class Buckets {
  readonly edges: readonly number[]
  readonly counts: Float64Array
  sum = 0

  constructor(edges: readonly number[]) {
    this.edges = edges
    this.counts = new Float64Array(edges.length + 1)
  }

  /** Takes a duration in milliseconds. */
  observe(millis: number): void {
    const duration = millis / 1000
    let i = 0
    while (i < this.edges.length && duration > (this.edges[i] ?? 0)) i++
    this.counts[i] = (this.counts[i] ?? 0) + 1
    this.sum += duration
  }
}

type Labels = Readonly<Record<string, string>>
type Sample = { readonly metricName?: string; readonly labels: Labels; readonly value: number }

type Kept<S> = { readonly labels: Labels; readonly series: S; isKnown: boolean }

/** All series of one instrument. `S` is Cell or Buckets. */
export class Family<S extends Cell | Buckets> {
  readonly name: string
  readonly help: string
  readonly type: Instrument['type']
  readonly #labels: readonly string[]
  readonly #make: () => S
  readonly #series = new Map<string, Kept<S>>()

  constructor(instrument: Instrument, make: () => S) {
    this.name = instrument.name
    this.help = instrument.help
    this.type = instrument.type
    this.#labels = Object.keys(instrument.labels)
    this.#make = make
  }

  /** The series with these label values, in the order of the table; it exists at 0 from now on. */
  at(...values: readonly string[]): S {
    const kept = this.#find(values)
    kept.isKnown = true
    return kept.series
  }

  /** The same, but for a rare one: it is not written out before it has counted something. */
  whenSeen(...values: readonly string[]): S {
    return this.#find(values).series
  }

  #find(values: readonly string[]): Kept<S> {
    invariant(values.length === this.#labels.length, 'a value for each label')
    const id = values.join('\0')
    const existing = this.#series.get(id)
    if (existing !== undefined) return existing
    const labels = Object.fromEntries(this.#labels.map((label, i) => [label, values[i] ?? '']))
    const kept: Kept<S> = { labels, series: this.#make(), isKnown: false }
    this.#series.set(id, kept)
    return kept
  }

  /** Forgets every series: for an `_info` whose label changes. */
  clear(): void {
    this.#series.clear()
  }

  /** What prom-client's registry asks for. */
  async get(): Promise<{ name: string; help: string; type: string; values: Sample[] }> {
    const values = [...this.#series.values()].flatMap(({ labels, series, isKnown }) => {
      if (series instanceof Buckets) return bucketSamples(this.name, labels, series)
      return isKnown || series.value !== 0 ? [{ labels, value: series.value }] : []
    })
    return { name: this.name, help: this.help, type: this.type, values }
  }
}

function bucketSamples(name: string, labels: Labels, buckets: Buckets): Sample[] {
  let total = 0
  const samples: Sample[] = []
  for (const [i, count] of buckets.counts.entries()) {
    total += count
    const le = String(buckets.edges[i] ?? '+Inf')
    samples.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: total })
  }
  samples.push({ metricName: `${name}_sum`, labels, value: buckets.sum })
  samples.push({ metricName: `${name}_count`, labels, value: total })
  return samples
}

/** The combinations that exist from the start, with `routes` for the label of rules. */
export function knownSeries(instrument: Instrument, routes: readonly string[]): string[][] {
  const sets = Object.values(instrument.labels)
  if (instrument.known === 'none') return []
  if (instrument.known === undefined) {
    return sets.reduce<string[][]>((rows, set) => cross(rows, set === ROUTES ? routes : set), [[]])
  }
  const rows = instrument.known.map(row => [...row])
  return sets[0] === ROUTES ? routes.flatMap(route => rows.map(row => [route, ...row])) : rows
}

function cross(rows: string[][], values: readonly string[]): string[][] {
  return rows.flatMap(row => values.map(value => [...row, value]))
}
