/**
 * Metrics: closed label sets, known series at 0, and numbers that move for what they say.
 */
import t from 'tap'
import {
  CACHES,
  DENIAL_REASONS,
  HANDSHAKE_LABELS,
  INSTRUMENTS,
  type Instrument,
} from '../../src/metrics/instruments.ts'
import { createMetrics, type Metrics } from '../../src/metrics/observe.ts'
import { renderMetricsDoc } from '../../src/metrics/reference.ts'
import { REASONS } from '../../src/model/decision.ts'
import { UPSTREAM_HANDSHAKE_RESULTS } from '../../src/net/failure.ts'
import { HANDSHAKE_RESULTS } from '../../src/tls/handshake.ts'
import { exchange, refusal } from '../audit/fixtures.ts'

const make = (maxRoutes = 20) => createMetrics({ version: '0.1.0', maxRoutes, processMetrics: false })

async function series(metrics: Metrics): Promise<Map<string, number>> {
  const lines = (await metrics.text()).split('\n').filter(line => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
}

/** The series that moved, with their new values. */
async function moved(metrics: Metrics, act: () => void): Promise<Record<string, number>> {
  const before = await series(metrics)
  act()
  const after = await series(metrics)
  return Object.fromEntries(
    [...after].filter(([name, value]) => before.get(name) !== value && !/eventloop|_bucket|_sum/.test(name)),
  )
}

t.test('nothing that comes from the network becomes a series', async t => {
  const metrics = await make()
  metrics.setPolicy('sha256:1', ['stripe-charges'])
  metrics.observeExchange(exchange())
  metrics.observeExchange(refusal())
  const before = new Set((await series(metrics)).keys())

  for (let i = 0; i < 10_000; i++) {
    const odd = {
      target: `https://h${i}.example:443`,
      path: `/p${i}`,
      method: `M${i}`,
      tenant: `t${i}`,
      caller: `c${i}`,
    }
    metrics.observeExchange(i % 2 === 0 ? exchange(odd) : refusal(odd))
    metrics.observeExchange(refusal({ ...odd, rule: `invented-${i}` }))
    metrics.onCache(`cache-${i}`, 'hit')
  }

  const text = await metrics.text()
  t.same(
    [...(await series(metrics)).keys()].filter(name => !before.has(name)),
    [],
  )
  t.notMatch(text, /h42\.example|\/p42|M42|c42|invented|cache-4|acme|xclk_|stripe\b(?!-charges)/)
})

t.test('rules beyond the limit share a label, also over reloads, and the overflow is counted', async t => {
  const metrics = await make(3)
  metrics.setPolicy('sha256:1', ['a', 'b', 'c', 'd'])
  metrics.setPolicy('sha256:2', ['e', 'f', 'a'])

  const changed = await moved(metrics, () => {
    for (const rule of ['a', 'd', 'e']) metrics.observeExchange(exchange({ rule }))
  })

  t.match(changed, {
    'cloakroom_requests_total{route="a",outcome="allowed",code_class="2xx"}': 1,
    'cloakroom_requests_total{route="other",outcome="allowed",code_class="2xx"}': 2,
    'cloakroom_label_overflow_total{metric="cloakroom_requests_total"}': 2,
  })
  t.notMatch(await metrics.text(), /route="[def]"/)
})

t.test('refusals that the caller must not tell apart are one number', async t => {
  for (const reason of [
    'placeholder_unknown',
    'placeholder_foreign',
    'secret_revoked',
    'placeholder_for_other_target',
  ] as const) {
    const metrics = await make()
    const outcome = { kind: 'denied', status: 403, error: 'SWAP_REFUSED', reason } as const
    const changed = await moved(metrics, () => metrics.observeExchange(refusal({ outcome })))

    t.equal(changed['cloakroom_denials_total{reason="swap_refused",mode="enforce"}'], 1, reason)
    t.notMatch(await metrics.text(), new RegExp(`"${reason}"`))
  }
})

t.test('every reason has a label, whatever it is', async t => {
  const metrics = await make()
  for (const reason of REASONS) {
    const outcome = { kind: 'denied', status: 403, error: 'POLICY_DENIED', reason } as const
    metrics.observeExchange(refusal({ outcome }))
  }

  let denied = 0
  for (const [name, value] of await series(metrics))
    if (name.startsWith('cloakroom_denials_total')) denied += value
  t.equal(denied, REASONS.length)
  t.ok(DENIAL_REASONS.length <= 40)
})

t.test('known series are there at 0 from the start', async t => {
  const metrics = await make()
  metrics.setPolicy('sha256:1', ['a'])

  const now = await series(metrics)

  for (const name of [
    'cloakroom_requests_total{route="a",outcome="proxy_error",code_class="5xx"}',
    'cloakroom_requests_total{route="other",outcome="denied",code_class="4xx"}',
    'cloakroom_denials_total{reason="no_rule",mode="observe"}',
    'cloakroom_audit_dropped_total{sink="file"}',
    'cloakroom_tls_handshakes_total{side="client",result="unknown_ca"}',
    'cloakroom_secret_leaks_blocked_total',
    'cloakroom_request_duration_seconds_count{route="a"}',
  ])
    t.equal(now.get(name), 0, name)
  t.ok(now.size < 500, `${now.size} series`)
})

t.test('a full set of rules stays within the budget of series', async t => {
  const metrics = await createMetrics({ version: '0.1.0' })
  metrics.setPolicy(
    'sha256:1',
    Array.from({ length: 100 }, (_, i) => `rule-${i}`),
  )

  t.ok((await series(metrics)).size < 950, `${(await series(metrics)).size} series`)
  t.match(await metrics.text(), /^process_cpu_seconds_total /m)
})

t.test('an exchange moves what it should and nothing else', async t => {
  const metrics = await make()
  metrics.setPolicy('sha256:1', ['stripe-charges'])

  const changed = await moved(metrics, () =>
    metrics.observeExchange(
      exchange({
        timeToHead: 30,
        upstreamDuration: 20,
        redactions: 2,
        phases: { policy: 0.1, secret: 0.2, swap_request: 0.3, audit: 0.4 },
      }),
    ),
  )

  t.same(changed, {
    'cloakroom_requests_total{route="stripe-charges",outcome="allowed",code_class="2xx"}': 1,
    'cloakroom_request_duration_seconds_count{route="stripe-charges"}': 1,
    cloakroom_upstream_duration_seconds_count: 1,
    ...Object.fromEntries(
      ['total', 'policy', 'secret', 'swap_request', 'audit'].map(phase => [
        `cloakroom_overhead_duration_seconds_count{phase="${phase}"}`,
        1,
      ]),
    ),
    'cloakroom_transferred_bytes_total{direction="to_upstream"}': 312,
    'cloakroom_transferred_bytes_total{direction="to_client"}': 1024,
    'cloakroom_swaps_total{direction="request",location="header",result="swapped"}': 1,
    'cloakroom_swaps_total{direction="response",location="other",result="swapped"}': 2,
    cloakroom_secret_leaks_blocked_total: 2,
  })
})

t.test('durations are written in seconds, and buckets add up', async t => {
  const metrics = await make()
  for (const duration of [0.4, 1, 1.5, 2000])
    metrics.observeExchange(exchange({ phases: { policy: duration, secret: 0, swap_request: 0, audit: 0 } }))

  const now = await series(metrics)

  const bucket = (le: string) =>
    now.get(`cloakroom_overhead_duration_seconds_bucket{phase="policy",le="${le}"}`)
  t.same([bucket('0.0005'), bucket('0.001'), bucket('0.0025'), bucket('1'), bucket('+Inf')], [1, 2, 3, 3, 4])
  t.equal(now.get('cloakroom_overhead_duration_seconds_sum{phase="policy"}'), 2.0029)
  t.equal(now.get('cloakroom_overhead_duration_seconds_count{phase="policy"}'), 4)
})

t.test('a swap that was never sent is not counted as swapped', async t => {
  const metrics = await make()
  const outcome = { kind: 'upstream_error', status: 502, error: 'UPSTREAM_REFUSED' } as const

  const changed = await moved(metrics, () => metrics.observeExchange(exchange({ sent: false, outcome })))

  t.equal(changed['cloakroom_swaps_total{direction="request",location="other",result="error"}'], 1)
  t.notOk(Object.keys(changed).some(name => name.includes('result="swapped"')))
})

t.test('what a rule in observe mode let through is counted as such', async t => {
  const metrics = await make()

  const changed = await moved(metrics, () =>
    metrics.observeExchange(exchange({ swaps: [], observed: 'path_not_allowed' })),
  )

  t.equal(changed['cloakroom_denials_total{reason="path_not_allowed",mode="observe"}'], 1)
  t.notOk(Object.keys(changed).some(name => name.includes('mode="enforce"')))
})

t.test('policy_info has one series at a time', async t => {
  const metrics = await make()
  metrics.setPolicy('sha256:1', [])
  metrics.setPolicy('sha256:2', [])

  const versions = [...(await series(metrics)).keys()].filter(name =>
    name.startsWith('cloakroom_policy_info'),
  )

  t.same(versions, ['cloakroom_policy_info{version="sha256:2"}'])
})

t.test('the house moves its own numbers', async t => {
  const metrics = await make()
  metrics.onScrape(() => metrics.setAuditQueue('file', 7, 10_000))

  const changed = await moved(metrics, () => {
    metrics.setInFlight(3)
    metrics.setConnections('client', 5)
    metrics.onTunnel('passthrough', 'opened')
    metrics.onHandshake('client', 'unknown_ca')
    metrics.onLeafMinted('ok', 2)
    metrics.onCache('leaf_cert', 'hit')
    metrics.onEvict('leaf_cert')
    metrics.onStore('locate', 'failed', 1)
    metrics.onUpstreamConnect('dns', 1)
    metrics.setCaExpiry('current', 1_800_000_000_000)
    metrics.onReload('policy', 'ok', 1_700_000_000_000)
    metrics.audit.onWritten('file', 4, 2, 1_700_000_000_000)
    metrics.audit.onCheckpoint('file', 1_700_000_001_000)
    metrics.audit.onRefused('file')
    metrics.audit.onDropped('stdout', 3)
    metrics.audit.onRetry('file', 2)
  })

  t.match(changed, {
    cloakroom_in_flight_requests: 3,
    'cloakroom_connections_open{side="client"}': 5,
    'cloakroom_tunnels_total{mode="passthrough",result="opened"}': 1,
    'cloakroom_tls_handshakes_total{side="client",result="unknown_ca"}': 1,
    'cloakroom_leaf_certificates_minted_total{result="ok"}': 1,
    'cloakroom_cache_requests_total{cache="leaf_cert",result="hit"}': 1,
    'cloakroom_cache_evictions_total{cache="leaf_cert"}': 1,
    'cloakroom_store_operations_total{operation="locate",result="failed"}': 1,
    'cloakroom_upstream_connect_duration_seconds_count{phase="dns"}': 1,
    'cloakroom_ca_not_after_timestamp_seconds{ca="current"}': 1_800_000_000,
    'cloakroom_config_reloads_total{kind="policy",result="ok"}': 1,
    'cloakroom_config_last_reload_successful{kind="policy"}': 1,
    'cloakroom_audit_records_total{sink="file",result="written"}': 4,
    'cloakroom_audit_records_total{sink="file",result="retried"}': 2,
    'cloakroom_audit_dropped_total{sink="stdout"}': 3,
    'cloakroom_audit_refused_requests_total{sink="file"}': 1,
    'cloakroom_audit_last_checkpoint_timestamp_seconds{sink="file"}': 1_700_000_001,
  })
  t.equal((await series(metrics)).get('cloakroom_audit_queue_records{sink="file"}'), 7)
})

t.test('the label sets hold what their sources can say', async t => {
  const labels: readonly string[] = HANDSHAKE_LABELS
  t.same(
    [...HANDSHAKE_RESULTS, ...UPSTREAM_HANDSHAKE_RESULTS].filter(result => !labels.includes(result)),
    [],
  )
  t.ok(CACHES.includes('leaf_cert'))
})

t.test('names, units and help follow the conventions of Prometheus', async t => {
  const instruments: readonly Instrument[] = Object.values(INSTRUMENTS)
  t.equal(new Set(instruments.map(({ name }) => name)).size, instruments.length)
  for (const { name, type, help, buckets } of instruments) {
    t.match(name, /^cloakroom_[a-z]+(_[a-z]+)*$/)
    t.equal(type === 'counter', name.endsWith('_total'), name)
    t.equal(type === 'histogram', buckets !== undefined, name)
    if (type === 'histogram') t.match(name, /_seconds$/)
    t.match(help, /^[A-Z0-9].*\.$/, name)
    t.same(buckets, buckets === undefined ? undefined : [...buckets].sort((a, b) => a - b))
  }
})

t.test('the page names every metric', async t => {
  const page = renderMetricsDoc()

  for (const { name } of Object.values(INSTRUMENTS)) t.match(page, new RegExp(`\\| \`${name}\` \\|`))
})
