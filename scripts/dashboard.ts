/**
 * Writes deploy/grafana/cloakroom.json: the dashboard, as code.
 *
 * Rules of this file: classic JSON (Grafana 10 and later read it); every panel has a unit and a description; every rate uses
 * $__rate_interval; every query goes through the variables of the dashboard; the same input gives the same bytes.
 * Run it: node scripts/dashboard.ts
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const DASHBOARD_FILE = join(import.meta.dirname, '..', 'deploy', 'grafana', 'cloakroom.json')

type Query = { readonly expr: string; readonly legend: string }
type PanelKind = 'stat' | 'timeseries' | 'table'
type Unit = 'reqps' | 's' | 'percentunit' | 'binBps' | 'short' | 'ops' | 'dateTimeFromNow'
type Panel = {
  readonly kind: PanelKind
  readonly title: string
  readonly about: string
  readonly unit: Unit
  readonly queries: readonly Query[]
  /** Of 24; default 8. */
  readonly width?: number
  /** A stat turns red from here on. */
  readonly redFrom?: number
}
type Row = { readonly title: string; readonly panels: readonly Panel[] }

const GRID_WIDTH = 24
const HEIGHTS: Readonly<Record<PanelKind, number>> = { stat: 4, timeseries: 8, table: 8 }
const DATASOURCE = { type: 'prometheus', uid: '$datasource' }
const SCOPE = 'job=~"$job", instance=~"$instance"'

const rate = (metric: string, labels = '') =>
  `rate(${metric}{${SCOPE}${labels === '' ? '' : `, ${labels}`}}[$__rate_interval])`
const sum = (by: string, metric: string, labels = '') =>
  `sum${by === '' ? '' : ` by (${by})`} (${rate(metric, labels)})`
const quantile = (q: number, metric: string, labels = '') =>
  `histogram_quantile(${q}, sum by (le) (${rate(`${metric}_bucket`, labels)}))`
const quantiles = (metric: string, labels = ''): Query[] =>
  [0.5, 0.95, 0.99].map(q => ({ expr: quantile(q, metric, labels), legend: `p${q * 100}` }))
const ratio = (part: string, whole: string) => `${part} / (${whole} > 0)`

