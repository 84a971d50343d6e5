/**
 * promtool's word on our rules, their tests and our metrics text.
 *
 * Needs promtool (Debian: package prometheus). Where it is missing the cases are skipped by name, and in CI they fail.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { renderDashboard } from '../../scripts/dashboard.ts'
import { createMetrics } from '../../src/metrics/observe.ts'
import { exchange, refusal } from '../audit/fixtures.ts'

const RULES = join(import.meta.dirname, '..', '..', 'deploy', 'prometheus')
const isThere = spawnSync('promtool', ['--version']).status === 0
const isCi = process.env.CI !== undefined && process.env.CI !== ''

function promtool(args: readonly string[], input = ''): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { input, encoding: 'utf8', cwd: RULES })
  return { status, output: stdout + stderr }
}

function needsPromtool(name: string, run: (t: Test) => Promise<void>): void {
  if (isThere) t.test(name, run)
  else t.test(name, { skip: isCi ? false : 'promtool is missing' }, async t => t.fail('promtool is missing'))
}

needsPromtool('promtool takes the rules', async t => {
  const { status, output } = promtool(['check', 'rules', 'rules.yaml'])

  t.equal(status, 0, output)
})

needsPromtool('the tests of the rules pass', async t => {
  const { status, output } = promtool(['test', 'rules', 'rules.test.yaml'])

  t.equal(status, 0, output)
})

needsPromtool('every query of the dashboard is PromQL', async t => {
  const { panels } = JSON.parse(renderDashboard()) as { panels: { targets?: { expr: string }[] }[] }
  const queries = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
  const filled = queries.map(query => query.replaceAll('$__rate_interval', '1m').replaceAll('$__range', '6h'))
  const rules = filled.map((expr, i) => ({ record: `query:${i}`, expr }))
  const dir = t.testdir({ 'queries.yaml': JSON.stringify({ groups: [{ name: 'queries', rules }] }) })

  const { status, output } = promtool(['check', 'rules', join(dir, 'queries.yaml')])

  t.equal(status, 0, output)
})

needsPromtool('promtool has nothing to say against our metrics', async t => {
  const metrics = await createMetrics({ version: '0.1.0' })
  metrics.setPolicy('sha256:1', ['stripe-charges'])
  metrics.observeExchange(exchange({ timeToHead: 30, upstreamDuration: 20 }))
  metrics.observeExchange(refusal())

  const { output } = promtool(['check', 'metrics'], await metrics.text())

  t.same(
    output.split('\n').filter(line => line.startsWith('cloakroom_') || line.includes('error while linting')),
    [],
  )
})
