/**
 * `npm run bench`: what Cloakroom adds to a request, in time and in CPU, against the same request sent directly.
 *
 *   npm run bench [-- --quick] [--json] [--peers] [--rounds=5] [--only=TEXT] [--route=NAME] [--profile=DIRECTORY]
 *
 * Real processes on loopback, TLS on both legs, keep-alive; the sidecar has everything on: policy, swap, audit on disk, redaction,
 * metrics. Rounds are interleaved (A B A B), medians are shown with the least and the most, and `direct again` shows the noise.
 * Method and numbers: docs/performance.md.
 */
import { parseArgs } from 'node:util'
import { isPinned, measure, type Sample } from './children.ts'
import { startPeers } from './peers.ts'
import { type Cell, reportOf, tableOf } from './report.ts'
import { createCleanup, directRoutes, HOST, type Route, startSidecar, startUpstream } from './scene.ts'

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    peers: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    profile: { type: 'string' },
    only: { type: 'string', default: '' },
    route: { type: 'string' },
  },
})

type Scenario = {
  readonly name: string
  readonly path: string
  readonly connections: number
  readonly isFresh?: boolean
  readonly warmUpMs?: number
  /** Part of --quick. */
  readonly isQuick?: boolean
}

const SCENARIOS: readonly Scenario[] = [
  { name: '1 KB, 1 connection', path: '/small', connections: 1, isQuick: true },
  { name: '1 KB, 16 connections', path: '/small', connections: 16, isQuick: true },
  { name: '1 KB, 64 connections', path: '/small', connections: 64 },
  { name: '100 KB, 16 connections', path: '/large', connections: 16, isQuick: true },
  { name: '100 KB, 64 connections', path: '/large', connections: 64 },
  {
    name: '1 KB, a connection for each request, 16 at a time',
    path: '/small',
    connections: 16,
    isFresh: true,
  },
]

const WARM_UP: Scenario = {
  name: 'warm-up',
  path: '/small',
  connections: 16,
  warmUpMs: options.quick ? 1000 : 6000,
}

const ROUNDS = Number(options.rounds ?? (options.quick ? 2 : 5))
const TIMES = options.quick ? { warmUpMs: 300, measureMs: 500 } : { warmUpMs: 700, measureMs: 2000 }

const say = (text: string) => process.stderr.write(`${text}\n`)

function run(scenario: Scenario, route: Route): Promise<Sample> {
  const { connections, isFresh = false, warmUpMs = TIMES.warmUpMs } = scenario
  const { port, authority, ca, authorization, prefix, pids } = route
  const path = `${prefix}${scenario.path}`
  return measure(
    { port, authority, ca, authorization, path, host: HOST, connections, isFresh, ...TIMES, warmUpMs },
    pids,
  )
}

async function runAll(routes: readonly Route[]): Promise<readonly Cell[]> {
  const scenarios = SCENARIOS.filter(
    ({ name, isQuick }) => (isQuick === true || !options.quick) && name.includes(options.only),
  )
  // A sidecar that has just started runs code that is not compiled yet; what it costs then is not what it costs.
  for (const route of routes) if (route.pids.length > 0) await run(WARM_UP, route)
  const cells = scenarios.flatMap(scenario =>
    routes.map(route => ({ scenario, route, samples: [] as Sample[] })),
  )
  for (let round = 0; round < ROUNDS; round++) {
    say(`round ${round + 1} of ${ROUNDS}`)
    for (const { scenario, route, samples } of cells) samples.push(await run(scenario, route))
  }
  return cells.map(({ scenario, route, samples }) => ({ name: route.name, scenario: scenario.name, samples }))
}

const cleanup = createCleanup()
try {
  const upstream = await startUpstream(cleanup)
  const sidecar = await startSidecar(cleanup, upstream, options.profile)
  const peers = options.peers ? await startPeers(cleanup, upstream) : { routes: [], missing: [] }
  for (const name of peers.missing) say(`${name} is not installed`)
  if (!isPinned) say('taskset is missing: processes share the cores, and the numbers are less steady')
  const routes = [...directRoutes(upstream), ...sidecar, ...peers.routes]
  const cells = await runAll(routes.filter(({ name }) => name === (options.route ?? name)))
  process.stdout.write(`${options.json ? JSON.stringify(reportOf(cells), null, 2) : tableOf(cells)}\n`)
  const { armed, bare, sample } = await upstream.tally()
  // A fast proxy that forgets the swap would win every comparison.
  if (bare > 0 || armed === 0) throw new Error(`${bare} requests came without the credential: ${sample}`)
} finally {
  await cleanup.run()
}
