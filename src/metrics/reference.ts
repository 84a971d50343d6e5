/**
 * Writes docs/metrics.md from the table, so that the page cannot be wrong about names and labels.
 */
import { INSTRUMENTS, type Instrument, ROUTES, UNIFORM_REASONS } from './instruments.ts'

/** The whole page, in Markdown. */
export function renderMetricsDoc(): string {
  const instruments: readonly Instrument[] = Object.values(INSTRUMENTS)
  return `${[
    '# Metrics',
    '',
    '<!-- Generated from src/metrics/instruments.ts by scripts/generate.ts. Do not edit. -->',
    '',
    'Served as Prometheus text on `/metrics` of the ops listener (default `127.0.0.1:9464`). Names, labels and their values are a',
    'contract: they are added to, and not changed. No label ever holds a host, a path, a tenant, a secret or anything else that',
    'comes from the network. Every series that can be known exists at 0 from the start.',
    '',
    '`route` is the id of the rule that decided, for the first `metrics.maxRoutes` rules (default 20) in the order of the policy;',
    'the others, and requests that no rule matched, share `other`.',
    '',
    '| name | type | labels | what it counts |',
    '|---|---|---|---|',
    ...instruments.map(row),
    '',
    '`process_*` and `nodejs_*` are those of prom-client 15. `nodejs_eventloop_lag_*` has a floor of 10 ms, its own resolution.',
    '',
    '## Values of labels',
    '',
    ...instruments.flatMap(labelRows),
    '',
    '`swap_refused` stands for every refusal that the caller gets as the one answer `SWAP_REFUSED`; the app can read this page of',
    `numbers as well, so they are not told apart here (the audit log does): ${UNIFORM_REASONS.map(code).join(', ')}.`,
    '',
    '## Buckets',
    '',
    ...instruments.flatMap(bucketRow),
  ].join('\n')}\n`
}

function row({ name, type, labels, help }: Instrument): string {
  return `| \`${name}\` | ${type} | ${Object.keys(labels).join(', ')} | ${help} |`
}

function labelRows({ name, labels }: Instrument): string[] {
  return Object.entries(labels)
    .filter(([, values]) => values !== ROUTES && values.length > 0)
    .map(
      ([label, values]) =>
        `- \`${name}\`, \`${label}\`: ${(values as readonly string[]).map(code).join(', ')}`,
    )
}

function bucketRow({ name, buckets }: Instrument): string[] {
  return buckets === undefined ? [] : [`- \`${name}\`: ${buckets.join(', ')} s`]
}

function code(text: string): string {
  return `\`${text}\``
}
