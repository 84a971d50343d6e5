/**
 * The variables that make an app use the proxy and trust its CA, for every runtime that can be told so by its environment.
 *
 * Rule of this file: pure, one table, each row with the programs it is for. What an app's environment holds already is merged, never
 * overwritten, where the variable is a list. Verified rows: docs/clients.md.
 */
import type { Listen } from '../config/options.ts'
import { TRUST_STORE_PASSWORD, type TrustFiles } from '../config/trust-files.ts'

export type VariableSource = {
  /** Where the proxy listens. */
  readonly proxy: Listen
  /** User and password of the caller; undefined for callers that are known by their address. */
  readonly credentials: { readonly user: string; readonly password: string } | undefined
  readonly trust: TrustFiles
  /** Absolute path of preload/register.mjs; undefined leaves Node's options alone. */
  readonly preload: string | undefined
  /** The environment that the variables will be added to. */
  readonly env: Readonly<Record<string, string | undefined>>
}

/** A variable with the reason why it is set. */
export type Variable = { readonly name: string; readonly value: string; readonly used: string }

// Loopback, link-local metadata and names inside a cluster: never the proxy's business. Plain suffixes, since not every runtime
// knows CIDR or "*".
const NEVER_PROXIED = [
  'localhost',
  '127.0.0.1',
  '::1',
  '169.254.169.254',
  '.svc',
  '.cluster.local',
  'kubernetes.default',
]

/** Lists the variables, proxy first. */
export function appVariables(source: VariableSource): readonly Variable[] {
  const url = proxyUrl(source)
  const bypass = mergeList(source.env.NO_PROXY ?? source.env.no_proxy, NEVER_PROXIED)
  const { ca, bundle } = source.trust
  const both = (name: string, value: string, used: string): Variable[] => [
    { name: name.toUpperCase(), value, used },
    { name: name.toLowerCase(), value, used }, // curl reads http_proxy in lower case only
  ]
  return [
    ...both('http_proxy', url, 'nearly everything'),
    ...both('https_proxy', url, 'nearly everything'),
    ...both('no_proxy', bypass, 'nearly everything'),
    {
      name: 'SSL_CERT_FILE',
      value: bundle,
      used: 'OpenSSL, Go, Ruby, .NET, Rust, Python ssl, httpx, aiohttp, uv',
    },
    { name: 'CURL_CA_BUNDLE', value: bundle, used: 'curl' },
    { name: 'GIT_SSL_CAINFO', value: bundle, used: 'git' },
    { name: 'REQUESTS_CA_BUNDLE', value: bundle, used: 'Python requests, Azure CLI' },
    { name: 'PIP_CERT', value: bundle, used: 'pip' },
    { name: 'AWS_CA_BUNDLE', value: bundle, used: 'AWS CLI, boto3' },
    { name: 'CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE', value: bundle, used: 'gcloud' },
    { name: 'GRPC_DEFAULT_SSL_ROOTS_FILE_PATH', value: bundle, used: 'gRPC (C++, Python, Ruby, PHP, Node)' },
    { name: 'CARGO_HTTP_CAINFO', value: bundle, used: 'cargo' },
    { name: 'COMPOSER_CAFILE', value: bundle, used: 'PHP Composer' },
    { name: 'BUNDLE_SSL_CA_CERT', value: bundle, used: 'Ruby Bundler' },
    { name: 'YARN_HTTPS_CA_FILE_PATH', value: bundle, used: 'Yarn' },
    { name: 'NODE_EXTRA_CA_CERTS', value: ca, used: 'Node.js, Bun' },
    { name: 'DENO_CERT', value: ca, used: 'Deno' },
    { name: 'NODE_USE_ENV_PROXY', value: '1', used: 'Node.js 22.21, 24.5 and later' },
    ...nodeOptions(source),
    { name: 'JAVA_TOOL_OPTIONS', value: javaOptions(source), used: 'every JVM' },
  ]
}

