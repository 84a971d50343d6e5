/**
 * What an app gets: the variables of `env`, the process that `exec` runs, and the module that Node apps preload.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PRELOAD } from '../../src/cli/package.ts'
import { appVariables, formatVariables, proxyUrl, type VariableSource } from '../../src/cli/variables.ts'
import { aPlace, aRunningSidecar, cloakroom, type Place, startCloakroom } from '../support/cli.ts'
import { aDirectory } from '../support/directory.ts'

const SOURCE: VariableSource = {
  proxy: { host: '127.0.0.1', port: 3128 },
  credentials: undefined,
  trust: { ca: '/t/ca.pem', bundle: '/t/bundle.pem', trustStore: '/t/truststore.p12' },
  preload: '/p/register.mjs',
  env: {},
}

const PASSWORD_POLICY = `version: 1
callers:
  - id: billing
    identify: { proxyAuthorization: { sha256: '${'ab'.repeat(32)}' } }
    tenants: ['*']
`

function valuesOf(source: Partial<VariableSource> = {}): Record<string, string> {
  return Object.fromEntries(appVariables({ ...SOURCE, ...source }).map(({ name, value }) => [name, value]))
}

t.test(
  'sets the proxy in both cases, the bundle where a file replaces the roots, the CA where it is added',
  async t => {
    const values = valuesOf()

    for (const name of ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy']) {
      t.equal(values[name], 'http://127.0.0.1:3128', name)
    }
    t.equal(values.NO_PROXY, values.no_proxy)
    t.match(values.NO_PROXY, /(^|,)169\.254\.169\.254(,|$)/)
    for (const name of [
      'SSL_CERT_FILE',
      'CURL_CA_BUNDLE',
      'GIT_SSL_CAINFO',
      'REQUESTS_CA_BUNDLE',
      'AWS_CA_BUNDLE',
    ]) {
      t.equal(values[name], '/t/bundle.pem', name)
    }
    for (const name of ['NODE_EXTRA_CA_CERTS', 'DENO_CERT']) t.equal(values[name], '/t/ca.pem', name)
    t.equal(values.NODE_OPTIONS, '--import=file:///p/register.mjs')
    t.match(values.JAVA_TOOL_OPTIONS, '-Djavax.net.ssl.trustStore=/t/truststore.p12')
  },
)

t.test('keeps what the environment of the app says already', async t => {
  const env = {
    NO_PROXY: 'db.internal, localhost',
    NODE_OPTIONS: '--max-old-space-size=256',
    JAVA_TOOL_OPTIONS: '-Xmx64m -Dhttps.proxyPort=1',
  }

  const values = valuesOf({ env })
  const twice = valuesOf({ env: { ...env, ...values } })

  t.match(values.NO_PROXY, /^db\.internal,localhost,127\.0\.0\.1,/)
  t.equal(values.NODE_OPTIONS, '--max-old-space-size=256 --import=file:///p/register.mjs')
  t.match(values.JAVA_TOOL_OPTIONS, /-Dhttps\.proxyPort=3128 .*-Xmx64m -Dhttps\.proxyPort=1$/)
  t.same(twice, values, 'a second time changes nothing')
})

t.test('writes credentials, listening addresses and paths that need care', async t => {
  const credentials = { user: 'billing+acme', password: 'p@:/ %' }

  t.equal(
    proxyUrl({ proxy: SOURCE.proxy, credentials }),
    'http://billing%2Bacme:p%40%3A%2F%20%25@127.0.0.1:3128',
  )
  t.equal(proxyUrl({ proxy: { host: '0.0.0.0', port: 1 }, credentials: undefined }), 'http://127.0.0.1:1')
  t.equal(proxyUrl({ proxy: { host: '::', port: 1 }, credentials: undefined }), 'http://[::1]:1')
  t.equal(valuesOf({ preload: '/a b/%/r.mjs' }).NODE_OPTIONS, '--import=file:///a%20b/%25/r.mjs')
  t.match(
    valuesOf({ trust: { ...SOURCE.trust, trustStore: '/a b/t.p12' } }).JAVA_TOOL_OPTIONS,
    '"-Djavax.net.ssl.trustStore=/a b/t.p12"',
  )
})

t.test('writes every format so that it is read back as the same values', async t => {
  const tricky = [{ name: 'TRICKY', value: `it's "$HOME" \`x\` \\ |&;*`, used: '' }]

  const shell = spawnSync('sh', ['-c', `${formatVariables(tricky, 'sh')} printf %s "$TRICKY"`], {
    encoding: 'utf8',
  })
  const sourced = spawnSync('sh', ['-c', `${formatVariables(tricky, 'dotenv')} printf %s "$TRICKY"`], {
    encoding: 'utf8',
  })

  t.equal(shell.stdout, tricky[0]?.value)
  t.equal(sourced.stdout, tricky[0]?.value)
  t.equal(formatVariables(tricky, 'docker'), `TRICKY=${tricky[0]?.value}\n`)
  t.same(JSON.parse(formatVariables(tricky, 'json')), { TRICKY: tricky[0]?.value })
  t.match(formatVariables(tricky, 'k8s'), /^env:\n {2}- \{ name: TRICKY, value: "it's \\"\$HOME/)
})

t.test('prints variables from the configuration, and blanks for what it cannot know', async t => {
  const open = await aPlace(t)
  const closed = await aPlace(t, PASSWORD_POLICY)
  const password = join(closed.directory, 'password')
  writeFileSync(password, 'secret-password\n')
  const given = ['--caller', 'billing', '--tenant', 'acme', '--password-file', password]

  const [plain, blank, filled, alone, anyPort] = await Promise.all([
    open.run(['env', '--format', 'json']),
    closed.run(['env', '--format', 'json']),
    closed.run(['env', '--json', ...given]),
    closed.run(['env', '--tenant', 'acme']),
    open.run(['--set', 'proxy.listen=127.0.0.1:0', 'env']),
  ])

  t.equal(JSON.parse(plain.out).HTTPS_PROXY, 'http://127.0.0.1:3128')
  t.equal(JSON.parse(blank.out).HTTPS_PROXY, 'http://CALLER:PASSWORD@127.0.0.1:3128')
  t.match(blank.err, 'put the password of the caller in')
  t.equal(JSON.parse(filled.out).HTTPS_PROXY, 'http://billing%2Bacme:secret-password@127.0.0.1:3128')
  t.equal(filled.err, '')
  t.equal(alone.code, 2)
  t.equal(anyPort.code, 3)
})

t.test('gives exec the exit code of its command, and says when there is none', async t => {
  const place = await aPlace(t)
  const sidecar = await aRunningSidecar(t, place)
  const directory = aDirectory(t, { 'not-executable': '' })

  const [code, proxy, killed, missing, unfit] = await Promise.all([
    place.run(['exec', '--', 'sh', '-c', 'exit 7']),
    place.run(['exec', '--', 'sh', '-c', 'printf %s "$https_proxy"']),
    place.run(['exec', '--', 'sh', '-c', 'kill -KILL $$']),
    place.run(['exec', '--', 'no-such-program']),
    place.run(['exec', '--', join(directory, 'not-executable')]),
  ])

  t.equal(code.code, 7)
  t.equal(proxy.out, `http://${sidecar.addresses.proxy}`)
  t.equal(killed.code, 128 + 9)
  t.equal(missing.code, 127)
  t.match(missing.err, /no-such-program is not found/)
  t.equal(unfit.code, 126)
})

t.test('starts a private sidecar when none runs, and ends it with the command', async t => {
  const place = await aPlace(t)
  const script = 'printf %s "$https_proxy"; test -S "$0" && printf " %s" alive'

  const { code, out, err } = await place.run([
    'exec',
    '--',
    'sh',
    '-c',
    script,
    join(place.directory, 'state/admin.sock'),
  ])

  t.equal(code, 0, err)
  t.match(out, /^http:\/\/127\.0\.0\.1:[0-9]+ alive$/)
  t.match(err, 'a private sidecar listens on')
  t.equal((await place.run(['status'])).code, 3, 'it is gone')
})

/** Runs a script behind `exec`, and tells when it has said something. */
function startExec(place: Place, script: string) {
  const child = startCloakroom([
    '--config',
    place.config,
    'exec',
    '--',
    'sh',
    '-c',
    script,
    join(place.directory, 'state/admin.sock'),
  ])
  const seen = { text: '' }
  const waiting: (() => void)[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', chunk => {
      seen.text += String(chunk)
      for (const look of waiting) look()
    })
  }
  const ended = new Promise<number | null>(resolve => child.once('close', resolve))
  const says = (text: string) =>
    new Promise<void>(resolve => {
      const look = () => seen.text.includes(text) && resolve()
      waiting.push(look)
      look()
    })
  return { child, seen, ended, says }
}

