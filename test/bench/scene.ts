/**
 * What the benchmark measures between: a third party, and a sidecar made by `init` and started by `run`, as users have them.
 */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { initialize } from '../../src/cli/init.ts'
import { BINARY } from '../support/cli.ts'
import { certificateFor, testCaPem } from '../support/third-party.ts'
import { nextMessage, startChild, startProxy } from './children.ts'
import type { Tally, UpstreamSetup, UpstreamTold } from './upstream.ts'

const PROFILED = join(import.meta.dirname, 'profiled.ts')

export const HOST = 'api.example.test'
export const CREDENTIAL = 'bench-credential-0123456789abcdef'

/** Who answers: the third party itself, or something before it. */
export type Route = {
  readonly name: string
  readonly port: number
  readonly authority: string | undefined
  readonly ca: string
  readonly authorization: string
  /** Put before /small and /large. */
  readonly prefix: string
  readonly pids: readonly number[]
}

export type Upstream = {
  readonly port: number
  tally(): Promise<Tally>
}

/** Undone in reverse order. */
export type Cleanup = { add(undo: () => unknown): void; run(): Promise<void> }

export function createCleanup(): Cleanup {
  const undos: (() => unknown)[] = []
  return {
    add: undo => void undos.push(undo),
    async run() {
      for (const undo of undos.reverse()) await undo()
    },
  }
}

export async function startUpstream(cleanup: Cleanup): Promise<Upstream> {
  const child = startChild('upstream.ts')
  cleanup.add(() => child.kill())
  child.send({ ...certificateFor(HOST), credential: CREDENTIAL } satisfies UpstreamSetup)
  const told = await nextMessage<UpstreamTold>(child)
  return {
    port: 'port' in told ? told.port : 0,
    async tally() {
      child.send('tally')
      const answer = await nextMessage<UpstreamTold>(child)
      return 'armed' in answer ? answer : { armed: 0, bare: 0, sample: '' }
    },
  }
}

const POLICY = `version: 1
callers:
  - id: app
    identify: { source: loopback }
    tenants: [acme]
rules:
  - id: redacted
    callers: [app]
    target: https://${HOST}
    methods: [GET]
    paths: ['/v1/**']
    swap: [{ secrets: ['*/token'], in: [header.authorization] }]
  - id: plain
    callers: [app]
    target: https://${HOST}
    methods: [GET]
    paths: ['/plain/**']
    swap: [{ secrets: ['*/token'], in: [header.authorization] }]
    response: { redact: false }
`

/** A directory that is removed at the end. */
export function scratch(cleanup: Cleanup): string {
  const directory = mkdtempSync(join(tmpdir(), 'bench-'))
  cleanup.add(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/**
 * Starts a sidecar with everything on: swap, audit on disk, metrics.
 *
 * @param profile - a directory for a CPU profile of the whole run; the sidecar then runs without `run`, which refuses such flags.
 */
export async function startSidecar(
  cleanup: Cleanup,
  upstream: Upstream,
  profile?: string,
): Promise<readonly Route[]> {
  const directory = scratch(cleanup)
  const { config, policy } = await initialize(directory)
  const ca = join(directory, 'third-parties.pem')
  writeFileSync(ca, testCaPem)
  writeFileSync(policy, POLICY)
  const section = {
    certificateAuthorities: [ca],
    resolve: { [`${HOST}:443`]: `127.0.0.1:${upstream.port}` },
    allowAddresses: ['127.0.0.0/8'],
  }
  appendFileSync(config, `upstream: ${JSON.stringify(section)}\n`)
  const put = ['--config', config, 'secret', 'put', 'acme/token', '--target', `https://${HOST}`]
  const { stdout, status, stderr } = spawnSync(BINARY, put, { input: CREDENTIAL, encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  const free = ['--set', 'proxy.listen=127.0.0.1:0', '--set', 'ops.listen=127.0.0.1:0']
  const profiled = [process.execPath, '--cpu-prof', `--cpu-prof-dir=${profile}`, PROFILED, config]
  const child = startProxy(
    profile === undefined ? [BINARY, '--config', config, ...free, '--json', 'run'] : profiled,
  )
  cleanup.add(async () => {
    child.kill()
    await once(child, 'exit') // it drains, and with a profile it writes that
  })
  if (child.stdout === null || child.pid === undefined) throw new Error('the sidecar was not started')
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const { proxy } = JSON.parse(line.toString()) as { proxy: string }
  const common = {
    port: Number(proxy.split(':').pop()),
    authority: `${HOST}:443`,
    ca: readFileSync(join(directory, 'state', 'ca.pem'), 'utf8'),
    pids: [child.pid],
  }
  const held = `Bearer ${stdout.trim()}`
  return [
    { ...common, name: 'cloakroom', prefix: '/v1', authorization: held },
    { ...common, name: 'cloakroom, redact off', prefix: '/plain', authorization: held },
    { ...common, name: 'cloakroom, no swap', prefix: '/v1', authorization: `Bearer ${CREDENTIAL}` },
  ]
}

/** The way without anything between, twice: the difference of the two is the machine's noise. */
export function directRoutes({ port }: Upstream): readonly Route[] {
  const direct = {
    port,
    authority: undefined,
    ca: testCaPem,
    authorization: `Bearer ${CREDENTIAL}`,
    prefix: '/v1',
    pids: [],
  }
  return [
    { ...direct, name: 'direct' },
    { ...direct, name: 'direct again' },
  ]
}
