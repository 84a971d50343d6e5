/**
 * Rules and dashboard speak of metrics that exist, point to runbooks that exist, and the dashboard is what its source makes.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { DASHBOARD_FILE, renderDashboard } from '../../scripts/dashboard.ts'
import { INSTRUMENTS, type Instrument } from '../../src/metrics/instruments.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

type Rule = {
  readonly record?: string
  readonly alert?: string
  readonly expr: string
  readonly labels?: Record<string, string>
  readonly annotations?: Record<string, string>
}
type Panel = {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } }
  readonly targets?: readonly { readonly expr: string; readonly refId: string }[]
}

const rules: Rule[] = parse(read('deploy/prometheus/rules.yaml')).groups.flatMap(
  (group: { rules: Rule[] }) => group.rules,
)
const alerts = rules.filter(rule => rule.alert !== undefined)
const dashboard: { panels: Panel[]; templating: { list: { name: string }[] } } = JSON.parse(renderDashboard())
const panels = dashboard.panels.filter(panel => panel.type !== 'row')
const queries = panels.flatMap(panel => (panel.targets ?? []).map(({ expr }) => expr))

const instruments: readonly Instrument[] = Object.values(INSTRUMENTS)
const series = new Set(
  instruments.flatMap(({ name, type }) =>
    type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
  ),
)

/** Names of ours in an expression, recording rules left out. */
function metricsIn(expr: string): string[] {
  return expr.match(/\bcloakroom_[a-z_]+/g) ?? []
}

/** Selectors of ours with their label matchers: metric, label, operator, value. */
function matchersIn(expr: string): { metric: string; label: string; value: string }[] {
  return [...expr.matchAll(/\b(cloakroom_[a-z_]+)\{([^}]*)\}/g)].flatMap(([, metric = '', inside = '']) =>
    [...inside.matchAll(/([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"/g)].map(([, label = '', value = '']) => ({
      metric,
      label,
      value,
    })),
  )
}

t.test('every metric in a rule or a panel exists', async t => {
  const unknown = [...rules.map(rule => rule.expr), ...queries]
    .flatMap(metricsIn)
    .filter(name => !series.has(name))

  t.same(unknown, [])
})

t.test('every label that a rule or a panel asks for exists, with that value', async t => {
  const wrong: string[] = []
  for (const { metric, label, value } of [...rules.map(rule => rule.expr), ...queries].flatMap(matchersIn)) {
    if (label === 'job' || label === 'instance') continue
    const instrument = instruments.find(
      ({ name }) => name === metric.replace(/_(bucket|sum|count)$/, '') || name === metric,
    )
    const values = instrument?.labels[label]
    const isEdge = label === 'le' && instrument?.buckets?.includes(Number(value)) === true
    if (!isEdge && !(Array.isArray(values) && values.includes(value)))
      wrong.push(`${metric}{${label}="${value}"}`)
  }

  t.same(wrong, [])
})

t.test('every recording rule that is used is defined', async t => {
  const defined = new Set(rules.map(rule => rule.record))
  const used = rules.flatMap(rule => rule.expr.match(/\bcloakroom:[a-z_:0-9]+/g) ?? [])

  t.same(
    used.filter(name => !defined.has(name)),
    [],
  )
})

t.test('every alert says how bad, what, why, and leads to a runbook that exists', async t => {
  const headings = new Set(
    [...read('docs/operations.md').matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replace(/[^a-z0-9 -]/g, '')
        .replaceAll(' ', '-'),
    ),
  )
  for (const { alert = '', labels, annotations } of alerts) {
    t.match(labels?.severity, /^(page|ticket|info)$/, alert)
    for (const field of ['summary', 'description', 'runbook_url'])
      t.ok(annotations?.[field], `${alert} ${field}`)
    const [page, anchor = ''] = (annotations?.runbook_url ?? '').split('#')
    t.equal(page, 'docs/operations.md')
    t.ok(headings.has(anchor), `${alert}: #${anchor}`)
  }
})

t.test('every alert has a test that fires it and one that does not', async t => {
  const tests = read('deploy/prometheus/rules.test.yaml')
  for (const { alert } of alerts) {
    const tested = [
      ...tests.matchAll(new RegExp(`alertname="${alert}"[^']*'\\n +exp_samples:( \\[\\])?`, 'g')),
    ]
    t.ok(
      tested.some(([, empty]) => empty === undefined),
      `${alert} fires`,
    )
    if (alert !== 'CloakroomCaExpiresSoon')
      t.ok(
        tested.some(([, empty]) => empty !== undefined),
        `${alert} does not`,
      )
  }
})

t.test('the dashboard file is what its source makes', async t => {
  t.equal(readFileSync(DASHBOARD_FILE, 'utf8'), renderDashboard())
})

t.test('panels do not overlap and have ids, titles, units and descriptions', async t => {
  t.equal(new Set(dashboard.panels.map(panel => panel.id)).size, dashboard.panels.length)
  t.equal(new Set(panels.map(panel => panel.title)).size, panels.length)
  const taken = new Map<string, string>()
  for (const { title, gridPos } of dashboard.panels) {
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        if (taken.has(`${x},${y}`)) t.fail(`${title} lies over ${taken.get(`${x},${y}`)}`)
        taken.set(`${x},${y}`, title)
        if (x >= 24) t.fail(`${title} stands out`)
      }
    }
  }
  for (const { title, description, fieldConfig, targets } of panels) {
    t.ok(title !== '' && description.endsWith('.'), title)
    t.ok(fieldConfig?.defaults.unit, `${title} has a unit`)
    t.ok((targets ?? []).length > 0, `${title} has a query`)
  }
})

t.test('queries go through the variables, and rates through the rate interval', async t => {
  t.same(
    dashboard.templating.list.map(({ name }) => name),
    ['datasource', 'job', 'instance'],
  )
  for (const query of queries) {
    t.match(query, /job=~"\$job", instance=~"\$instance"/)
    t.notMatch(query, /rate\([^)]*\[(?!\$__rate_interval\])/)
    t.notMatch(query, /(^|[^a-z(])cloakroom_[a-z_]+_total(?!\{)/, 'a counter is never shown bare')
    t.equal((query.match(/\(/g) ?? []).length, (query.match(/\)/g) ?? []).length, query)
  }
})