t.test('keeps a private sidecar for a second command that uses it, until that one has ended too', async t => {
  const place = await aPlace(t)
  const script = 'echo up "$https_proxy" up; read line; test -S "$0" && echo alive'
  const first = startExec(place, script)
  await first.says(' up')
  const second = startExec(place, script)
  await second.says(' up')

  first.child.stdin?.end('\n')
  await first.says('other exec commands use the private sidecar')
  second.child.stdin?.end('\n')

  t.equal(await second.ended, 0)
  t.match(second.seen.text, 'alive')
  t.notMatch(second.seen.text, 'a private sidecar listens', 'it joined the first')
  t.equal(await first.ended, 0)
  t.equal((await place.run(['status'])).code, 3, 'it is gone')
})

t.test('ends a private sidecar that others use when a signal says so', async t => {
  const place = await aPlace(t)
  const first = startExec(place, 'echo first up; read line')
  await first.says('first up')
  const second = startExec(place, 'echo second up; read line')
  await second.says('second up')

  first.child.stdin?.end('\n')
  await first.says('other exec commands use the private sidecar')
  first.child.kill('SIGTERM')

  t.equal(await first.ended, 0)
  second.child.stdin?.end('\n')
  t.equal(await second.ended, 0)
})

t.test('two commands that start at one time share one private sidecar', async t => {
  const place = await aPlace(t)
  const exec = () => place.run(['exec', '--', 'sh', '-c', 'printf %s "$https_proxy"'])

  const both = await Promise.all([exec(), exec()])

  for (const { code, out, err } of both) {
    t.equal(code, 0, err)
    t.match(out, /^http:\/\/127/)
  }
})

