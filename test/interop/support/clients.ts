/**
 * The clients: programs of many languages that visit a URL with a header, set up by nothing but the variables of `cloakroom env`.
 *
 * Programs that need building are built into a cache directory outside of the repository, or into the test's own.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Distrust } from './distrust.ts'
import { findNode20, type Program, pathOf } from './needs.ts'
import { runProgram } from './process.ts'
import type { Variables } from './site.ts'

const SOURCES = join(import.meta.dirname, '..', 'clients')
const CACHE = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'cloakroom-interop')

export type Visit = {
  readonly url: string
  readonly authorization: string
  /** Sent as the body of a POST. */
  readonly file: string | undefined
  readonly variables: Variables
}

export type Client = {
  readonly name: string
  readonly programs: readonly Program[]
  readonly distrust: readonly Distrust[]
  /** False where the runtime takes no proxy password from its environment. */
  readonly takesPassword?: false
  /** What is missing besides programs; undefined when nothing is. */
  readonly missing?: () => string | undefined
  /** Makes what the client needs; gives its command line. */
  readonly build: () => Promise<(visit: Visit) => readonly string[]>
  readonly env?: Variables
}

// URL, AUTHORIZATION and perhaps FILE: what the programs in clients/ take.
const taking =
  (...command: readonly string[]) =>
  ({ url, authorization, file }: Visit): readonly string[] => [
    ...command,
    url,
    authorization,
    ...(file === undefined ? [] : [file]),
  ]

const source = (name: string): string => join(SOURCES, name)

const NODE = join(import.meta.dirname, '..', '..', '..', 'node_modules', '.bin', 'node')

// OpenSSL says unknown_ca before its handshake is over. Node looks at the certificate afterwards and closes.
const OPENSSL: readonly Distrust[] = ['unknown_ca']
const AFTERWARDS: readonly Distrust[] = ['reset', 'silent']

export const CLIENTS: readonly Client[] = [
  {
    name: 'curl',
    programs: ['curl'],
    distrust: OPENSSL,
    build: async () => visit => [
      ...[pathOf('curl'), '-sS', '-H', `Authorization: ${visit.authorization}`],
      ...(visit.file === undefined ? [] : ['--data-binary', `@${visit.file}`]),
      visit.url,
    ],
  },
  {
    // GnuTLS reads no variable for its roots; the option is what docs/clients.md tells its users to give.
    name: 'wget',
    programs: ['wget'],
    distrust: AFTERWARDS,
    build: async () => visit => [
      ...[pathOf('wget'), '-q', '-O-', '--header', `Authorization: ${visit.authorization}`],
      `--ca-certificate=${visit.variables.SSL_CERT_FILE}`,
      ...(visit.file === undefined ? [] : [`--post-file=${visit.file}`]),
      visit.url,
    ],
  },
  {
    name: "this repository's Node, fetch",
    programs: [],
    distrust: AFTERWARDS,
    build: async () => taking(NODE, source('visit-fetch.mjs')),
  },
  {
    name: "this repository's Node, https",
    programs: [],
    distrust: AFTERWARDS,
    build: async () => taking(NODE, source('visit-https.mjs')),
  },
  {
    name: "this repository's Node, https with an agent of its own",
    programs: [],
    distrust: AFTERWARDS,
    env: { AGENT: 'own' },
    build: async () => taking(NODE, source('visit-https.mjs')),
  },
  ...['fetch', 'https'].map(
    (api): Client => ({
      name: `Node 20, ${api}`,
      programs: [],
      distrust: AFTERWARDS,
      missing: () =>
        findNode20() === undefined ? 'there is no Node.js 20 (CLOAKROOM_NODE20 names one)' : undefined,
      build: async () => taking(findNode20() ?? 'node', source(`visit-${api}.mjs`)),
    }),
  ),
  {
    name: 'Python urllib, strict',
    programs: ['python3'],
    distrust: OPENSSL,
    build: async () => taking(pathOf('python3'), source('visit_urllib.py')),
  },
  ...['requests', 'httpx'].map(
    (library): Client => ({
      name: `Python ${library}`,
      programs: ['python3'],
      distrust: OPENSSL,
      build: async () => taking(await python(), source(`visit_${library}.py`)),
    }),
  ),
  {
    name: 'Go net/http',
    programs: ['go'],
    distrust: ['bad_certificate'],
    build: async () => taking(await goProgram()),
  },
  ...['VisitHttpClient', 'VisitUrlConnection'].map(
    (main): Client => ({
      name: `Java ${main === 'VisitHttpClient' ? 'HttpClient' : 'HttpURLConnection'}`,
      programs: ['java', 'javac'],
      distrust: ['bad_certificate', 'reset'], // its alert, or what came after it
      takesPassword: false, // neither reads one from properties; apps set an Authenticator
      build: async () => taking(pathOf('java'), '-cp', await javaClasses(), main),
    }),
  ),
]

/** A Python with what clients/requirements.txt names, in an environment of its own. */
export async function python(): Promise<string> {
  const requirements = source('requirements.txt')
  const version = await runProgram([pathOf('python3'), '--version'])
  const directory = cached('python', version.out + readFileSync(requirements, 'utf8'))
  const own = join(directory, 'bin', 'python')
  const finished = join(directory, 'finished')
  if (existsSync(finished)) return own
  await mustRun([pathOf('python3'), '-m', 'venv', '--clear', directory])
  await mustRun([own, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements])
  await mustRun(['touch', finished])
  return own
}

async function goProgram(): Promise<string> {
  const version = await runProgram([pathOf('go'), 'version'])
  const directory = cached('go', version.out + readFileSync(source('visit.go'), 'utf8'))
  const built = join(directory, 'visit')
  const env = {
    GOCACHE: join(directory, 'build'),
    GOPATH: directory,
    GOFLAGS: '-mod=mod',
    GO111MODULE: 'off',
    CGO_ENABLED: '0',
  }
  if (!existsSync(built)) await mustRun([pathOf('go'), 'build', '-o', built, source('visit.go')], env)
  return built
}

async function javaClasses(): Promise<string> {
  const sources = ['VisitHttpClient.java', 'VisitUrlConnection.java'].map(source)
  const version = await runProgram([pathOf('javac'), '-version'])
  const directory = cached('java', version.said + sources.map(file => readFileSync(file, 'utf8')).join(''))
  if (!existsSync(join(directory, 'VisitUrlConnection.class')))
    await mustRun([pathOf('javac'), '-d', directory, ...sources])
  return directory
}

// By what went into it: another version builds anew.
function cached(kind: string, ingredients: string): string {
  const hash = createHash('sha256').update(ingredients).digest('hex').slice(0, 16)
  const directory = join(CACHE, `${kind}-${hash}`)
  mkdirSync(directory, { recursive: true })
  return directory
}

async function mustRun(command: readonly string[], env: Variables = {}): Promise<void> {
  const ran = await runProgram(command, { env, timeoutMs: 280_000 })
  if (ran.code !== 0) throw new Error(ran.said)
}
