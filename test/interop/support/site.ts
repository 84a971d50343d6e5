/**
 * What a client meets: third parties on loopback, and a sidecar that `cloakroom init` and `cloakroom run` made, with the variables
 * that `cloakroom env` prints. Nothing here is set by hand that a user would not set.
 */
import { createHash } from 'node:crypto'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { systemClock } from '../../../src/base/clock.ts'
import { aPlace, aRunningSidecar, cloakroom, type Place, type RunningSidecar } from '../../support/cli.ts'
import { aDirectory } from '../../support/directory.ts'
import { anUpstream, type Handler, testCaPem, type Upstream } from '../../support/third-party.ts'

/** The name and the address under which clients know the third party. 192.0.2.0/24 is nobody's (RFC 5737), and never bypassed. */
export const NAME = 'api.example.test'
export const ADDRESS = '192.0.2.10'

export const CREDENTIAL = 'real-credential-0123456789abcdef'

export type Variables = Readonly<Record<string, string>>

const rule = (id: string, target: string, terms: string) => `  - id: ${id}
    callers: [local, billing]
    target: ${target}
    methods: [GET, POST]
${terms}
`
const API = `    paths: ['/v1/**']
    swap: [{ secrets: ['*/token'], in: [header.authorization] }]`

/** What stands in the place of the `rules: []` that `cloakroom init` wrote. */
export const RULES = `rules:
${rule('by-name', `https://${NAME}`, API)}${rule('by-address', `https://${ADDRESS}`, API)}`

/** What a third party answers: the request as it came, with its body as a digest. */
export const mirror: Handler = (request, response) => {
  const { method, url, headers, body } = request
  const digest = { bodyBytes: body.length, bodySha256: sha256(body) }
  response.setHeader('Content-Type', 'application/json')
  response.end(JSON.stringify({ method, url, headers, ...digest }))
}

export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

export type Site = {
  readonly place: Place
  readonly sidecar: RunningSidecar
  readonly placeholder: string
  /** The third party, by name and by address. */
  readonly byName: Upstream
  readonly byAddress: Upstream
  /** What `cloakroom env` prints. */
  readonly variables: Variables
  /** The same for the caller with a password. */
  readonly withPassword: Variables
  /** The same as `variables`, but the files of trust are those of another sidecar's CA. */
  readonly distrusting: Variables
}

/** Writes the section `upstream` that leads names to servers of this test. */
export function leadTo(place: Place, servers: Readonly<Record<string, number>>): void {
  const ca = join(place.directory, 'third-parties.pem')
  writeFileSync(ca, testCaPem)
  const resolve = Object.fromEntries(
    Object.entries(servers).map(([host, port]) => [`${host}:443`, `127.0.0.1:${port}`]),
  )
  const upstream = {
    certificateAuthorities: [ca],
    resolve,
    allowAddresses: ['127.0.0.0/8', '192.0.2.0/24'],
  }
  appendFileSync(place.config, `upstream: ${JSON.stringify(upstream)}\n`)
}

/** Puts a secret with the command line; gives its placeholder. */
export async function putSecret(
  place: Place,
  secret: string,
  { value, targets, shape }: { value: string; targets: readonly string[]; shape?: string },
): Promise<string> {
  const args = targets.flatMap(target => ['--target', target])
  const shaped = shape === undefined ? [] : ['--shape', shape]
  const ran = await place.run(['secret', 'put', secret, ...args, ...shaped], { input: value })
  if (ran.code !== 0) throw new Error(`secret put: ${ran.err}`)
  return ran.out.trim()
}

/** What `cloakroom env` prints for a place whose sidecar runs. */
export async function variablesOf(
  place: Place,
  args: readonly string[] = [],
  input?: string,
): Promise<Variables> {
  const ran = await place.run(
    ['env', '--format', 'json', ...args],
    input === undefined ? undefined : { input },
  )
  if (ran.code !== 0) throw new Error(`env: ${ran.err}`)
  return JSON.parse(ran.out) as Variables
}

/** Starts everything. */
export async function aSite(t: Test): Promise<Site> {
  const byName = await anUpstream(t, { host: NAME, handler: mirror })
  const byAddress = await anUpstream(t, { host: ADDRESS, handler: mirror })
  const place = await aPlace(t)
  leadTo(place, { [NAME]: byName.port, [ADDRESS]: byAddress.port })
  const password = await addBilling(place)
  writeRules(place, RULES)
  const sidecar = await aRunningSidecar(t, place)
  const targets = [`https://${NAME}`, `https://${ADDRESS}`]
  const placeholder = await putSecret(place, 'acme/token', { value: CREDENTIAL, targets })
  const variables = await variablesOf(place)
  const caller = ['--caller', 'billing', '--password-file', '-']
  return {
    place,
    sidecar,
    placeholder,
    byName,
    byAddress,
    variables,
    withPassword: await variablesOf(place, caller, password),
    distrusting: await strangersTrust(t, place, variables),
  }
}

/** Puts rules in the place of the `rules: []` that `cloakroom init` wrote. */
export function writeRules(place: Place, rules: string): void {
  const file = join(place.directory, 'policy.yaml')
  writeFileSync(file, readFileSync(file, 'utf8').replace(/^rules: \[\]$/m, rules))
}

/** Adds the caller `billing`; gives its password. */
export async function addBilling(place: Place): Promise<string> {
  const ran = await place.run(['--json', 'caller', 'add', 'billing', '--tenant', 'acme'])
  if (ran.code !== 0) throw new Error(`caller add: ${ran.err}`)
  return (JSON.parse(ran.out) as { password: string }).password
}

// Another sidecar's CA in the place of ours: the same files, of the same form.
async function strangersTrust(t: Test, place: Place, variables: Variables): Promise<Variables> {
  const stranger = join(aDirectory(t), 's')
  const made = await cloakroom(['init', stranger])
  if (made.code !== 0) throw new Error(`init: ${made.err}`)
  const [ours, theirs] = [place.directory, stranger].map(directory => join(directory, 'state', 'trust'))
  return Object.fromEntries(
    Object.entries(variables).map(([name, value]) => [name, value.replaceAll(ours ?? '', theirs ?? '')]),
  )
}

/** The audit records so far. */
export function recordsOf(place: Place): readonly Readonly<Record<string, unknown>>[] {
  return readFileSync(join(place.directory, 'state', 'audit.jsonl'), 'utf8')
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Record<string, unknown>)
}

/** The first record from the `from`th on that is so; waits, since the record of an end may be written after the end is seen. */
export async function recordFrom(
  place: Place,
  from: number,
  isMeant: (record: Readonly<Record<string, unknown>>) => boolean,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  for (let round = 0; round < 250; round++) {
    const found = recordsOf(place).slice(from).find(isMeant)
    if (found !== undefined) return found
    await systemClock.sleep(20)
  }
  return undefined
}