t.test('takes the URL that caller add prints for a password, and refuses what the policy would', async t => {
  const place = await aPlace(t)
  await aRunningSidecar(t, place)
  const added = await place.run(['caller', 'add', 'billing', '--tenant', 'acme', '--json'])
  const { password, proxy } = JSON.parse(added.out) as { password: string; proxy: string }
  const directory = aDirectory(t, { url: `${proxy}\n`, bare: `${password}\n`, wrong: 'wrong\n' })
  const exec = (caller: string, ...options: string[]) =>
    place.run(['exec', '--caller', caller, ...options, '--', 'sh', '-c', 'printf %s "$https_proxy"'])
  const from = (name: string) => ['--password-file', join(directory, name)]

  const refused = await Promise.all([
    exec('billing'),
    exec('billing', ...from('wrong')),
    exec('nobody', ...from('bare')),
    exec('nobody', ...from('url')),
    exec('billing', '--tenant', 'globex', ...from('bare')),
  ])
  const [url, bare] = await Promise.all([
    exec('billing', ...from('url')),
    exec('billing', '--tenant', 'acme', ...from('bare')),
  ])

  for (const { code, out } of refused) t.same([code, out], [2, ''])
  t.match(refused[0]?.err, 'give --password-file')
  t.match(refused[1]?.err, 'not a password of caller billing')
  t.match(refused[2]?.err, 'the policy has no caller nobody')
  t.match(refused[3]?.err, 'not that of caller nobody')
  t.match(refused[4]?.err, 'does not act for tenant globex')
  t.match(url.out, new RegExp(`^http://billing:${password}@127`))
  t.match(bare.out, new RegExp(`^http://billing%2Bacme:${password}@127`))
})

