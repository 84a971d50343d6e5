/**
 * The process itself: what it refuses to start with, and doors of Node.js that stay shut while it runs.
 */
import { spawnSync } from 'node:child_process'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { aPlace, aRunningSidecar, cloakroom } from '../support/cli.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts')

function start(
  flags: readonly string[],
  env: Record<string, string> = {},
): { status: number | null; out: string } {
  const variables = Object.entries({ PATH: process.env.PATH ?? '', ...env }).map(
    ([name, value]) => `${name}=${value}`,
  )
  const run = spawnSync('env', ['-i', ...variables, process.execPath, ...flags, MAIN, 'version'], {
    encoding: 'utf8',
  })
  return { status: run.status, out: run.stdout + run.stderr }
}

// The whole matrix is in test/config/runtime.test.ts; these are the ones of each kind, in a real process.
t.test('exits 78 before it does anything when its flags or variables are unsafe', async t => {
  const unsafe: [flags: string[], env: Record<string, string>][] = [
    [['--insecure-http-parser'], {}],
    [['--report-on-signal'], {}],
    [[], { NODE_OPTIONS: '--tls-min-v1.0' }],
    [[], { NODE_OPTIONS: '--heapsnapshot-signal=SIGUSR2' }],
    [[], { NODE_TLS_REJECT_UNAUTHORIZED: '0' }],
    [[], { NODE_DEBUG: 'http' }],
    [[], { SSLKEYLOGFILE: '/dev/null' }],
  ]

  for (const [flags, env] of unsafe) {
    const { status, out } = start(flags, env)

    t.equal(status, 78, JSON.stringify([flags, env]))
    t.match(out, /cloakroom: error CONFIG_UNSAFE_RUNTIME: /)
    t.notMatch(out, /cloakroom \d/)
  }
})

t.test('starts with what is harmless', async t => {
  const { status, out } = start(['--max-old-space-size=200'], {
    NODE_EXTRA_CA_CERTS: '/no/such/file',
    NO_COLOR: '1',
  })

  t.equal(status, 0)
  t.match(out, /cloakroom \d/)
})

t.test('opens no debugger on SIGUSR1', async t => {
  const place = await aPlace(t)
  const sidecar = await aRunningSidecar(t, place)

  sidecar.child.kill('SIGUSR1')
  const status = await place.run(['status'])
  const isOpen = await new Promise<boolean>(resolve => {
    const socket = connect(9229, '127.0.0.1')
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  })

  t.equal(status.code, 0, 'it lives on')
  t.equal(isOpen, false)
  t.notMatch(sidecar.log(), /Debugger/)
})

t.test('waits for a running request on the first signal, and ends at once when told again', async t => {
  const place = await aPlace(
    t,
    `version: 1
callers: [{ id: local, identify: { source: loopback }, tenants: ['*'] }]
rules: [{ id: slow, callers: [local], target: http://slow.example.test, methods: [GET], paths: ['/**'] }]
`,
  )
  let arrived = (): void => undefined
  const hasArrived = new Promise<void>(resolve => {
    arrived = resolve
  })
  const upstream = createServer(socket => socket.on('error', () => undefined).once('data', () => arrived()))
  await new Promise<void>(resolve => upstream.listen(0, '127.0.0.1', resolve))
  t.teardown(() => upstream.close())
  const { port } = upstream.address() as AddressInfo
  const env = {
    CLOAKROOM_UPSTREAM_RESOLVE: `slow.example.test:80=127.0.0.1:${port}`,
    CLOAKROOM_UPSTREAM_ALLOW_ADDRESSES: '127.0.0.0/8',
  }
  const sidecar = await aRunningSidecar(t, place, { env })
  const app = connect(Number(sidecar.addresses.proxy.split(':').at(-1)), '127.0.0.1')
  app.on('error', () => undefined) // it is cut in the end
  app.write('GET http://slow.example.test/ HTTP/1.1\r\nHost: slow.example.test\r\n\r\n')
  await hasArrived

  sidecar.child.kill('SIGTERM')
  while (!sidecar.log().includes('"stopping"'))
    await new Promise(resolve => sidecar.child.stderr?.once('data', resolve))
  t.equal(sidecar.child.exitCode, null, 'it drains')
  // What comes within a second of the first is the same wish: a terminal and npm both pass a signal on.
  const again = setInterval(() => sidecar.child.kill('SIGTERM'), 200)
  const code = await sidecar.stop('SIGTERM')
  clearInterval(again)

  t.equal(code, 128 + 15)
})

t.test('makes what is missing on run --init, and leaves it alone the next time', async t => {
  const { aDirectory } = await import('../support/directory.ts')
  const directory = join(aDirectory(t), 'd')
  const config = join(directory, 'cloakroom.yaml')
  const place = {
    directory,
    config,
    run: (args: readonly string[]) => cloakroom(['--config', config, ...args]),
  }
  const ports = ['--set', 'proxy.listen=127.0.0.1:0', '--set', 'ops.listen=127.0.0.1:0']
  const { startCloakroom } = await import('../support/cli.ts')
  for (const round of [1, 2]) {
    const child = startCloakroom(['--config', config, ...ports, '--json', 'run', '--init'])
    const ended = new Promise(resolve => child.once('exit', resolve))
    await new Promise(resolve => child.stdout?.once('data', resolve))

    t.equal((await place.run(['status'])).code, 0, `round ${round}`)
    child.kill('SIGTERM')
    t.equal(await ended, 0)
  }
})

t.test('examines the place, makes a real swap, and says what fails', async t => {
  const place = await aPlace(
    t,
    `version: 1
callers: [{ id: local, identify: { source: loopback }, tenants: ['*'] }]
rules: [{ id: r, callers: [local], target: https://api.example.com, methods: [GET], paths: ['/**'] }]
`,
  )
  await aRunningSidecar(t, place)

  const well = await place.run(['doctor', '--json'])
  const { ok, findings } = JSON.parse(well.out) as {
    ok: boolean
    findings: { check: string; result: string; detail: string }[]
  }
  const resultOf = (check: string) => findings.find(finding => finding.check === check)?.result

  t.equal(well.code, 0, well.out)
  t.equal(ok, true)
  for (const check of ['keys', 'CA', 'trust files', 'sidecar', 'store', 'audit', 'interception', 'swap']) {
    t.equal(resultOf(check), 'ok', check)
  }
  t.match(findings.find(({ check }) => check === 'swap')?.detail, 'swapped, recorded and redacted')
})

t.test('goes on after a check that fails, and exits 1', async t => {
  const { chmodSync, writeFileSync } = await import('node:fs')
  const place = await aPlace(t, 'version: 1\nruls: []\n')
  chmodSync(join(place.directory, 'keys', 'root.key'), 0o444)
  chmodSync(join(place.directory, 'policy.yaml'), 0o666)
  chmodSync(join(place.directory, 'keys'), 0o755)
  writeFileSync(join(place.directory, 'state', 'trust', 'ca.pem'), 'other')

  const { code, out } = await place.run(['doctor'])

  t.equal(code, 1)
  t.match(out, /FAILED +policy +POLICY_INVALID: .*unknown key "ruls"/)
  t.match(out, /FAILED +permissions +.*policy\.yaml may be changed by others \(mode 0666\)/)
  t.match(out, /FAILED +directories +STORAGE_UNSAFE: .*keys is not safe: others may use it/)
  t.match(out, /FAILED +keys +KEY_FILE_UNSAFE: /)
  t.match(out, /-> chmod 0400 the file/)
  t.match(out, /FAILED +trust files/)
  t.match(out, /ok +swap/)
})