const ROWS: readonly Row[] = [
  {
    title: 'Now',
    panels: [
      {
        kind: 'stat',
        title: 'Requests',
        about: 'Requests that ended, of any outcome.',
        unit: 'reqps',
        width: 4,
        queries: [{ expr: sum('', 'cloakroom_requests_total'), legend: 'requests' }],
      },
      {
        kind: 'stat',
        title: 'Errors of ours',
        about: 'Share of requests that ended in an error of the sidecar; denials are not errors.',
        unit: 'percentunit',
        width: 4,
        redFrom: 0.001,
        queries: [
          {
            expr: ratio(
              sum('', 'cloakroom_requests_total', 'outcome="proxy_error"'),
              sum('', 'cloakroom_requests_total', 'outcome!="denied"'),
            ),
            legend: 'errors',
          },
        ],
      },
      {
        kind: 'stat',
        title: 'Our time, p99',
        about: 'What the sidecar adds to a request; waiting for upstreams and bodies is not in it.',
        unit: 's',
        width: 4,
        redFrom: 0.01,
        queries: [
          { expr: quantile(0.99, 'cloakroom_overhead_duration_seconds', 'phase="total"'), legend: 'p99' },
        ],
      },
      {
        kind: 'stat',
        title: 'Denials',
        about: 'Requests that policy, identity or validation refused.',
        unit: 'reqps',
        width: 4,
        queries: [{ expr: sum('', 'cloakroom_denials_total', 'mode="enforce"'), legend: 'denials' }],
      },
      {
        kind: 'stat',
        title: 'Audit records lost',
        about: 'In the time shown. Must be 0.',
        unit: 'short',
        width: 4,
        redFrom: 1,
        queries: [
          { expr: `sum(increase(cloakroom_audit_dropped_total{${SCOPE}}[$__range]))`, legend: 'lost' },
        ],
      },
      {
        kind: 'stat',
        title: 'CA ends',
        about: 'The earliest end of a CA certificate.',
        unit: 'dateTimeFromNow',
        width: 4,
        queries: [{ expr: `min(cloakroom_ca_not_after_timestamp_seconds{${SCOPE}}) * 1000`, legend: 'CA' }],
      },
    ],
  },
  {
    title: 'Traffic',
    panels: [
      {
        kind: 'timeseries',
        title: 'Requests by outcome',
        about: 'How requests ended.',
        unit: 'reqps',
        queries: [{ expr: sum('outcome', 'cloakroom_requests_total'), legend: '{{outcome}}' }],
      },
      {
        kind: 'timeseries',
        title: 'Requests by rule',
        about: 'Rules beyond metrics.maxRoutes share "other".',
        unit: 'reqps',
        queries: [{ expr: sum('route', 'cloakroom_requests_total'), legend: '{{route}}' }],
      },
      {
        kind: 'timeseries',
        title: 'Bytes',
        about: 'Carried in each direction, counted when an exchange ends.',
        unit: 'binBps',
        queries: [{ expr: sum('direction', 'cloakroom_transferred_bytes_total'), legend: '{{direction}}' }],
      },
      {
        kind: 'timeseries',
        title: 'Under way',
        about: 'Requests and connections that are open.',
        unit: 'short',
        queries: [
          { expr: `sum(cloakroom_in_flight_requests{${SCOPE}})`, legend: 'requests' },
          { expr: `sum by (side) (cloakroom_connections_open{${SCOPE}})`, legend: 'connections: {{side}}' },
        ],
      },
      {
        kind: 'timeseries',
        title: 'Tunnels',
        about: 'CONNECT requests: intercepted, or passed blind.',
        unit: 'reqps',
        queries: [{ expr: sum('mode, result', 'cloakroom_tunnels_total'), legend: '{{mode}} {{result}}' }],
      },
    ],
  },
  {
    title: 'Latency',
    panels: [
      {
        kind: 'timeseries',
        title: 'Our time',
        about: 'The sidecar alone.',
        unit: 's',
        queries: quantiles('cloakroom_overhead_duration_seconds', 'phase="total"'),
      },
      {
        kind: 'timeseries',
        title: 'Upstream',
        about: "From the request sent to the upstream's first byte.",
        unit: 's',
        queries: quantiles('cloakroom_upstream_duration_seconds'),
      },
      {
        kind: 'timeseries',
        title: 'As the caller sees it',
        about: 'To the first byte of the answer.',
        unit: 's',
        queries: quantiles('cloakroom_request_duration_seconds'),
      },
      {
        kind: 'timeseries',
        title: 'Our time by phase, mean',
        about: 'Where the time goes.',
        unit: 's',
        queries: [
          {
            expr: ratio(
              sum('phase', 'cloakroom_overhead_duration_seconds_sum'),
              sum('phase', 'cloakroom_overhead_duration_seconds_count'),
            ),
            legend: '{{phase}}',
          },
        ],
      },
      {
        kind: 'timeseries',
        title: 'Connecting upstream, p99',
        about: 'By phase.',
        unit: 's',
        queries: [
          {
            expr: `histogram_quantile(0.99, sum by (le, phase) (${rate('cloakroom_upstream_connect_duration_seconds_bucket')}))`,
            legend: '{{phase}}',
          },
        ],
      },
    ],
  },
  {
    title: 'Policy and secrets',
    panels: [
      {
        kind: 'timeseries',
        title: 'Denials by reason',
        about: 'swap_refused is every refused placeholder; the audit log has the reason.',
        unit: 'reqps',
        queries: [{ expr: sum('reason, mode', 'cloakroom_denials_total'), legend: '{{reason}} ({{mode}})' }],
      },
      {
        kind: 'timeseries',
        title: 'Swaps',
        about: 'Placeholders for credentials, and back.',
        unit: 'ops',
        queries: [
          {
            expr: sum('direction, location, result', 'cloakroom_swaps_total'),
            legend: '{{direction}} {{location}} {{result}}',
          },
        ],
      },
      {
        kind: 'timeseries',
        title: 'Credentials kept from callers',
        about: 'Found in answers and replaced.',
        unit: 'ops',
        queries: [{ expr: sum('', 'cloakroom_secret_leaks_blocked_total'), legend: 'blocked' }],
      },
      {
        kind: 'timeseries',
        title: 'Store',
        about: 'Operations on the secret store.',
        unit: 'ops',
        queries: [
          {
            expr: sum('operation, result', 'cloakroom_store_operations_total'),
            legend: '{{operation}} {{result}}',
          },
        ],
      },
      {
        kind: 'timeseries',
        title: 'Store, p99',
        about: 'Time of an operation.',
        unit: 's',
        queries: [{ expr: quantile(0.99, 'cloakroom_store_operation_duration_seconds'), legend: 'p99' }],
      },
      {
        kind: 'timeseries',
        title: 'Cache hits',
        about: 'Share of look-ups that found what they looked for.',
        unit: 'percentunit',
        queries: [
          {
            expr: ratio(
              sum('cache', 'cloakroom_cache_requests_total', 'result="hit"'),
              sum('cache', 'cloakroom_cache_requests_total'),
            ),
            legend: '{{cache}}',
          },
        ],
      },
    ],
  },
  {
    title: 'TLS',
    panels: [
      {
        kind: 'timeseries',
        title: 'Handshakes that failed',
        about: 'client unknown_ca: the app does not trust the sidecar.',
        unit: 'ops',
        width: 12,
        queries: [
          {
            expr: sum('side, result', 'cloakroom_tls_handshakes_total', 'result!="ok"'),
            legend: '{{side}} {{result}}',
          },
        ],
      },
      {
        kind: 'timeseries',
        title: 'Leaf certificates made',
        about: 'One for each intercepted host, then from the cache.',
        unit: 'ops',
        width: 12,
        queries: [{ expr: sum('result', 'cloakroom_leaf_certificates_minted_total'), legend: '{{result}}' }],
      },
    ],
  },
  {
    title: 'Audit',
    panels: [
      {
        kind: 'timeseries',
        title: 'Records',
        about: 'Written, and tried again.',
        unit: 'ops',
        queries: [
          { expr: sum('sink, result', 'cloakroom_audit_records_total'), legend: '{{sink}} {{result}}' },
        ],
      },
      {
        kind: 'timeseries',
        title: 'Write, p99',
        about: 'Time of one write of a batch.',
        unit: 's',
        queries: [{ expr: quantile(0.99, 'cloakroom_audit_write_duration_seconds'), legend: 'p99' }],
      },
      {
        kind: 'timeseries',
        title: 'Waiting, and refused requests',
        about: 'Records that wait; requests refused because they could not be recorded.',
        unit: 'short',
        queries: [
          { expr: `sum by (sink) (cloakroom_audit_queue_records{${SCOPE}})`, legend: 'waiting: {{sink}}' },
          {
            expr: sum('sink', 'cloakroom_audit_refused_requests_total'),
            legend: 'refused a second: {{sink}}',
          },
        ],
      },
    ],
  },
  {
    title: 'Process',
    panels: [
      {
        kind: 'timeseries',
        title: 'Event loop',
        about: 'Share of time that it is busy.',
        unit: 'percentunit',
        queries: [{ expr: `cloakroom_eventloop_utilization_ratio{${SCOPE}}`, legend: '{{instance}}' }],
      },
      {
        kind: 'timeseries',
        title: 'Processor',
        about: 'Cores used.',
        unit: 'short',
        queries: [{ expr: rate('process_cpu_seconds_total'), legend: '{{instance}}' }],
      },
      {
        kind: 'table',
        title: 'What runs',
        about: 'Versions, and the policy in force.',
        unit: 'short',
        queries: [
          { expr: `cloakroom_build_info{${SCOPE}}`, legend: 'build' },
          { expr: `cloakroom_policy_info{${SCOPE}}`, legend: 'policy' },
        ],
      },
    ],
  },
]

