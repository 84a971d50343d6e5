/**
 * Every option of the configuration: its name, default, unit and meaning, once.
 *
 * Rules of this file: objects are closed (an unknown key is an error), every option has a default that is safe, there is no
 * switch that makes a check weaker than its default, and no option holds a secret, only the name of a file that does.
 * docs/config.md and config/schema/cloakroom.json are generated from here.
 */
import * as v from 'valibot'
import { LOG_FORMATS, LOG_LEVELS } from '../base/log.ts'
import { isName } from '../model/tenant.ts'
import { isAddressRange, isResolveKey, isResolveValue } from './addresses.ts'
import {
  count,
  duration,
  listen,
  listenOrOff,
  type OptionNotes,
  path,
  paths,
  size,
  texts,
  word,
} from './options.ts'

const section = <const E extends v.ObjectEntries>(description: string, entries: E) =>
  v.pipe(v.strictObject(entries), v.description(description))

const proxy = section('The forward proxy: CONNECT, and absolute-form http:// and https://.', {
  listen: listen(
    '127.0.0.1:3128',
    'Address of the proxy.',
    'Callers identified as `source: loopback` are those that come from a loopback address; everybody else needs a password.',
  ),
  maxConnections: count(10_000, 'Connections from callers at one time; more are closed at once.', {
    least: 1,
    most: 100_000,
  }),
})

const relay = section('The relay: /https/HOST/PATH, for apps that can change a base URL but not the proxy.', {
  listen: listenOrOff('Address of the relay, or off.'),
})

const ops = section('Metrics and health: /metrics, /livez, /readyz, /startupz.', {
  listen: listen(
    '127.0.0.1:9464',
    'Address of the metrics and health listener.',
    'It shows no secrets and no tenants, and takes no commands.',
  ),
})

const admin = section('The admin API, through which the command line changes a running sidecar.', {
  socket: path(
    'state/admin.sock',
    'Unix socket of the admin API.',
    'Made with mode 0600 in a directory of mode 0700: who can open it can administer the sidecar.',
  ),
})

const policy = section('Who may send what where.', {
  files: paths(['policy.yaml'], 1, 'Policy files; they are read as one, and watched for changes.'),
})

const store = section('Where secrets are kept, sealed.', {
  kind: word(['sqlite'], 'Kind of store.', [
    'postgres',
    'vault',
    'awsSecretsManager',
    'awsParameterStore',
    'piiano',
  ]),
  file: path('state/store.db', 'Database of the embedded store.'),
  maxStale: duration(
    '60s',
    'How long sealed copies in memory may serve when the store cannot be read; 0: not at all. Records made then are marked.',
  ),
  timeout: duration('2s', 'Longest wait for the store in one request.'),
  cache: size('64MiB', 'Memory for sealed copies; values are never cached in the open.'),
})

const keys = section('Where the root key comes from.', {
  kind: word(['file'], 'Kind of key provider.', ['passphrase', 'awsKms', 'vaultTransit']),
  file: path(
    'keys/root.key',
    'The root key file (mode 0400).',
    'Without it nothing can be opened: keep a copy elsewhere. Keep it off the volume of the state directory.',
  ),
})

const ca = section('The certificate authority that callers trust, and what is written for them.', {
  certificate: path('state/ca.pem', 'Certificate of the local CA.'),
  key: path('keys/ca.key.sealed', 'Its private key, sealed under the root key.'),
  lifetime: duration('365d', 'Lifetime of a new CA certificate.'),
  trust: path('state/trust', 'Directory for ca.pem, bundle.pem and truststore.p12, which apps read.'),
  nameConstraints: texts(
    'Domains that a new CA certificate may vouch for; empty: no such limit. Some old clients refuse constrained CAs.',
    isDomain,
    'is not a domain such as example.com',
  ),
})

