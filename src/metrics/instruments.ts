/**
 * Every metric that Cloakroom has, in one table. docs/metrics.md is generated from it; names and labels are a contract.
 *
 * Rules of this file. Labels come from closed sets that stand here: nothing from the network, no host, path, tenant, secret or
 * placeholder ever becomes one (threat-model.md L1). The one set that grows is that of rule ids, and it has a limit. Every series that can
 * be known exists at 0 from the start, so that a ratio over a healthy sidecar is 0 and not "no data". Base units; `_total` on counters.
 */
import { LOCATION_KINDS, REASONS, type Reason } from '../model/decision.ts'
import { OUTCOMES } from '../model/exchange.ts'

/** The label `route`: rule ids, set when a policy is loaded, and `other`. */
export const ROUTES = 'routes'

export type LabelSet = readonly string[] | typeof ROUTES

export type Instrument = {
  readonly name: `cloakroom_${string}`
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly labels: Readonly<Record<string, LabelSet>>
  /** Upper edges, in seconds. */
  readonly buckets?: readonly number[]
  /** The combinations that exist at 0 from the start; absent: all; 'none': those that are seen (an `_info`, say). */
  readonly known?: readonly (readonly string[])[] | 'none'
}

/**
 * Refusals that the caller must not be able to tell apart: one label (rulings.md 11). /metrics is on loopback, where the app is too.
 */
export const UNIFORM_REASONS = [
  'placeholder_unknown',
  'placeholder_foreign',
  'placeholder_damaged',
  'placeholder_misplaced',
  'placeholder_not_allowed',
  'placeholder_for_other_target',
  'placeholder_too_many',
  'secret_disabled',
  'secret_revoked',
  'secret_expired',
  'secret_not_yet_valid',
  'target_not_secure',
  'target_is_address',
] as const satisfies readonly Reason[]
export const SWAP_REFUSED_LABEL = 'swap_refused'

const uniform: ReadonlySet<Reason> = new Set(UNIFORM_REASONS)
export const DENIAL_REASONS = [...REASONS.filter(reason => !uniform.has(reason)), SWAP_REFUSED_LABEL, 'other']

/** The value of the label `reason` for a reason of the audit record. */
export function reasonLabel(reason: Reason | undefined): string {
  if (reason === undefined) return 'other'
  return uniform.has(reason) ? SWAP_REFUSED_LABEL : reason
}

export const CODE_CLASSES = ['1xx', '2xx', '3xx', '4xx', '5xx', 'none'] as const
export const PHASES = ['total', 'policy', 'secret', 'swap_request', 'audit'] as const
export const SIDES = ['client', 'upstream'] as const
export const CACHES = ['secret', 'tenant_key', 'leaf_cert', 'dns', 'other'] as const
export const HANDSHAKE_LABELS = [
  'ok',
  'unknown_ca',
  'bad_certificate',
  'expired',
  'protocol_version',
  'no_cipher',
  'no_protocol',
  'sni_mismatch',
  'timeout',
  'reset',
  'other',
] as const
export const STORE_OPERATIONS = ['locate', 'open', 'changes', 'write', 'read'] as const
export const RELOAD_KINDS = ['policy', 'store', 'ca'] as const
const SINKS = ['file', 'stdout'] as const
const OK_FAILED = ['ok', 'failed'] as const

const TIMES = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]
const SHORT_TIMES = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1]
const STORE_TIMES = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1]