/** The dashboard as it lies in deploy/grafana, final newline included. */
export function renderDashboard(): string {
  const dashboard = {
    uid: 'cloakroom',
    title: 'Cloakroom',
    description: 'Credential-swapping sidecars: traffic, latency, policy, secrets, audit.',
    tags: ['cloakroom'],
    schemaVersion: 39,
    version: 1,
    editable: false,
    refresh: '30s',
    timezone: 'utc',
    time: { from: 'now-6h', to: 'now' },
    annotations: { list: [policyChanges()] },
    templating: { list: variables() },
    links: [],
    panels: layOut(ROWS),
  }
  return `${JSON.stringify(dashboard, undefined, 2)}\n`
}

function variables() {
  const ofBuild = (label: string, filter: string) => ({
    name: label,
    label,
    type: 'query',
    datasource: DATASOURCE,
    query: { query: `label_values(cloakroom_build_info${filter}, ${label})`, refId: label },
    refresh: 2,
    multi: true,
    includeAll: true,
    allValue: '.+',
    sort: 1,
  })
  return [
    { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus' },
    ofBuild('job', ''),
    ofBuild('instance', '{job=~"$job"}'),
  ]
}

function policyChanges() {
  return {
    name: 'policy',
    datasource: DATASOURCE,
    enable: true,
    iconColor: 'blue',
    expr: `cloakroom_policy_info{${SCOPE}} unless cloakroom_policy_info{${SCOPE}} offset 1m`,
    titleFormat: 'policy {{version}}',
  }
}

function layOut(rows: readonly Row[]): object[] {
  const panels: object[] = []
  let y = 0
  for (const row of rows) {
    const place = { h: 1, w: GRID_WIDTH, x: 0, y }
    panels.push({
      id: panels.length + 1,
      type: 'row',
      title: row.title,
      collapsed: false,
      gridPos: place,
      panels: [],
    })
    y++
    let x = 0
    let tallest = 0
    for (const panel of row.panels) {
      const w = panel.width ?? 8
      if (x + w > GRID_WIDTH) {
        x = 0
        y += tallest
        tallest = 0
      }
      const h = HEIGHTS[panel.kind]
      panels.push(panelJson(panel, panels.length + 1, { h, w, x, y }))
      x += w
      tallest = Math.max(tallest, h)
    }
    y += tallest
  }
  return panels
}

function panelJson(panel: Panel, id: number, gridPos: object): object {
  const { kind, title, about, unit, queries, redFrom } = panel
  const steps = [
    { color: 'green', value: null },
    ...(redFrom === undefined ? [] : [{ color: 'red', value: redFrom }]),
  ]
  return {
    id,
    type: kind,
    title,
    description: about,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: {
      defaults: {
        unit,
        min: unit === 'dateTimeFromNow' ? undefined : 0,
        thresholds: { mode: 'absolute', steps },
      },
      overrides: [],
    },
    options:
      kind === 'stat'
        ? { colorMode: redFrom === undefined ? 'none' : 'value', reduceOptions: { calcs: ['lastNotNull'] } }
        : {},
    targets: queries.map(({ expr, legend }, i) => ({
      refId: String.fromCharCode(65 + i),
      datasource: DATASOURCE,
      expr,
      legendFormat: legend,
      ...(kind === 'table' ? { format: 'table', instant: true } : {}),
    })),
  }
}

if (import.meta.main) writeFileSync(DASHBOARD_FILE, renderDashboard())
