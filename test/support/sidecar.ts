/**
 * A whole sidecar in this process, on free ports of loopback, with a state directory that is removed afterwards.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSidecar, type Sidecar } from '../../src/app.ts'
import { createLog, type LogLevel } from '../../src/base/log.ts'
import { initialize } from '../../src/cli/init.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { callOperation } from './operations.ts'
import { type Teardown, testCaPem, type Upstream } from './third-party.ts'

export type SidecarOptions = {
  /** Rules and callers; see `policyFor` for the usual one. */
  readonly policy?: string
  /** `host:port` as callers name them, to where they really are. */
  readonly upstreams?: readonly (Upstream | { host: string; port: number; as?: number })[]
  /** Sections of cloakroom.yaml, as JSON, merged over those of the tests. */
  readonly config?: Record<string, Record<string, unknown>>
  readonly level?: LogLevel
  /** Started by the test itself. */
  readonly manual?: boolean
}

export type TestSidecar = {
  readonly sidecar: Sidecar
  readonly config: Config
  readonly directory: string
  readonly port: number
  readonly relayPort: number
  readonly opsPort: number
  readonly caPem: string
  /** Everything that the log wrote. */
  log(): string
  /** Audit records so far, parsed; the last first when `reverse`. */
  audit(): Promise<readonly Record<string, unknown>[]>
  /** Puts a secret and gives its placeholder. */
  put(
    secret: string,
    value: string | Buffer,
    options?: {
      target?: string | string[]
      shape?: string
      expiresAt?: number
      force?: boolean
      widen?: boolean
    },
  ): Promise<string>
  /** Any operation of the admin API. */
  call(name: string, params: unknown): Promise<unknown>
  writePolicy(text: string): void
  metrics(): Promise<string>
  stop(): Promise<void>
}

/** A policy with one loopback caller and one rule for api.example.test. */
export function policyFor(rules: string, extra = ''): string {
  return `version: 1\ncallers:\n  - id: app\n    identify: { source: loopback }\n    tenants: ['*']\n${extra}rules:\n${rules}`
}

export const USUAL_RULE = `  - id: example
    callers: [app]
    target: https://api.example.test
    methods: [GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS]
    paths: ['/**']
    swap:
      - secrets: ['*/token']
        in: [header.authorization, header.x-api-key, basic.user, basic.password, query.key, path]
`

export const USUAL_POLICY = policyFor(USUAL_RULE)

export async function aSidecar(t: Teardown, options: SidecarOptions = {}): Promise<TestSidecar> {
  const directory = mkdtempSync(join(tmpdir(), 'cloakroom-test-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  await initialize(directory)
  const ca = join(directory, 'upstream-ca.pem')
  writeFileSync(ca, testCaPem)
  const policyFile = join(directory, 'policy.yaml')
  writeFileSync(policyFile, options.policy ?? USUAL_POLICY)
  const file = join(directory, 'cloakroom.yaml')
  writeFileSync(file, JSON.stringify(sectionsOf(ca, options)))
  const config = loadConfig({ flag: file, env: {} })
  const lines: string[] = []
  const log = createLog({
    level: options.level ?? 'debug',
    format: 'json',
    isTerminal: false,
    now: () => 0,
    write: line => void lines.push(line),
  })
  const sidecar = createSidecar(config, log)
  let stopped: Promise<void> | undefined
  const stop = () => {
    stopped ??= sidecar.stop('test')
    return stopped
  }
  t.teardown(stop)
  if (options.manual !== true) await sidecar.start()
  const portOf = (address: string | undefined) => Number(address?.split(':').pop() ?? 0)
  return {
    sidecar,
    config,
    directory,
    get port() {
      return portOf(sidecar.addresses().proxy)
    },
    get relayPort() {
      return portOf(sidecar.addresses().relay)
    },
    get opsPort() {
      return portOf(sidecar.addresses().ops)
    },
    get caPem() {
      return readFileSync(config.ca.certificate, 'utf8')
    },
    log: () => lines.join(''),
    audit: async () => readRecords(join(directory, 'state', 'audit.jsonl')),
    async put(secret, value, { target = 'https://api.example.test', ...rest } = {}) {
      const targets = Array.isArray(target) ? target : [target]
      const bytes = Buffer.from(value)
      const answer = await callOperation(config.admin.socket, 'secret.put', {
        secret,
        value: bytes.toString('base64'),
        targets,
        ...rest,
      })
      return (answer as { placeholder: string }).placeholder
    },
    call: (name, params) => callOperation(config.admin.socket, name, params),
    writePolicy: text => writeFileSync(policyFile, text),
    metrics: async () => {
      const answer = await fetch(`http://127.0.0.1:${portOf(sidecar.addresses().ops)}/metrics`)
      return answer.text()
    },
    stop,
  }
}

function sectionsOf(ca: string, options: SidecarOptions): Record<string, unknown> {
  const resolve = Object.fromEntries(
    (options.upstreams ?? []).map(upstream => [
      `${upstream.host}:${'as' in upstream ? (upstream.as ?? 443) : 443}`,
      `127.0.0.1:${upstream.port}`,
    ]),
  )
  const defaults: Record<string, Record<string, unknown>> = {
    proxy: { listen: '127.0.0.1:0' },
    ops: { listen: '127.0.0.1:0' },
    upstream: { certificateAuthorities: [ca], resolve, allowAddresses: ['127.0.0.0/8'] },
    limits: { drain: '2s' },
  }
  const names = new Set([...Object.keys(defaults), ...Object.keys(options.config ?? {})])
  return Object.fromEntries([...names].map(name => [name, { ...defaults[name], ...options.config?.[name] }]))
}

function readRecords(file: string): Record<string, unknown>[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Record<string, unknown>)
}
