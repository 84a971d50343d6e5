/**
 * Holds the house to its plan: layers by rank, and one door for each dangerous thing (docs/architecture.md).
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import t from 'tap'

const SRC = join(import.meta.dirname, '..', 'src')

// Lowest first. A folder may import itself and any folder of a LOWER rank; same-rank folders are strangers.
const LAYERS = [
  ['base'],
  ['model'],
  ['storage', 'keys', 'policy', 'swap', 'redact', 'tls', 'http1', 'net', 'metrics'],
  ['secrets', 'identity', 'sign', 'audit'],
  ['proxy'],
  ['api'],
  ['config'],
  ['app'],
  ['index'],
  ['cli'],
  ['main'],
]
const RANK = new Map(LAYERS.flatMap((names, rank) => names.map(name => [name, rank] as const)))
const IMPORT =
  /^\s*(?:import|export)\s[^'"]*?from\s+['"](\.[^'"]+)['"]|^\s*import\s+['"](\.[^'"]+)['"]|import\(\s*['"](\.[^'"]+)['"]\s*\)/gm

type Door = { readonly what: string; readonly pattern: RegExp; readonly only: readonly string[] }

// A pattern, and the files or folders (below src/) where alone it may stand.
const DOORS: readonly Door[] = [
  {
    what: 'environment and arguments',
    pattern: /process\.(env|argv)\b/,
    only: ['config/load.ts', 'config/runtime.ts', 'cli/run.ts', 'cli/commands/exec.ts', 'main.ts'],
  },
  { what: 'time', pattern: /Date\.now\(|new Date\(|\bset(Timeout|Interval)\(/, only: ['base/clock.ts'] },
  {
    what: 'randomness',
    pattern: /\brandomBytes\b.*node:crypto|randomUUID|Math\.random|randomFill/,
    only: ['base/random.ts'],
  },
  {
    what: 'printing',
    pattern: /console\.|process\.(stdout|stderr)\b/,
    only: ['cli/output.ts', 'cli/prompt.ts', 'base/log.ts', 'audit/sinks/stdout.ts', 'main.ts'],
  },
  {
    what: 'outbound sockets',
    pattern: /\b(net|tls)\.connect\(|\bhttps?\.(request|get)\(|\bfetch\(|createConnection\(/,
    only: ['net/', 'cli/admin-client.ts'],
  },
  { what: 'node-forge', pattern: /from 'node-forge/, only: ['tls/'] },
  { what: 'http-proxy', pattern: /from 'http-proxy'/, only: ['proxy/relay.ts'] },
  { what: 'yaml', pattern: /from 'yaml'/, only: ['base/yaml.ts'] },
  { what: 'lru-cache', pattern: /from 'lru-cache'/, only: ['base/cache.ts'] },
  { what: 'prom-client', pattern: /from 'prom-client'/, only: ['metrics/'] },
  {
    what: 'SQL',
    pattern: /\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE)\b\s+\w/,
    only: ['storage/'],
  },
  { what: 'granting permits', pattern: /Permit\.grant/, only: ['policy/decide.ts', 'model/decision.ts'] },
  { what: 'fetching secrets', pattern: /\bstore\.get\(/, only: ['secrets/resolve.ts'] },
  {
    what: 'reading secret bytes',
    pattern: /\.use\(\s*(bytes|\(bytes)/,
    only: ['swap/', 'sign/', 'redact/', 'keys/', 'secrets/', 'audit/fingerprint.ts', 'model/secret.ts'],
  },
  { what: 'ciphers', pattern: /createCipheriv|createDecipheriv|scrypt\b|scryptSync/, only: ['keys/'] },
  { what: 'keyed hashes', pattern: /createHmac|hkdfSync/, only: ['keys/', 'audit/', 'sign/'] },
  { what: 'URL parsing', pattern: /\bnew URL\(|url\.parse\(/, only: [] },
  { what: 'running text as code', pattern: /\beval\(|new Function\(|node:vm/, only: [] },
]

function sources(): { file: string; text: string }[] {
  return readdirSync(SRC, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && entry.name.endsWith('.ts'))
    .map(entry => join(entry.parentPath, entry.name))
    .map(path => ({ file: relative(SRC, path).split(sep).join('/'), text: readFileSync(path, 'utf8') }))
}

function layerOf(file: string): string {
  return (file.split('/')[0] ?? '').replace(/\.ts$/, '')
}

function layerViolations(file: string, text: string): string[] {
  const found: string[] = []
  for (const match of text.matchAll(IMPORT)) {
    const path = match[1] ?? match[2] ?? match[3] ?? ''
    const to = layerOf(
      relative(SRC, join(SRC, dirname(file), path))
        .split(sep)
        .join('/'),
    )
    if (to === layerOf(file)) continue
    const mine = RANK.get(layerOf(file))
    const theirs = RANK.get(to)
    if (mine === undefined || theirs === undefined || theirs >= mine) found.push(`${file} -> ${to}`)
  }
  return found
}

function withoutComments(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '')
    .replace(/\s\/\/ .*$/gm, '')
}

t.test('imports go down the ranks only', async t => {
  const found = sources().flatMap(({ file, text }) => layerViolations(file, text))

  t.same(found, [])
})

t.test('the layer check sees type imports, multi-line imports, re-exports and dynamic imports', async t => {
  const bad = [
    "import type { X } from '../proxy/exchange.ts'",
    "import {\n  a,\n  b,\n} from '../api/server.ts'",
    "export * from '../app.ts'",
    "const x = await import('../cli/run.ts')",
    "import '../keys/envelope.ts'",
  ]

  for (const text of bad) t.equal(layerViolations('policy/decide.ts', text).length, 1, text)
})

for (const door of DOORS) {
  t.test(`${door.what} has one door`, async t => {
    const outside = sources()
      .filter(
        ({ file }) =>
          !door.only.some(place => file === place || (place.endsWith('/') && file.startsWith(place))),
      )
      .filter(({ text }) => door.pattern.test(withoutComments(text)))
      .map(({ file }) => file)

    t.same(outside, [])
  })
}
