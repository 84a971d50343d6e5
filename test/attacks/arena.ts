/**
 * What the attack tests share: a sidecar with a canary for a secret, an upstream with a ledger, and requests made of raw bytes.
 */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'
import { type Door, openTcp, openTunnel } from '../support/caller.ts'
import { makeCanary } from '../support/oracle.ts'
import { aSidecar, type SidecarOptions, type TestSidecar } from '../support/sidecar.ts'
import { anUpstream, type Teardown, type Upstream, type UpstreamOptions } from '../support/third-party.ts'

export const HOST = 'api.example.test'

export type Arena = {
  readonly sidecar: TestSidecar
  readonly upstream: Upstream
  readonly canary: string
  readonly placeholder: string
}

/** A sidecar, one upstream for api.example.test, and `acme/token` with a canary for its value. */
export async function anArena(
  t: Teardown,
  options: SidecarOptions & { readonly upstream?: UpstreamOptions; readonly canary?: string } = {},
): Promise<Arena> {
  const upstream = await anUpstream(t, options.upstream)
  const sidecar = await aSidecar(t, {
    ...options,
    upstreams: [upstream, ...(options.upstreams ?? [])],
  })
  const canary = options.canary ?? makeCanary('acme', 'token')
  const placeholder = await sidecar.put('acme/token', canary)
  return { sidecar, upstream, canary, placeholder }
}

/** Sends bytes and gives everything that comes until the other side ends; what it had to say may be nothing. */
export function sendRaw(socket: Duplex, bytes: string | Buffer): Promise<string> {
  const chunks: Buffer[] = []
  return new Promise(resolve => {
    const done = () => {
      socket.destroy()
      resolve(Buffer.concat(chunks).toString('latin1'))
    }
    socket.on('data', chunk => chunks.push(chunk))
    socket.on('error', done).on('end', done).on('close', done)
    socket.resume()
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  })
}

/** The status of a raw answer; 0 when there was none. */
export function statusOf(answer: string): number {
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 0)
}

/** The Cloakroom-Error of a raw answer. */
export function codeOf(answer: string): string | undefined {
  return /\r\ncloakroom-error: (\w+)/i.exec(answer)?.[1]
}

/** The body of a raw answer, out of its chunks. */
export function bodyOf(answer: string): string {
  const start = answer.indexOf('\r\n\r\n') + 4
  if (!/\r\ntransfer-encoding: chunked\r\n/i.test(answer.slice(0, start))) return answer.slice(start)
  let body = ''
  for (let at = start; ; ) {
    const line = answer.indexOf('\r\n', at)
    const length = Number.parseInt(answer.slice(at, line), 16)
    if (line < 0 || !(length > 0)) return body
    body += answer.slice(line + 2, line + 2 + length)
    at = line + 2 + length + 2
  }
}

/** One raw request in a tunnel of its own; everything that comes back. It should ask for the connection to be closed. */
export async function sendInTunnel(
  door: Door,
  request: string,
  options: { headers?: string; authority?: string } = {},
): Promise<string> {
  const socket = await openTunnel(
    door,
    options.authority ?? `${HOST}:443`,
    options.headers === undefined ? {} : { headers: options.headers },
  )
  return sendRaw(socket, request)
}

/** One raw request to the proxy's own port. */
export async function sendToProxy(door: Door, request: string): Promise<string> {
  const socket: Socket = await openTcp(door.port)
  return sendRaw(socket, request)
}

/** A GET with header lines, for raw requests; the connection ends with it. */
export function get(path: string, headers: readonly string[] = [], host = HOST): string {
  const lines = [`GET ${path} HTTP/1.1`, `Host: ${host}`, ...headers, 'Connection: close']
  return `${lines.join('\r\n')}\r\n\r\n`
}

/** Whether any of the upstreams was sent the canary. */
export function gotCanary(canary: string, ...upstreams: readonly Upstream[]): boolean {
  return upstreams.some(upstream => upstream.bytes().includes(canary))
}

/** Everything that the app could compare between two answers: all bytes but those of id, date. */
export function withoutIdAndDate(answer: string): string {
  return answer
    .replace(/^(date|cloakroom-request-id): .*\r$/gim, '$1: -\r')
    .replace(/"request":"[0-9A-Z]{26}"/, '"request":"-"')
}

/** The audit records, with all that has ended by now: a change of no consequence is recorded behind them first. */
export async function recordsOf(sidecar: TestSidecar): Promise<readonly Record<string, unknown>[]> {
  await sidecar.call('policy.reload', {}).catch(() => undefined) // it may have been stopped, and then all is written
  return sidecar.audit()
}

/** The last audit record that holds all of `fields`. */
export async function lastRecord(
  sidecar: TestSidecar,
  fields: Record<string, unknown> = {},
): Promise<Record<string, unknown> | undefined> {
  const records = await recordsOf(sidecar)
  return records.findLast(record => Object.entries(fields).every(([name, value]) => record[name] === value))
}

/** TLS over a connection that is there, without a server name; whose certificate comes is not looked at. */
export function secureWithoutName(socket: Socket): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const tls = tlsConnect({ socket, rejectUnauthorized: false }, () => resolve(tls))
    tls.once('error', reject)
    tls.on('error', () => undefined)
  })
}
