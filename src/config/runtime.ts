/**
 * Says whether this process may hold secrets: the Node release, its flags, and the variables that change how it behaves.
 *
 * Rules of this file: it is pure, imports nothing, and runs on any Node (main.ts calls it before it loads anything else).
 * What is refused would print credentials, write memory to disk, weaken TLS or parsing, or open a debugger
 * (threat-model.md E10, H6, N1, N4, N5, N9).
 */

/** EX_CONFIG of sysexits.h: the process was started in a way that cannot work; starting it again changes nothing. */
export const EXIT_UNSAFE_RUNTIME = 78

export type RuntimeProblem = {
  readonly code: 'CONFIG_RUNTIME_TOO_OLD' | 'CONFIG_UNSAFE_RUNTIME'
  /** A flag's or variable's name; never its value. */
  readonly what: string
  readonly why: string
}

export type Runtime = {
  /** process.version. */
  readonly version: string
  /** process.execArgv. */
  readonly flags: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** Modules that may be preloaded: our own, which `exec` sets for the app and which leaves this program alone. */
  readonly ownPreloads: readonly string[]
}

/** The first release of each line with the security fixes of June and July 2026 (docs/threat-model.md). */
export const NODE_FLOOR = '24.18.1 or 26.5.1'
const FLOORS: readonly (readonly [major: number, minor: number, patch: number])[] = [
  [24, 18, 1],
  [26, 5, 1],
]

const DEBUGGER = 'opens a debugger, which can read every secret'
const MEMORY_DUMP = 'writes memory, and so secrets, to a file'
const REPORT = 'writes environment and headers to a file'
const INJECTION = 'loads code of somebody else into the process that holds the secrets'
const WEAK_TLS = 'weakens TLS'
const CONFIG_FILE = 'takes flags or variables from a file, where they are not checked'
const OPENSSL = 'lets a file reconfigure OpenSSL: weaker TLS, or code of somebody else in the process'
const TRACE = 'prints or records what requests carry'

// Order does not matter. A name ending in * stands for every flag that begins so.
const FLAGS: Readonly<Record<string, string>> = {
  '--inspect*': DEBUGGER,
  '--debug*': DEBUGGER,
  '--allow-inspector': DEBUGGER,
  '--experimental-network-inspection': DEBUGGER,
  '--experimental-worker-inspection': DEBUGGER,
  '--experimental-storage-inspection': DEBUGGER,
  '--insecure-http-parser': 'accepts ambiguous HTTP messages (request smuggling)',
  '--tls-keylog': 'writes TLS session keys to a file',
  '--tls-min-v1.0': WEAK_TLS,
  '--tls-min-v1.1': WEAK_TLS,
  '--tls-cipher-list': WEAK_TLS,
  '--openssl-legacy-provider': WEAK_TLS,
  '--openssl-config': WEAK_TLS,
  '--openssl-shared-config': WEAK_TLS,
  // node.config.json is read with the second only, so there is no file to look for.
  '--experimental-config-file': CONFIG_FILE,
  '--experimental-default-config-file': CONFIG_FILE,
  '--env-file*': CONFIG_FILE,
  '--security-revert': 'takes a security fix back',
  '--heapsnapshot*': MEMORY_DUMP,
  '--heap-prof*': MEMORY_DUMP,
  '--cpu-prof*': 'writes a profile of the process to a file',
  '--prof': 'writes a profile of the process to a file',
  '--abort-on-uncaught-exception': MEMORY_DUMP,
  '--build-snapshot*': MEMORY_DUMP,
  '--snapshot-blob': INJECTION,
  '--report-on-signal': REPORT,
  '--report-on-fatalerror': REPORT,
  '--report-uncaught-exception': REPORT,
  '--trace-tls': TRACE,
  '--trace-event*': TRACE,
  '--trace-env*': TRACE,
  '--import': INJECTION,
  '--require': INJECTION,
  '-r': INJECTION,
  '--loader': INJECTION,
  '--experimental-loader': INJECTION,
  '--expose-internals': INJECTION,
  '--allow-natives-syntax': INJECTION,
  '--watch*': 'restarts the process when files change',
  '--unhandled-rejections': 'hides failures',
}

const PRELOADS = ['--import', '--require', '-r']
// Flags whose value may stand as the next argument; only those matter here whose value decides.
const TAKES_VALUE = new Set([...PRELOADS, '--loader', '--experimental-loader'])