const upstream = section('The way to the upstreams.', {
  certificateAuthorities: paths([], 0, 'PEM files of CAs to trust besides the public roots.'),
  resolve: v.optional(
    v.pipe(
      v.record(
        v.pipe(v.string(), v.check(isResolveKey, 'is not HOST:PORT')),
        v.pipe(v.string(), v.check(isResolveValue, 'is not IP:PORT')),
      ),
      v.description("Fixed addresses, as curl --resolve: 'api.example.com:443': '127.0.0.1:8443'."),
      v.metadata({ unit: 'pairs' } satisfies OptionNotes),
    ),
    {},
  ),
  allowAddresses: texts(
    'CIDR ranges of private or loopback addresses that may be dialled after all, and may get credentials. Metadata addresses and our own listeners never are.',
    isAddressRange,
    'is not a CIDR range such as 10.20.0.0/16',
  ),
  idleConnections: count(
    512,
    'Idle connections kept to all upstreams together; the least recently used goes first.',
    {
      least: 0,
      most: 65_536,
    },
  ),
  idleTimeout: duration(
    '4s',
    'How long an idle connection to an upstream is kept; below what servers commonly use (5s).',
  ),
})

const sink = v.strictObject({
  kind: v.pipe(
    v.string(),
    v.check(
      text => !['syslog', 'postgres', 'webhook'].includes(text),
      'is not supported by this version; it is a word of a later one',
    ),
    v.picklist(['file', 'stdout']),
    v.description('Kind of sink.'),
  ),
  path: v.optional(v.pipe(v.string(), v.minLength(1, 'is empty'), v.description('File of a `file` sink.'))),
  required: v.optional(
    v.pipe(v.boolean(), v.description('Without this sink nothing is sent. At least one sink is required.')),
    true,
  ),
  maxSize: size(
    '256MiB',
    'A file that has grown to this size is set aside and a new one begun; the chain goes on.',
  ),
})

const sinks = v.optional(
  v.pipe(
    v.array(sink),
    v.check(
      list => list.some(one => one.required),
      'at least one sink must be required: nothing is sent unrecorded',
    ),
    v.check(
      list => list.every(one => (one.kind === 'file') === (one.path !== undefined)),
      'a file sink has a path, others have none',
    ),
    v.description(
      'Where audit records go: {kind: file, path, required, maxSize} or {kind: stdout, required}.',
    ),
    v.metadata({ unit: 'records' } satisfies OptionNotes),
  ),
  [{ kind: 'file', path: 'state/audit.jsonl', required: true }],
)

const audit = section('The record of every exchange and every change.', {
  sinks,
  durability: word(
    ['written', 'fsync'],
    'When a record counts: written (survives a crash of the sidecar) or fsync (survives power loss).',
  ),
  signingKey: path('keys/audit.key.sealed', 'Ed25519 key that signs checkpoints, sealed under the root key.'),
  publicKey: path('state/audit.pub.pem', 'Its public half, which `audit verify` needs.'),
  instance: v.optional(
    v.pipe(
      v.string(),
      v.check(text => text === '' || isName(text), 'is not a name (a-z 0-9 . _ -)'),
      v.description('Name of this instance in the records; empty: the host name.'),
      v.metadata({ unit: 'text' } satisfies OptionNotes),
    ),
    '',
  ),
})

const log = section('The operational log, on stderr.', {
  level: v.optional(
    v.pipe(
      v.picklist(LOG_LEVELS),
      v.description('Least level that is written.'),
      v.metadata({ unit: 'word' } satisfies OptionNotes),
    ),
    'info',
  ),
  format: v.optional(
    v.pipe(
      v.picklist(LOG_FORMATS),
      v.description('json, text, or auto: text on a terminal.'),
      v.metadata({ unit: 'word' } satisfies OptionNotes),
    ),
    'auto',
  ),
})

const metrics = section('Metrics.', {
  maxRoutes: count(20, 'Rules that get a label value of their own; the others share `other`.', {
    least: 0,
    most: 500,
  }),
})