/** The proxy's URL, with the caller's credentials where it has some. */
export function proxyUrl({ proxy, credentials }: Pick<VariableSource, 'proxy' | 'credentials'>): string {
  const { host, port } = dialable(proxy)
  const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  if (credentials === undefined) return `http://${address}`
  // "+" stands between caller and tenant; some clients read it as a space in a URL.
  const user = encodeURIComponent(credentials.user)
  return `http://${user}:${encodeURIComponent(credentials.password)}@${address}`
}

// 0.0.0.0 and :: are addresses to listen on, not to dial.
function dialable({ host, port }: Listen): Listen {
  if (host === '0.0.0.0') return { host: '127.0.0.1', port }
  return { host: host === '::' ? '::1' : host, port }
}

function nodeOptions({ preload, env }: VariableSource): Variable[] {
  if (preload === undefined) return []
  const option = `--import=${fileUrl(preload)}`
  const before = env.NODE_OPTIONS ?? ''
  const value = before.includes(option) ? before : [before, option].filter(part => part !== '').join(' ')
  return [{ name: 'NODE_OPTIONS', value, used: 'Node.js: agents of SDKs, and releases before 22.21' }]
}

// A URL, since Node splits its options at spaces and takes what looks like a package name for one.
function fileUrl(path: string): string {
  return `file://${path.split('/').map(encodeURIComponent).join('/')}`
}

function javaOptions({ proxy, trust, env }: VariableSource): string {
  const { host, port } = dialable(proxy)
  const bypass = [
    'localhost',
    '127.*',
    '[::1]',
    '169.254.169.254',
    '*.svc',
    '*.cluster.local',
    'kubernetes.default',
  ]
  const options = [
    `-Djavax.net.ssl.trustStore=${trust.trustStore}`,
    '-Djavax.net.ssl.trustStoreType=PKCS12',
    `-Djavax.net.ssl.trustStorePassword=${TRUST_STORE_PASSWORD}`,
    `-Dhttps.proxyHost=${host}`,
    `-Dhttps.proxyPort=${port}`,
    `-Dhttp.proxyHost=${host}`,
    `-Dhttp.proxyPort=${port}`,
    `-Dhttp.nonProxyHosts=${bypass.join('|')}`,
    '-Djdk.http.auth.tunneling.disabledSchemes=', // or Java sends no proxy credentials with CONNECT
  ]
  // What stands later wins in a JVM, so what the app's environment says already goes behind ours.
  const before = (env.JAVA_TOOL_OPTIONS ?? '')
    .split(' ')
    .filter(part => part !== '' && !options.includes(part))
  return [...options.map(quoteForJava), ...before].join(' ')
}

// The JVM splits JAVA_TOOL_OPTIONS at white space, except inside quotes.
function quoteForJava(option: string): string {
  return /\s/.test(option) ? `"${option}"` : option
}

function mergeList(before: string | undefined, ours: readonly string[]): string {
  const theirs = (before ?? '').split(',').map(item => item.trim())
  return [...new Set([...theirs, ...ours])].filter(item => item !== '').join(',')
}

export const VARIABLE_FORMATS = ['sh', 'dotenv', 'json', 'docker', 'k8s'] as const
export type VariableFormat = (typeof VARIABLE_FORMATS)[number]

/** Writes the variables for a shell to `eval`, a dotenv file, `docker run --env-file`, or a Kubernetes container. */
export function formatVariables(variables: readonly Variable[], format: VariableFormat): string {
  switch (format) {
    case 'sh':
      return lines(variables.map(({ name, value }) => `export ${name}='${value.replaceAll("'", "'\\''")}'`))
    case 'dotenv':
      return lines(variables.map(({ name, value }) => `${name}="${value.replace(/["\\$`]/g, '\\$&')}"`))
    case 'docker': // takes the rest of the line as it is
      return lines(variables.map(({ name, value }) => `${name}=${value}`))
    case 'json':
      return `${JSON.stringify(Object.fromEntries(variables.map(({ name, value }) => [name, value])), null, 2)}\n`
    case 'k8s':
      return lines([
        'env:',
        ...variables.map(({ name, value }) => `  - { name: ${name}, value: ${JSON.stringify(value)} }`),
      ])
  }
}

const lines = (all: readonly string[]): string => `${all.join('\n')}\n`
