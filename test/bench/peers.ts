/**
 * Other proxies that end TLS, for `--peers`: HAProxy. It has no CONNECT, so the load connects to it.
 *
 * It replaces Authorization by the credential, verifies the upstream, keeps connections, and runs on one core. It holds the
 * credential in its configuration, decides nothing and records nothing: a baseline, not a rival.
 */
import { existsSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { certificateFor, testCaPem } from '../support/third-party.ts'
import { startProxy } from './children.ts'
import { type Cleanup, CREDENTIAL, HOST, type Route, scratch, type Upstream } from './scene.ts'

const PEERS = { haproxy: startHaproxy } as const
const BINARIES = { haproxy: '/usr/sbin/haproxy' } as const

/** Starts the peers that are installed; names the others. */
export async function startPeers(
  cleanup: Cleanup,
  upstream: Upstream,
): Promise<{ readonly routes: readonly Route[]; readonly missing: readonly string[] }> {
  const routes: Route[] = []
  const missing: string[] = []
  for (const name of Object.keys(PEERS) as (keyof typeof PEERS)[]) {
    if (existsSync(BINARIES[name])) routes.push(await PEERS[name](cleanup, upstream))
    else missing.push(name)
  }
  return { routes, missing }
}

async function startHaproxy(cleanup: Cleanup, upstream: Upstream): Promise<Route> {
  const directory = scratch(cleanup)
  const { cert, key } = certificateFor(HOST)
  writeFileSync(join(directory, 'leaf.pem'), cert + key)
  writeFileSync(join(directory, 'ca.pem'), testCaPem)
  const port = await freePort()
  const config = `
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:${port} ssl crt ${directory}/leaf.pem alpn http/1.1
  http-request set-header Authorization "Bearer ${CREDENTIAL}"
  default_backend out
backend out
  server one 127.0.0.1:${upstream.port} ssl verify required ca-file ${directory}/ca.pem sni str(${HOST}) verifyhost ${HOST} pool-max-conn 512
`
  writeFileSync(join(directory, 'haproxy.cfg'), config)
  const child = startProxy([BINARIES.haproxy, '-db', '-f', join(directory, 'haproxy.cfg')])
  cleanup.add(() => child.kill())
  await listening(port)
  return routeTo({ name: 'haproxy', port, pid: child.pid ?? 0, ca: testCaPem, authority: undefined })
}

type Peer = {
  readonly name: string
  readonly port: number
  readonly pid: number
  readonly ca: string
  readonly authority: string | undefined
}

function routeTo({ pid, ...peer }: Peer): Route {
  return { ...peer, prefix: '/v1', authorization: 'Bearer placeholder', pids: [pid] }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

async function listening(port: number): Promise<void> {
  for (let i = 0; i < 200; i++) {
    const isThere = await new Promise<boolean>(resolve => {
      const socket = connect({ port, host: '127.0.0.1' })
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
      socket.once('connect', () => socket.destroy())
    })
    if (isThere) return
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  throw new Error(`nothing listens on ${port}`)
}