t.test('passes signals on to the command, and waits for it', async t => {
  const place = await aPlace(t)
  const child = startCloakroom([
    '--config',
    place.config,
    'exec',
    '--',
    'sh',
    '-c',
    'trap "echo got; exit 9" TERM; echo up; while :; do sleep 0.05; done',
  ])
  let out = ''
  const up = new Promise<void>(resolve => {
    child.stdout?.on('data', chunk => {
      out += String(chunk)
      if (out.includes('up')) resolve()
    })
  })
  const ended = new Promise<number | null>(resolve => child.once('close', resolve))
  await up

  child.kill('SIGTERM')

  t.equal(await ended, 9)
  t.match(out, 'got')
})

t.test('runs commands of its own below exec, where NODE_OPTIONS has the preload', async t => {
  const place = await aPlace(t)
  await aRunningSidecar(t, place)
  const { BINARY } = await import('../support/cli.ts')

  const { code, out, err } = await place.run([
    'exec',
    '--',
    BINARY,
    '--config',
    place.config,
    'status',
    '--json',
  ])

  t.equal(code, 0, err)
  t.equal(JSON.parse(out).halted.length, 0)
})

type Seen = { readonly method: string; readonly target: string; readonly authorization: string | undefined }

/** A proxy that notes what it is asked for, tunnels nowhere, and answers plain requests itself. */
async function aNotingProxy(t: Test): Promise<{ url: string; seen: Seen[]; echo: number }> {
  const seen: Seen[] = []
  const note = (request: IncomingMessage) =>
    seen.push({
      method: request.method ?? '',
      target: request.url ?? '',
      authorization: request.headers['proxy-authorization'],
    })
  const server = createServer((request, response) => {
    note(request)
    response.end('by proxy')
  })
  const target = createServer((_, response) => response.end('by target'))
  await new Promise<void>(resolve => target.listen(0, '127.0.0.1', resolve))
  const echo = (target.address() as AddressInfo).port
  server.on('connect', (request, socket) => {
    note(request)
    if (request.url?.startsWith('refused.')) {
      return socket.end(
        'HTTP/1.1 403 Forbidden\r\nCloakroom-Error: POLICY_DENIED\r\nContent-Length: 0\r\n\r\n',
      )
    }
    const upstream = connect(echo, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      upstream.pipe(socket)
      socket.pipe(upstream)
    })
    upstream.on('error', () => socket.destroy())
    socket.on('error', () => upstream.destroy())
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const one of [server, target]) {
      one.closeAllConnections()
      one.close()
    }
  })
  return { url: `http://caller:pass%20word@127.0.0.1:${(server.address() as AddressInfo).port}`, seen, echo }
}

/** Runs a script in a Node of its own with the preload; `env` on top. */
async function inNode(script: string, env: Record<string, string>): Promise<string> {
  const variables = Object.entries({ PATH: process.env.PATH ?? '', ...env }).map(
    ([name, value]) => `${name}=${value}`,
  )
  const args = [
    '-i',
    ...variables,
    process.execPath,
    `--import=file://${PRELOAD}`,
    '--input-type=module',
    '-e',
    script,
  ]
  const child = spawn('env', args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', chunk => {
      out += String(chunk)
    })
  await new Promise(resolve => child.once('close', resolve))
  return out
}

const REPORT = `const report = error => console.log(error.code ?? error.cause?.code ?? error.message)`

t.test('sends the requests of an agent that the app made itself through the proxy', async t => {
  const { url, seen } = await aNotingProxy(t)
  const script = `${REPORT}
    import https from 'node:https'
    class Own extends https.Agent {}
    https.get('https://api.example.test/x', { agent: new Own({ keepAlive: true }) }).on('error', report)`

  const out = await inNode(script, { HTTPS_PROXY: url })

  t.match(out, /EPROTO|ERR_SSL/, 'TLS begins in the tunnel; what answers there speaks no TLS')
  t.same(seen, [
    {
      method: 'CONNECT',
      target: 'api.example.test:443',
      authorization: `Basic ${Buffer.from('caller:pass word').toString('base64')}`,
    },
  ])
})

t.test('reports a refused tunnel with the code of the sidecar', async t => {
  const { url } = await aNotingProxy(t)
  const script = `import https from 'node:https'
    https.get('https://refused.example.test/').on('error', error => console.log(error.code, error.message))`

  t.match(await inNode(script, { HTTPS_PROXY: url }), /ERR_PROXY_TUNNEL .*403 POLICY_DENIED/)
})

