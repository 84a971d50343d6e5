/**
 * A real swap on this machine, for `doctor`: a private sidecar, a private third party on loopback, one request between them.
 *
 * It uses keys, a store and a policy of its own in a temporary directory that is removed afterwards; the configured sidecar and its
 * secrets are not touched. What it proves is this program on this machine: keys, database, TLS, audit, swap and redaction.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readLast } from '../audit/tail.ts'
import { systemClock } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { silentLog } from '../base/log.ts'
import { randomBase62 } from '../base/random.ts'
import { loadConfig } from '../config/load.ts'
import { parseListen } from '../config/options.ts'
import type { Config } from '../config/schema.ts'
import { trustFilesOf } from '../config/trust-files.ts'
import { createAuthority, loadAuthority } from '../tls/authority.ts'
import { askForTunnel, exchangeOnce, handshake, reachSidecar } from './admin-client.ts'
import { initialize } from './init.ts'

export type SwapReport = {
  /** The third party got the value and no placeholder. */
  readonly swapped: boolean
  /** The app got its placeholder back where the third party repeated the value. */
  readonly redacted: boolean
  /** The audit log has the intent. */
  readonly recorded: boolean
}

const HOST = 'doctor.cloakroom.test' // RFC 6761: .test is nobody's
const POLICY = `version: 1
callers:
  - { id: doctor, identify: { source: loopback }, tenants: [doctor] }
rules:
  - id: doctor
    callers: [doctor]
    target: https://${HOST}
    methods: [GET]
    paths: [/check]
    swap: [{ secrets: [doctor/check], in: [header.authorization] }]
`

/** Makes the swap; everything that it started is ended when it resolves. @throws what the sidecar throws */
export async function swapForReal(): Promise<SwapReport> {
  const directory = mkdtempSync(join(tmpdir(), 'cloakroom-doctor-'))
  const value = randomBase62(32)
  const thirdParty = await startThirdParty(directory)
  try {
    await initialize(join(directory, 'd'))
    writeFileSync(join(directory, 'd', 'policy.yaml'), POLICY)
    return await swapThrough(privateConfig(directory, thirdParty.port), value, thirdParty)
  } finally {
    thirdParty.server.close()
    thirdParty.server.closeAllConnections()
    rmSync(directory, { recursive: true, force: true })
  }
}

async function swapThrough(config: Config, value: string, thirdParty: ThirdParty): Promise<SwapReport> {
  const { createSidecar } = await import('../app.ts')
  const sidecar = createSidecar(config, silentLog)
  const { proxy } = await sidecar.start()
  try {
    const placeholder = await putSecret(config, value)
    const answer = await callThrough(config, proxy, placeholder)
    const events = await readLast(config.audit.sinks[0]?.path ?? '', 20)
    return {
      swapped: thirdParty.received() === `Bearer ${value}`,
      redacted: answer.includes(placeholder) && !answer.includes(value),
      recorded: events.some(({ event }) => event.event === 'intent'),
    }
  } finally {
    await sidecar.stop('doctor')
  }
}

async function putSecret(config: Config, value: string): Promise<string> {
  const control = await reachSidecar(config.admin.socket)
  if (control === undefined) throw new CloakroomError('CLI_UNREACHABLE', { what: 'the private sidecar' })
  const { placeholder } = await control.call('secret.put', {
    secret: 'doctor/check',
    value: Buffer.from(value).toString('base64'),
    targets: [`https://${HOST}`],
  })
  return placeholder
}

async function callThrough(config: Config, proxy: string, placeholder: string): Promise<string> {
  const listen = parseListen(proxy) ?? config.proxy.listen
  const tunnel = await askForTunnel(listen, `${HOST}:443`)
  if (tunnel.kind === 'refused') {
    throw new CloakroomError('CLI_FAILED', {
      what: `the private sidecar refused the tunnel (${tunnel.status})`,
    })
  }
  const secure = await handshake(tunnel.socket, HOST, readFileSync(trustFilesOf(config).ca, 'utf8'))
  return exchangeOnce(secure, [
    'GET /check HTTP/1.1',
    `Host: ${HOST}`,
    `Authorization: Bearer ${placeholder}`,
    'Connection: close',
  ])
}

type ThirdParty = { readonly server: Server; readonly port: number; received(): string | undefined }

// Repeats the credential in its answer, as debugging endpoints do.
async function startThirdParty(directory: string): Promise<ThirdParty> {
  const { certificatePem, privateKey } = createAuthority({
    commonName: 'Cloakroom doctor',
    clock: systemClock,
  })
  writeFileSync(join(directory, 'third-party-ca.pem'), certificatePem)
  const authority = loadAuthority({ certificatePem, privateKey, clock: systemClock, file: 'the doctor' })
  const leaf = authority.mint(HOST)
  const key = leaf.privateKey.export({ type: 'pkcs8', format: 'pem' })
  let received: string | undefined
  const server = createServer({ cert: leaf.certificatePem, key }, (incoming, response) => {
    received = incoming.headers.authorization
    response.end(received)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  return { server, port: (server.address() as AddressInfo).port, received: () => received }
}

function privateConfig(directory: string, port: number): Config {
  return loadConfig({
    flag: join(directory, 'd'),
    env: {},
    set: [
      'proxy.listen=127.0.0.1:0',
      'ops.listen=127.0.0.1:0',
      `upstream.certificateAuthorities=${join(directory, 'third-party-ca.pem')}`,
      `upstream.resolve=${HOST}:443=127.0.0.1:${port}`,
      'upstream.allowAddresses=127.0.0.0/8',
    ],
  })
}