export const INSTRUMENTS = {
  requests: {
    name: 'cloakroom_requests_total',
    type: 'counter',
    help: 'Requests that ended, by rule, how they ended, and class of the status that the caller got.',
    labels: { route: ROUTES, outcome: OUTCOMES, code_class: CODE_CLASSES },
    // Of the 30 combinations these are the ones that come about; others appear when they are seen.
    known: [
      ['allowed', '2xx'],
      ['allowed', '3xx'],
      ['allowed', '4xx'],
      ['allowed', '5xx'],
      ['denied', '4xx'],
      ['upstream_error', '5xx'],
      ['proxy_error', '5xx'],
      ['client_abort', 'none'],
    ],
  },
  requestDuration: {
    name: 'cloakroom_request_duration_seconds',
    type: 'histogram',
    help: "From the request's first byte to the answer's first byte, as the caller sees it.",
    labels: { route: ROUTES },
    buckets: TIMES,
  },
  overhead: {
    name: 'cloakroom_overhead_duration_seconds',
    type: 'histogram',
    help: 'Time that Cloakroom itself takes for a request, by phase; no waiting for the upstream, bodies or the caller is in it.',
    labels: { phase: PHASES },
    buckets: SHORT_TIMES,
  },
  upstreamDuration: {
    name: 'cloakroom_upstream_duration_seconds',
    type: 'histogram',
    help: "From the request's last byte sent to the upstream's first byte.",
    labels: {},
    buckets: TIMES,
  },
  upstreamConnect: {
    name: 'cloakroom_upstream_connect_duration_seconds',
    type: 'histogram',
    help: 'Making a connection to an upstream, by phase.',
    labels: { phase: ['dns', 'tcp', 'tls'] },
    buckets: TIMES,
  },
  inFlight: {
    name: 'cloakroom_in_flight_requests',
    type: 'gauge',
    help: 'Requests under way.',
    labels: {},
  },
  connections: {
    name: 'cloakroom_connections_open',
    type: 'gauge',
    help: 'Open connections, by side.',
    labels: { side: SIDES },
  },
  tunnels: {
    name: 'cloakroom_tunnels_total',
    type: 'counter',
    help: 'CONNECT requests, by what was done with them: intercepted, or passed blind.',
    labels: { mode: ['intercept', 'passthrough'], result: ['opened', 'refused', 'failed'] },
  },
  transferred: {
    name: 'cloakroom_transferred_bytes_total',
    type: 'counter',
    help: 'Bytes carried, by direction; counted when the exchange ends.',
    labels: { direction: ['to_upstream', 'to_client'] },
  },
  denials: {
    name: 'cloakroom_denials_total',
    type: 'counter',
    help: 'Requests denied (mode enforce), or that would have been (mode observe), by reason; all refused swaps are one.',
    labels: { reason: DENIAL_REASONS, mode: ['enforce', 'observe'] },
  },
  swaps: {
    name: 'cloakroom_swaps_total',
    type: 'counter',
    help: 'Placeholders swapped for credentials (request) and credentials for placeholders (response); refused ones are not told apart.',
    labels: {
      direction: ['request', 'response'],
      location: LOCATION_KINDS,
      result: ['swapped', 'refused', 'error'],
    },
    known: [
      ...LOCATION_KINDS.map(location => ['request', location, 'swapped']),
      ['request', 'other', 'refused'],
      ['request', 'other', 'error'],
      ['response', 'other', 'swapped'],
    ],
  },
  leaks: {
    name: 'cloakroom_secret_leaks_blocked_total',
    type: 'counter',
    help: 'Credentials found in answers and kept from the caller.',
    labels: {},
  },
  storeOperations: {
    name: 'cloakroom_store_operations_total',
    type: 'counter',
    help: 'Operations on the secret store.',
    labels: { operation: STORE_OPERATIONS, result: OK_FAILED },
  },
  storeDuration: {
    name: 'cloakroom_store_operation_duration_seconds',
    type: 'histogram',
    help: 'Time of operations on the secret store.',
    labels: { operation: STORE_OPERATIONS },
    buckets: STORE_TIMES,
  },
  cacheRequests: {
    name: 'cloakroom_cache_requests_total',
    type: 'counter',
    help: 'Look-ups in caches.',
    labels: { cache: CACHES, result: ['hit', 'miss', 'stale'] },
  },
  cacheEvictions: {
    name: 'cloakroom_cache_evictions_total',
    type: 'counter',
    help: 'Entries that a cache gave up for want of room.',
    labels: { cache: CACHES },
  },
  handshakes: {
    name: 'cloakroom_tls_handshakes_total',
    type: 'counter',
    help: 'TLS handshakes by side and result; unknown_ca on the client side means that the app does not trust our CA.',
    labels: { side: SIDES, result: HANDSHAKE_LABELS },
  },
  leafMints: {
    name: 'cloakroom_leaf_certificates_minted_total',
    type: 'counter',
    help: 'Leaf certificates made for intercepted hosts.',
    labels: { result: OK_FAILED },
  },
  leafDuration: {
    name: 'cloakroom_leaf_mint_duration_seconds',
    type: 'histogram',
    help: 'Time to make a leaf certificate.',
    labels: {},
    buckets: SHORT_TIMES,
  },
  caNotAfter: {
    name: 'cloakroom_ca_not_after_timestamp_seconds',
    type: 'gauge',
    help: 'When the CA certificate ends.',
    labels: { ca: ['current', 'next'] },
    known: 'none',
  },
  auditRecords: {
    name: 'cloakroom_audit_records_total',
    type: 'counter',
    help: 'Audit records, by sink: durable, or tried and to be tried again.',
    labels: { sink: SINKS, result: ['written', 'retried'] },
  },
  auditDropped: {
    name: 'cloakroom_audit_dropped_total',
    type: 'counter',
    help: 'Audit records that were given up; must stay 0. No credential has left without its record all the same.',
    labels: { sink: SINKS },
  },
  auditRefused: {
    name: 'cloakroom_audit_refused_requests_total',
    type: 'counter',
    help: 'Requests refused because their record could not be written down.',
    labels: { sink: SINKS },
  },
  auditQueue: {
    name: 'cloakroom_audit_queue_records',
    type: 'gauge',
    help: 'Audit records that wait to be written.',
    labels: { sink: SINKS },
  },
  auditQueueLimit: {
    name: 'cloakroom_audit_queue_limit_records',
    type: 'gauge',
    help: 'Audit records that may wait before requests are refused.',
    labels: { sink: SINKS },
  },
  auditLastDurable: {
    name: 'cloakroom_audit_last_durable_timestamp_seconds',
    type: 'gauge',
    help: 'When a record was last durable.',
    labels: { sink: SINKS },
    known: 'none',
  },
  auditLastCheckpoint: {
    name: 'cloakroom_audit_last_checkpoint_timestamp_seconds',
    type: 'gauge',
    help: 'When a signed checkpoint was last durable.',
    labels: { sink: SINKS },
    known: 'none',
  },
  auditDuration: {
    name: 'cloakroom_audit_write_duration_seconds',
    type: 'histogram',
    help: 'Time of one write of a batch of records.',
    labels: { sink: SINKS },
    buckets: SHORT_TIMES,
  },
  reloads: {
    name: 'cloakroom_config_reloads_total',
    type: 'counter',
    help: 'Attempts to load a changed file.',
    labels: { kind: RELOAD_KINDS, result: OK_FAILED },
  },
  reloadSuccessful: {
    name: 'cloakroom_config_last_reload_successful',
    type: 'gauge',
    help: '1 when the last attempt worked; 0 when the last good state is still in force.',
    labels: { kind: RELOAD_KINDS },
    known: 'none',
  },
  reloadTime: {
    name: 'cloakroom_config_last_reload_success_timestamp_seconds',
    type: 'gauge',
    help: 'When a changed file was last taken over.',
    labels: { kind: RELOAD_KINDS },
    known: 'none',
  },
  policyInfo: {
    name: 'cloakroom_policy_info',
    type: 'gauge',
    help: '1, with the hash of the policy in force.',
    labels: { version: [] },
    known: 'none',
  },
  overflow: {
    name: 'cloakroom_label_overflow_total',
    type: 'counter',
    help: 'Observations whose label value was counted as `other`, by metric.',
    labels: { metric: ['cloakroom_requests_total'] },
  },
  buildInfo: {
    name: 'cloakroom_build_info',
    type: 'gauge',
    help: '1, with what runs here.',
    labels: { version: [], revision: [], nodejs: [], openssl: [] },
    known: 'none',
  },
  eventLoop: {
    name: 'cloakroom_eventloop_utilization_ratio',
    type: 'gauge',
    help: 'Share of the time since the last scrape that the event loop was busy.',
    labels: {},
  },
} as const satisfies Record<string, Instrument>

export type InstrumentName = keyof typeof INSTRUMENTS
