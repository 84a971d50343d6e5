/**
 * Checks of the machine around: what could carry memory to a disk, and the runtimes that apps here may use.
 */
import { accessSync, constants, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Finding, ok, type Patient, warning } from './doctor.ts'

/** Core dumps and swap write memory, and so secrets, to a disk (threat-model.md N3). */
export function checkHardening(): Finding {
  const found: string[] = []
  const limits = readOrNothing('/proc/self/limits')
  const core = /^Max core file size\s+(\S+)/m.exec(limits)?.[1]
  if (core !== undefined && core !== '0') found.push('core dumps are on')
  if (readOrNothing('/proc/swaps').trim().split('\n').length > 1) found.push('swap is on')
  if (process.getuid?.() === 0) found.push('this runs as root')
  if (found.length === 0) return ok('no core dumps, no swap, not root')
  return warning(
    found.join(', '),
    'for production: ulimit -c 0, no swap for this process, a user of its own; deploy/ does so',
  )
}

type Runtime = { readonly programs: readonly string[]; readonly hint: string }

// What `env` and `exec` set for each; the exceptions are those that people meet first.
const RUNTIMES: readonly Runtime[] = [
  { programs: ['curl'], hint: 'CURL_CA_BUNDLE' },
  { programs: ['git'], hint: 'GIT_SSL_CAINFO' },
  { programs: ['wget'], hint: 'no variable for CAs: --ca-certificate, or "cloakroom ca install"' },
  { programs: ['node'], hint: 'NODE_EXTRA_CA_CERTS, NODE_USE_ENV_PROXY and the preload in NODE_OPTIONS' },
  {
    programs: ['python3', 'python'],
    hint: 'REQUESTS_CA_BUNDLE and SSL_CERT_FILE; aiohttp also needs trust_env=True',
  },
  { programs: ['go'], hint: 'SSL_CERT_FILE; not on macOS, where "cloakroom ca install" is needed' },
  { programs: ['java'], hint: 'JAVA_TOOL_OPTIONS with truststore.p12' },
  {
    programs: ['ruby'],
    hint: 'SSL_CERT_FILE; the Stripe gem brings a bundle of its own (Stripe.ca_bundle_path)',
  },
  { programs: ['php'], hint: 'SSL_CERT_FILE for streams, curl.cainfo in php.ini for curl' },
  { programs: ['dotnet'], hint: 'SSL_CERT_FILE' },
  { programs: ['deno'], hint: 'DENO_CERT' },
  { programs: ['bun'], hint: 'NODE_EXTRA_CA_CERTS' },
  { programs: ['aws'], hint: 'AWS_CA_BUNDLE' },
  { programs: ['gcloud'], hint: 'CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE' },
  { programs: ['cargo'], hint: 'CARGO_HTTP_CAINFO' },
]

/** Lists the runtimes on the path and what makes each trust the CA. */
export async function checkRuntimes({ context }: Patient): Promise<Finding> {
  const directories = (context.env.PATH ?? '').split(delimiter).filter(directory => directory !== '')
  const found = RUNTIMES.flatMap(({ programs, hint }) => {
    const program = programs.find(name => directories.some(directory => isExecutable(join(directory, name))))
    return program === undefined ? [] : [`${program.padEnd(8)} ${hint}`]
  })
  return ok(['"cloakroom exec" and "cloakroom env" set these:', ...found].join('\n'))
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

// Not every system has /proc; where it has not, nothing is known.
function readOrNothing(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