const limits = section(
  'Sizes, counts and times: what one caller or one upstream can take up (docs/threat-model.md). Rules may set some for themselves.',
  {
    requestHead: size('32KiB', 'Largest request head.'),
    responseHead: size('64KiB', "Largest head of an upstream's answer."),
    headers: count(200, 'Most header lines in a head.', { least: 10, most: 2000 }),
    requestHeadTimeout: duration(
      '10s',
      'Longest time for a request head, from its first byte; also from accept to the first byte.',
    ),
    clientHello: duration('5s', 'Longest time from the answer to CONNECT to the first TLS bytes.'),
    handshake: duration('10s', 'Longest TLS handshake with a caller.'),
    keepAlive: duration(
      '15m',
      'How long an idle connection of a caller is kept; long, because a close races with the next request.',
    ),
    idle: duration('120s', 'Longest pause in either direction of a body.'),
    dns: duration('5s', 'Longest name resolution.'),
    connect: duration('10s', 'Longest TCP connection set-up, all addresses together.'),
    tls: duration('10s', 'Longest TLS handshake with an upstream.'),
    upstreamHead: duration(
      '5m',
      "Longest wait for the head of an upstream's answer; language models need minutes.",
    ),
    tunnelIdle: duration('10m', 'Longest silence in a blind tunnel.'),
    tunnelAge: duration('24h', 'Longest life of a tunnel.'),
    connectionsPerCaller: count(1000, 'Tunnels of one caller at one time, intercepted ones included.', {
      least: 1,
      most: 100_000,
    }),
    tunnels: count(2000, 'Tunnels at one time.', { least: 1, most: 100_000 }),
    inFlight: count(1024, 'Requests on their way to upstreams at one time; more get 503.', {
      least: 1,
      most: 100_000,
    }),
    inFlightPerCaller: count(512, 'The same for one caller, so that none can use up what others need.', {
      least: 1,
      most: 100_000,
    }),
    minUploadRate: size('1KiB', 'Least speed of an upload, a second, averaged over ten seconds; 0B: none.'),
    guesses: count(
      20,
      'Wrong placeholders that one caller may send a minute before all its placeholders are refused for a while.',
      {
        least: 1,
        most: 10_000,
      },
    ),
    leafMints: count(20, 'New leaf certificates a second.', { least: 1, most: 1000 }),
    leaves: count(1000, 'Leaf certificates kept.', { least: 10, most: 10_000 }),
    drain: duration('25s', 'Longest wait for running requests when the sidecar stops.'),
  },
)

/** The configuration file as people write it (input) and as config/load.ts goes on with it (output). */
export const CONFIG_SCHEMA = v.strictObject({
  proxy: v.optional(proxy, {}),
  relay: v.optional(relay, {}),
  ops: v.optional(ops, {}),
  admin: v.optional(admin, {}),
  policy: v.optional(policy, {}),
  store: v.optional(store, {}),
  keys: v.optional(keys, {}),
  ca: v.optional(ca, {}),
  upstream: v.optional(upstream, {}),
  audit: v.optional(audit, {}),
  log: v.optional(log, {}),
  metrics: v.optional(metrics, {}),
  limits: v.optional(limits, {}),
})

type Frozen<T> = T extends object ? { readonly [K in keyof T]: Frozen<T[K]> } : T

/** Every option with its value: units parsed, paths absolute, nothing left out. */
export type Options = Frozen<v.InferOutput<typeof CONFIG_SCHEMA>>

/** What the program runs by: the options, and where they came from. */
export type Config = Options & {
  /** Absolute path of the configuration file. */
  readonly file: string
  /** Its directory. */
  readonly directory: string
  /** Name of this instance in audit records: audit.instance, or made of the host name. */
  readonly instance: string
}

function isDomain(text: string): boolean {
  return (
    /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text) &&
    text.length <= 253
  )
}