/** Lists everything that speaks against running here; empty when nothing does. */
export function unsafeRuntime(runtime: Runtime): readonly RuntimeProblem[] {
  const problems: RuntimeProblem[] = []
  if (!isPatched(runtime.version)) {
    const why = `Node.js ${runtime.version.replace(/^v/, '')} lacks security fixes; ${NODE_FLOOR} or later is needed`
    problems.push({ code: 'CONFIG_RUNTIME_TOO_OLD', what: runtime.version, why })
  }
  problems.push(...unsafeFlags(runtime.flags, 'the flag', runtime.ownPreloads))
  problems.push(
    ...unsafeFlags(splitOptions(runtime.env.NODE_OPTIONS ?? ''), 'NODE_OPTIONS with', runtime.ownPreloads),
  )
  problems.push(...unsafeVariables(runtime.env))
  return problems
}

/** Tells whether a release holds the fixes that this program relies on; lines between the floors never got them all. */
export function isPatched(version: string): boolean {
  const match = /^v?([0-9]+)\.([0-9]+)\.([0-9]+)/.exec(version)
  if (match === null) return false
  const [major, minor, patch] = match.slice(1).map(Number) as [number, number, number]
  const newest = FLOORS.at(-1)?.[0] ?? 0
  if (major > newest) return true
  const floor = FLOORS.find(([line]) => line === major)
  return floor !== undefined && (minor > floor[1] || (minor === floor[1] && patch >= floor[2]))
}

function unsafeFlags(
  flags: readonly string[],
  where: string,
  ownPreloads: readonly string[],
): RuntimeProblem[] {
  const problems: RuntimeProblem[] = []
  for (let i = 0; i < flags.length; i++) {
    const { name, value: attached } = splitFlag(flags[i] ?? '')
    const value = attached ?? (TAKES_VALUE.has(name) ? flags[++i] : undefined)
    if (PRELOADS.includes(name) && value !== undefined && ownPreloads.includes(value)) continue
    const why = reasonAgainst(name)
    if (why !== undefined)
      problems.push({ code: 'CONFIG_UNSAFE_RUNTIME', what: `${where} ${name}`, why: `it ${why}` })
  }
  return problems
}

function reasonAgainst(name: string): string | undefined {
  const exact = FLAGS[name]
  if (exact !== undefined) return exact
  const pattern = Object.keys(FLAGS).find(key => key.endsWith('*') && name.startsWith(key.slice(0, -1)))
  return pattern === undefined ? undefined : FLAGS[pattern]
}

// Node reads --tls_keylog as --tls-keylog.
function splitFlag(flag: string): { name: string; value: string | undefined } {
  const equals = flag.indexOf('=')
  const name = equals < 0 ? flag : flag.slice(0, equals)
  const dashed = name.startsWith('--') ? name.replaceAll('_', '-') : name
  return { name: dashed, value: equals < 0 ? undefined : flag.slice(equals + 1) }
}

/** Splits NODE_OPTIONS as Node does: at spaces, with double quotes around parts and backslashes inside them. */
export function splitOptions(text: string): string[] {
  const parts: string[] = []
  let part: string | undefined
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (c === '\\' && quoted && i + 1 < text.length) part = (part ?? '') + text[++i]
    else if (c === '"') {
      quoted = !quoted
      part ??= ''
    } else if (c === ' ' && !quoted) {
      if (part !== undefined) parts.push(part)
      part = undefined
    } else part = (part ?? '') + c
  }
  return part === undefined ? parts : [...parts, part]
}

// NODE_EXTRA_CA_CERTS, SSL_CERT_FILE and SSL_CERT_DIR are not here: upstream trust is passed explicitly (rulings.md 25).
function unsafeVariables(env: Runtime['env']): RuntimeProblem[] {
  const found: [name: string, why: string, is: boolean][] = [
    [
      'NODE_TLS_REJECT_UNAUTHORIZED',
      'turns certificate checks off',
      env.NODE_TLS_REJECT_UNAUTHORIZED === '0',
    ],
    ['SSLKEYLOGFILE', 'asks for TLS session keys in a file', isSet(env.SSLKEYLOGFILE)],
    ['OPENSSL_CONF', OPENSSL, isSet(env.OPENSSL_CONF)], // as --openssl-config
    ['OPENSSL_CONF_INCLUDE', OPENSSL, isSet(env.OPENSSL_CONF_INCLUDE)],
    ['OPENSSL_MODULES', OPENSSL, isSet(env.OPENSSL_MODULES)], // where libcrypto loads providers from
    ['OPENSSL_ENGINES', OPENSSL, isSet(env.OPENSSL_ENGINES)],
    ['NODE_DEBUG', 'prints headers, credentials included', isSet(env.NODE_DEBUG)],
    ['NODE_DEBUG_NATIVE', 'prints headers, credentials included', isSet(env.NODE_DEBUG_NATIVE)],
  ]
  return found
    .filter(([, , is]) => is)
    .map(([name, why]) => ({ code: 'CONFIG_UNSAFE_RUNTIME', what: `the variable ${name}`, why: `it ${why}` }))
}

const isSet = (value: string | undefined): boolean => value !== undefined && value !== ''
