/**
 * What the benchmark found, for people and for machines. Medians over rounds, with the least and the most beside them.
 */
import type { Sample } from './children.ts'

/** All rounds of one route in one scenario. */
export type Cell = { readonly name: string; readonly scenario: string; readonly samples: readonly Sample[] }

export type Row = {
  readonly name: string
  readonly scenario: string
  readonly requestsPerSecond: number
  readonly cpuMicrosPerRequest: number
  readonly p50Micros: number
  readonly p99Micros: number
  readonly rssBytes: number
}

export type Report = { readonly rows: readonly Row[]; readonly ratios: Readonly<Record<string, number>> }

type Figure = (sample: Sample) => number

const FIGURES = {
  requestsPerSecond: sample => sample.requests / sample.seconds,
  cpuMicrosPerRequest: sample => sample.cpuMicrosPerRequest,
  p50Micros: sample => sample.p50Micros,
  p99Micros: sample => sample.p99Micros,
  rssBytes: sample => sample.rssBytes,
} as const satisfies Record<string, Figure>

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const [low = 0, high = 0] = [sorted[middle - 1 + (sorted.length % 2)], sorted[middle]]
  return (low + high) / 2
}

const one = (number: number): number => Math.round(number * 10) / 10

function rowOf({ name, scenario, samples }: Cell): Row {
  const figure = (of: Figure) => one(median(samples.map(of)))
  return {
    name,
    scenario,
    requestsPerSecond: figure(FIGURES.requestsPerSecond),
    cpuMicrosPerRequest: figure(FIGURES.cpuMicrosPerRequest),
    p50Micros: figure(FIGURES.p50Micros),
    p99Micros: figure(FIGURES.p99Micros),
    rssBytes: figure(FIGURES.rssBytes),
  }
}

// Round by round, and then the median: what slows the machine for a while slows both.
function ratio(cell: Cell, base: Cell, of: Figure): number {
  const each = cell.samples.map((sample, i) => {
    const other = base.samples[i]
    return other === undefined ? Number.NaN : of(sample) / of(other)
  })
  return Math.round(median(each) * 1000) / 1000
}

/** Every ratio has a named baseline of the same run (rulings.md 33). */
export function reportOf(cells: readonly Cell[]): Report {
  const ratios: Record<string, number> = {}
  for (const cell of cells) {
    const others = cells.filter(({ scenario, name }) => scenario === cell.scenario && name !== cell.name)
    for (const base of others) {
      const label = `${cell.scenario}: ${cell.name} / ${base.name}`
      if (base.name === 'direct') ratios[`p50, ${label}`] = ratio(cell, base, FIGURES.p50Micros)
      if (base.name === 'direct') ratios[`requests, ${label}`] = ratio(cell, base, FIGURES.requestsPerSecond)
      const isCompared = cell.name === 'cloakroom' && !base.name.startsWith('direct')
      if (isCompared) ratios[`cpu, ${label}`] = ratio(cell, base, FIGURES.cpuMicrosPerRequest)
    }
  }
  return { rows: cells.map(rowOf), ratios }
}

/** The table that a person reads. */
export function tableOf(cells: readonly Cell[]): string {
  const lines = [
    ['', 'requests/s', 'CPU µs/request', 'p50 µs', 'added p50', 'p99 µs', 'RSS MB'],
    ...cells.map(cell => lineOf(cell, cells)),
  ]
  const widths = (lines[0] ?? []).map((_, column) =>
    Math.max(...lines.map(line => (line[column] ?? '').length)),
  )
  const text: string[] = []
  let scenario = ''
  const write = (line: readonly string[]) =>
    text.push(
      line
        .map((field, i) => (i === 0 ? field.padEnd(widths[i] ?? 0) : field.padStart(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
  write(lines[0] ?? [])
  for (const [i, cell] of cells.entries()) {
    if (cell.scenario !== scenario) text.push('', `${cell.scenario}`)
    scenario = cell.scenario
    write(lines[i + 1] ?? [])
  }
  return text.join('\n')
}

function lineOf(cell: Cell, cells: readonly Cell[]): string[] {
  const row = rowOf(cell)
  const direct = cells.find(({ scenario, name }) => scenario === cell.scenario && name === 'direct')
  const added = direct === undefined ? 0 : row.p50Micros - rowOf(direct).p50Micros
  const isProxy = row.cpuMicrosPerRequest > 0
  return [
    `  ${cell.name}`,
    `${Math.round(row.requestsPerSecond)} ${rangeOf(cell, FIGURES.requestsPerSecond)}`,
    isProxy ? `${row.cpuMicrosPerRequest} ${rangeOf(cell, FIGURES.cpuMicrosPerRequest)}` : '-',
    `${Math.round(row.p50Micros)} ${rangeOf(cell, FIGURES.p50Micros)}`,
    cell === direct ? '' : `${added >= 0 ? '+' : ''}${Math.round(added)}`,
    String(Math.round(row.p99Micros)),
    isProxy ? String(Math.round(row.rssBytes / (1 << 20))) : '-',
  ]
}

function rangeOf({ samples }: Cell, of: Figure): string {
  const all = samples.map(of)
  return `(${Math.round(Math.min(...all))}–${Math.round(Math.max(...all))})`
}
