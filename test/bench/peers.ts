/**
 * Other proxies that end TLS, for `--peers`: HAProxy (no CONNECT, so the load connects to it) and Squid with ssl-bump.
 *
 * Each replaces Authorization by the credential, verifies the upstream, keeps connections, and runs on one core. They hold the
 * credential in their configuration, decide nothing and record nothing: they are baselines, not rivals.
 */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { certificateFor, testCaPem } from '../support/third-party.ts'
import { startProxy } from './children.ts'
import { type Cleanup, CREDENTIAL, HOST, type Route, scratch, type Upstream } from './scene.ts'

const PEERS = { haproxy: startHaproxy, squid: startSquid } as const
const BINARIES = { haproxy: '/usr/sbin/haproxy', squid: '/usr/sbin/squid' } as const

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

async function startSquid(cleanup: Cleanup, upstream: Upstream): Promise<Route> {
  const directory = scratch(cleanup)
  // A CA for it alone, with its key in the open, as Squid wants it: made by the same code as ours.
  const authority = await plainAuthority(directory)
  writeFileSync(join(directory, 'upstream-ca.pem'), testCaPem)
  const port = await freePort()
  const helper = '/usr/lib/squid/security_file_certgen'
  const config = `
http_port 127.0.0.1:${port} ssl-bump tls-cert=${authority} generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
sslcrtd_program ${helper} -s ${directory}/db -M 4MB
sslcrtd_children 1
ssl_bump bump all
cache_peer 127.0.0.1 parent ${upstream.port} 0 no-query no-digest no-netdb-exchange originserver tls tls-cafile=${directory}/upstream-ca.pem ssldomain=${HOST}
never_direct allow all
http_access allow all
request_header_access Authorization deny all
request_header_replace Authorization Bearer ${CREDENTIAL}
cache deny all
cache_mem 0
access_log none
cache_log ${directory}/cache.log
pid_filename ${directory}/squid.pid
coredump_dir ${directory}
shutdown_lifetime 0
workers 1
`
  writeFileSync(join(directory, 'squid.conf'), config)
  spawnSync(helper, ['-c', '-s', join(directory, 'db'), '-M', '4MB'])
  spawnSync('chmod', ['-R', 'a+rwX', directory]) // started by root, it goes on as a user of its own
  const child = startProxy([
    BINARIES.squid,
    '-N',
    '-n',
    `bench${process.pid}`,
    '-f',
    join(directory, 'squid.conf'),
  ])
  cleanup.add(async () => {
    child.kill()
    await once(child, 'exit') // it removes its shared memory
  })
  await listening(port)
  const ca = readFileSync(authority, 'utf8')
  return routeTo({ name: 'squid', port, pid: child.pid ?? 0, ca, authority: `${HOST}:443` })
}

async function plainAuthority(directory: string): Promise<string> {
  const { createAuthority } = await import('../../src/tls/authority.ts')
  const { systemClock } = await import('../../src/base/clock.ts')
  const { certificatePem, privateKey } = createAuthority({ commonName: 'bench', clock: systemClock })
  const file = join(directory, 'authority.pem')
  writeFileSync(file, certificatePem + privateKey.export({ type: 'pkcs8', format: 'pem' }))
  return file
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