t.test('sends plain requests of an own agent to the proxy in absolute form', async t => {
  const { url, seen } = await aNotingProxy(t)
  const script = `import http from 'node:http'
    http.get('http://api.example.test:8080/a?b', { agent: new http.Agent() }, response => {
      response.on('data', chunk => console.log(String(chunk)))
    })`

  const out = await inNode(script, { HTTP_PROXY: url })

  t.match(out, 'by proxy')
  t.match(seen, [{ method: 'GET', target: 'http://api.example.test:8080/a?b', authorization: /^Basic / }])
})

t.test('leaves alone what NO_PROXY names, unix sockets, and everything when it is off', async t => {
  const { url, seen, echo } = await aNotingProxy(t)
  const script = `import http from 'node:http'
    http.get('http://127.0.0.1:${echo}/', { agent: new http.Agent() }, response => {
      response.on('data', chunk => console.log(String(chunk)))
    })`

  const bypassed = await inNode(script, { HTTP_PROXY: url, NO_PROXY: 'localhost,127.0.0.1' })
  const off = await inNode(script, { HTTP_PROXY: url, CLOAKROOM_PRELOAD: 'off' })
  const none = await inNode(script, {})

  for (const out of [bypassed, off, none]) t.equal(out, 'by target\n')
  t.same(seen, [])
})

t.test('sends fetch through the proxy where Node does not do it itself', async t => {
  const { url, seen } = await aNotingProxy(t)
  const script = `${REPORT}
    await fetch('https://api.example.test/x').catch(report)`

  await inNode(script, { HTTPS_PROXY: url })

  t.match(seen, [{ method: 'CONNECT', target: 'api.example.test:443', authorization: /^Basic / }])
})

t.test('reads NO_PROXY as the other runtimes do', async t => {
  const { isBypassed } = (await import(PRELOAD)) as {
    isBypassed: (host: string, port: number, list: string) => boolean
  }
  const yes: [string, number, string][] = [
    ['localhost', 80, 'localhost'],
    ['LOCALHOST.', 80, 'localhost'],
    ['a.svc', 80, '.svc'],
    ['a.b.svc', 80, '*.svc'],
    ['example.com', 443, 'a.com, example.com'],
    ['www.example.com', 443, 'example.com'],
    ['x', 1, '*'],
    ['::1', 80, '::1'],
    ['[::1]', 80, '::1'],
    ['a.com', 8080, 'a.com:8080'],
  ]
  const no: [string, number, string][] = [
    ['example.com', 443, ''],
    ['badexample.com', 443, 'example.com'],
    ['example.com.evil.test', 443, 'example.com'],
    ['a.com', 443, 'a.com:8080'],
    ['11.1.1.1', 80, '1.1.1.1'],
    ['1.1.1.1', 80, '1.1'],
  ]

  for (const [host, port, list] of yes) t.ok(isBypassed(host, port, list), `${host}:${port} in ${list}`)
  for (const [host, port, list] of no) t.notOk(isBypassed(host, port, list), `${host}:${port} not in ${list}`)
})

t.test('works when called through symbolic links, and says so when packages are missing', async t => {
  const directory = aDirectory(t)
  const { BINARY } = await import('../support/cli.ts')
  spawnSync('ln', ['-s', BINARY, join(directory, 'one')])
  mkdirSync(join(directory, 'sub'))
  spawnSync('ln', ['-s', '../one', join(directory, 'sub', 'two')])
  mkdirSync(join(directory, 'checkout/bin'), { recursive: true })
  writeFileSync(join(directory, 'checkout/bin/cloakroom'), readFileSync(BINARY), { mode: 0o755 })

  const linked = spawnSync('env', ['-i', `PATH=${process.env.PATH}`, join(directory, 'sub/two'), 'version'], {
    encoding: 'utf8',
  })
  const bare = spawnSync(
    'env',
    ['-i', `PATH=${process.env.PATH}`, join(directory, 'checkout/bin/cloakroom')],
    { encoding: 'utf8' },
  )

  t.match(linked.stdout, /^cloakroom \d/)
  t.equal(bare.status, 78)
  t.match(bare.stderr, 'run "npm ci" in')
  t.equal((await cloakroom(['version'])).code, 0)
})
