/**
 * No credential leaks, and no placeholder where it would be a capability in the wrong hands (SECURITY I4, promise P1).
 *
 * Every main flow runs with canaries for values; then all that came out is searched, in every encoding that the oracle knows: what
 * the app got, the log at its most talkative, the audit log, metrics, admin answers, the command line, and every file of the state
 * directory. A new output belongs into `captured`. The controls at the end show that the search finds what it looks for.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createLog } from '../../src/base/log.ts'
import { get, HOST, sendInTunnel, sendToProxy } from '../attacks/arena.ts'
import { connectTo, openTcp, openTunnel } from '../support/caller.ts'
import { aServerCertificate } from '../support/certificates.ts'
import { cloakroom } from '../support/cli.ts'
import { findLeaks, makeCanary } from '../support/oracle.ts'
import { aSidecar, policyFor, type TestSidecar, USUAL_RULE } from '../support/sidecar.ts'
import { anUpstream, aRawUpstream, type Teardown } from '../support/third-party.ts'

/** `showsPlaceholder`: who reads it holds the placeholder anyhow. */
type Capture = { readonly name: string; readonly bytes: Buffer; readonly showsPlaceholder: boolean }

/** Everything that leaks, in words. */
function leaksIn(
  captures: readonly Capture[],
  canaries: readonly string[],
  placeholders: readonly string[],
): string[] {
  return captures.flatMap(({ name, bytes, showsPlaceholder }) => [
    ...canaries.flatMap(canary => findLeaks(bytes, canary).map(form => `${name} holds ${canary} (${form})`)),
    ...(showsPlaceholder
      ? []
      : placeholders.filter(one => bytes.includes(one)).map(one => `${name} holds ${one}`)),
  ])
}

const HOSTS = [
  'refused',
  'bad-certificate',
  'closes',
  'truncates',
  'malformed',
  'coded',
  'silent',
  'asks',
  'stops',
] as const
const BLIND = 'blind.test'

function rules(extra = ''): string {
  const others = HOSTS.map(name =>
    USUAL_RULE.replace('id: example', `id: ${name}`).replace(HOST, `${name}.test`),
  )
  const limits = '    limits: { upstreamHead: 150ms, idle: 150ms }\n'
  return policyFor(
    `${USUAL_RULE}${extra}${others.map(rule => rule + limits).join('')}  - { id: blind, callers: [app], target: 'https://${BLIND}', mode: tunnel }\n`,
  )
}

async function upstreams(t: Teardown) {
  const script = (host: string, act: (socket: Socket) => void) =>
    aRawUpstream(t, {
      host: `${host}.test`,
      onSocket: socket => void socket.once('data', data => act(Object.assign(socket, { seen: data }))),
    })
  const echoed = (socket: Socket) => (socket as unknown as { seen: Buffer }).seen
  const good = await anUpstream(t)
  const closed = await anUpstream(t, { host: 'refused.test' })
  await closed.close()
  return [
    good,
    closed,
    await aRawUpstream(t, {
      host: 'bad-certificate.test',
      certificate: aServerCertificate('self', { host: 'bad-certificate.test' }),
      onSocket: () => undefined,
    }),
    await script('closes', socket => socket.destroy()),
    await script('truncates', socket =>
      socket.end(
        Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n'), echoed(socket)]),
      ),
    ),
    await script('malformed', socket =>
      socket.end(Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nBad Header : '), echoed(socket)])),
    ),
    await script('coded', socket =>
      socket.end(
        Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\n\r\n'), echoed(socket)]),
      ),
    ),
    await script('silent', () => undefined),
    await script('asks', socket => socket.end('HTTP/1.1 407 Give me\r\nContent-Length: 0\r\n\r\n')),
    await script('stops', socket =>
      socket.write(
        Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n'), echoed(socket)]),
      ),
    ),
    await anUpstream(t, { host: BLIND }),
  ]
}

type Stage = {
  readonly sidecar: TestSidecar
  readonly canaries: string[]
  readonly placeholders: string[]
  readonly captures: Capture[]
  /** Keeps what the app or an administrator got. */
  keep(name: string, what: unknown): void
}

async function aStage(t: Teardown, policy = rules()): Promise<Stage> {
  const sidecar = await aSidecar(t, {
    upstreams: await upstreams(t),
    policy,
    level: 'debug',
    config: { relay: { listen: '127.0.0.1:0' }, limits: { drain: '2s', guesses: 1000 } },
  })
  const captures: Capture[] = []
  return {
    sidecar,
    captures,
    canaries: [],
    placeholders: [],
    keep: (name, what) => {
      const bytes = Buffer.from(typeof what === 'string' ? what : (JSON.stringify(what) ?? ''), 'latin1')
      captures.push({ name, bytes, showsPlaceholder: true })
    },
  }
}

async function put(stage: Stage, secret: string, options: Record<string, unknown> = {}): Promise<string> {
  const canary = makeCanary('acme', secret.replace('/', '-'))
  const placeholder = await stage.sidecar.put(secret, canary + (options.tail ?? ''), {
    target: [HOST, ...HOSTS.map(name => `${name}.test`)].map(host => `https://${host}`),
    force: true,
  })
  stage.canaries.push(canary)
  stage.placeholders.push(placeholder)
  return placeholder
}

async function requests(stage: Stage, placeholder: string): Promise<void> {
  const { sidecar, keep } = stage
  const bearer = `Authorization: Bearer ${placeholder}`
  const basic = (text: string) => `Authorization: Basic ${Buffer.from(text).toString('base64')}`
  const plain: Record<string, string> = {
    'good, in a header': get('/a', [bearer]),
    'good, in Basic': get('/b', [basic(`${placeholder}:x`)]),
    'good, in the query': get(`/c?key=${placeholder}&x=1`),
    'good, in the path': get(`/bot${placeholder}/d`),
    'good, a body by length': `POST /e HTTP/1.1\r\nHost: ${HOST}\r\n${bearer}\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello`,
    'good, a body by chunks': `POST /e HTTP/1.1\r\nHost: ${HOST}\r\n${bearer}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
    'good, HEAD': get('/f', [bearer]).replace('GET', 'HEAD'),
    'denied by method': get('/g', [bearer]).replace('GET', 'PURGE'),
    'refused: misplaced': get('/h', [`User-Agent: ${placeholder}`]),
    'refused: in the path and query of no rule': get(`/i?other=${placeholder}`),
    'refused: in disguise': get(`/j/${encodeURIComponent(placeholder).replace('_', '%5f')}`),
    'refused: in a method': get('/').replace('GET', placeholder.toUpperCase().replaceAll('_', '-')),
    'refused: in a body': `POST /k HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: ${placeholder.length}\r\n\r\n${placeholder}`,
    'refused: in a trailer': `POST /l HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nX-T: ${placeholder}\r\n\r\n`,
    malformed: `GET /m HTTP/1.1\r\nHost: ${HOST}\r\n${bearer}\r\nBad Header: ${placeholder}\r\n\r\n`,
    'ambiguous framing': `POST /n HTTP/1.1\r\nHost: ${HOST}\r\n${bearer}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    misdirected: get(`/o?key=${placeholder}`, [bearer], 'evil.test'),
    'a host that is a placeholder': get('/p', [], `${placeholder}.test`),
    upgrade: get('/q', [bearer, 'Upgrade: websocket', 'Connection: upgrade']),
  }
  for (const [name, request] of Object.entries(plain)) keep(name, await sendInTunnel(sidecar, request))
  for (const name of HOSTS) {
    const host = `${name}.test`
    keep(name, await sendInTunnel(sidecar, get('/', [bearer], host), { authority: `${host}:443` }))
  }
}

async function connections(stage: Stage, placeholder: string): Promise<void> {
  const { sidecar, keep } = stage
  const bearer = `Authorization: Bearer ${placeholder}`
  const front: Record<string, string> = {
    'absolute, good': get(`https://${HOST}/?key=${placeholder}`),
    'absolute, downgraded': get(`http://${HOST}/?key=${placeholder}`, [bearer]),
    'absolute, denied': get(`https://${placeholder}.test/${placeholder}?${placeholder}`),
    'origin form': get(`/${placeholder}`),
    'CONNECT to a placeholder': `CONNECT ${placeholder}.test:443 HTTP/1.1\r\nHost: x\r\n\r\n`,
    'CONNECT with one in userinfo': `CONNECT ${placeholder}@${HOST}:443 HTTP/1.1\r\nHost: x\r\n\r\n`,
    'a wrong proxy credential': `CONNECT ${HOST}:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer app.${placeholder}\r\n\r\n`,
    rubbish: `${placeholder}\r\n\r\n`,
  }
  for (const [name, request] of Object.entries(front)) keep(name, await sendToProxy(sidecar, request))
  await openTunnel(sidecar, `${HOST}:443`, {
    servername: `${placeholder.toLowerCase().replaceAll('_', '-')}.test`,
  }).catch(() => undefined)
  const aborted = await openTunnel(sidecar, `${HOST}:443`)
  aborted.write(`POST / HTTP/1.1\r\nHost: ${HOST}\r\n${bearer}\r\nContent-Length: 9999\r\n\r\nsome`)
  aborted.destroy()
  const { socket } = await connectTo(sidecar, `${BLIND}:443`)
  socket.write(bearer)
  socket.destroy()
  for (const [name, lines] of Object.entries({
    'relay, good': [bearer],
    'relay, refused': [`User-Agent: ${placeholder}`],
    'relay, from a page': [bearer, 'Origin: x'],
  })) {
    const relay = await openTcp(sidecar.relayPort)
    keep(
      name,
      await sendAndRead(
        relay,
        get(`/https/${HOST}/r?key=${name.length}`, lines, `127.0.0.1:${sidecar.relayPort}`),
      ),
    )
  }
}

function sendAndRead(socket: Socket, bytes: string): Promise<string> {
  let text = ''
  return new Promise(resolve => {
    socket
      .on('data', data => (text += data.toString('latin1')))
      .on('end', () => resolve(text))
      .on('close', () => resolve(text))
    socket.resume()
    socket.write(bytes)
  })
}

async function administration(stage: Stage): Promise<void> {
  const { sidecar, keep, canaries } = stage
  const secret = 'acme/token'
  const canary = makeCanary('acme', 'admin')
  canaries.push(canary)
  const value = Buffer.from(canary).toString('base64')
  const target = `https://${HOST}`
  const calls: [string, unknown][] = [
    ['secret.rotate', { secret, value }],
    ['secret.import', { secrets: [{ secret: 'acme/imported', value, targets: [target] }] }],
    ['secret.get', { secret }],
    ['secret.list', {}],
    ['secret.versions', { secret }],
    ['secret.placeholder', { secret }],
    ['secret.disable', { secret }],
    ['secret.enable', { secret }],
    ['secret.put', { secret, value, targets: ['https://other.test'] }],
    ['secret.put', { secret, value: canary, targets: [target] }],
    ['secret.put', { secret: canary, value, targets: [target] }],
    ['secret.put', { secret: `acme/${canary.toUpperCase()}`, value, targets: [target] }],
    ['secret.put', { secret, value, targets: [canary] }],
    ['secret.put', { secret, value, shape: `${canary}!` }],
    ['secret.put', { secret, value, [canary]: 1 }],
    ['secret.put', { secret: { [canary]: value }, value }],
    ['secret.get', { secret: 'acme/none' }],
    ['status', {}],
    ['caller.add', { caller: 'second', tenants: ['acme'] }],
    ['halt', { secret }],
    ['halt.lift', { secret }],
    ['policy.reload', {}],
    ['secret.revoke', { secret: 'acme/imported' }],
    ['secret.delete', { secret: 'acme/imported' }],
  ]
  for (const [name, params] of calls)
    keep(`${name}`, await sidecar.call(name, params).catch((cause: Error) => cause.message))
  for (const body of [
    `{"value":"${canary}`,
    canary,
    `["${canary}"]`,
    `{"secret":"acme/x","value":"${value}",}`,
  ])
    keep('admin, no JSON', await postRaw(sidecar.config.admin.socket, '/v1/secret.put', body))
  keep('admin, no operation', await postRaw(sidecar.config.admin.socket, `/v1/${canary}`, '{}'))
}

function postRaw(socketPath: string, path: string, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = {
      Host: 'localhost',
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
    }
    const call = httpRequest({ socketPath, path, method: 'POST', headers }, response => {
      let text = ''
      response.on('data', data => (text += data)).on('end', () => resolve(text))
    })
    call.on('error', reject)
    call.end(body)
  })
}

async function commands({ sidecar, keep }: Stage): Promise<void> {
  const records = await sidecar.audit()
  const ids = records
    .filter(({ event }) => event === 'outcome' || event === 'refused')
    .map(({ request }) => String(request))
  const config = ['--config', join(sidecar.directory, 'cloakroom.yaml')]
  const lines = [
    ['policy', 'explain', ids[0] ?? ''],
    ['policy', 'explain', ids.at(-3) ?? '', '--json'],
    ['secret', 'get', 'acme/token', '--json'],
    ['status', '--json'],
    ['audit', 'tail'],
  ]
  const runs = await Promise.all(lines.map(line => cloakroom([...config, ...line])))
  for (const [i, { out, err }] of runs.entries()) keep(`cloakroom ${lines[i]?.join(' ')}`, out + err)
}

/** What the sidecar itself wrote: nobody who reads it holds a placeholder. */
async function written(sidecar: TestSidecar, warnings: readonly string[]): Promise<Capture[]> {
  const own = (name: string, text: string | Buffer): Capture => ({
    name,
    bytes: Buffer.from(text),
    showsPlaceholder: false,
  })
  const metrics = await sidecar.metrics()
  const status = JSON.stringify(await sidecar.call('status', {}))
  // With the write-ahead log still there, and again when all is closed.
  const running = filesBelow(join(sidecar.directory, 'state'))
  await sidecar.stop()
  const files = [...running, ...filesBelow(sidecar.directory)]
  return [
    own('metrics', metrics),
    own('status', status),
    own('log', sidecar.log()),
    own('warnings', warnings.join('\n')),
    ...files.map(({ name, bytes }) => own(name, bytes)),
  ]
}

function filesBelow(directory: string): { name: string; bytes: Buffer }[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => ({ name: entry.name, bytes: readFileSync(join(entry.parentPath, entry.name)) }))
}

t.test('no flow leaves a credential anywhere, nor a placeholder in what the sidecar writes', async t => {
  const warnings: string[] = []
  const onWarning = (warning: Error) => void warnings.push(`${warning.stack}`)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const stage = await aStage(t)
  const placeholder = await put(stage, 'acme/token')
  const unfit = await put(stage, 'beta/token', { tail: '\r\nX-Evil: 1' })

  await requests(stage, placeholder)
  stage.keep(
    'a value that does not fit',
    await sendInTunnel(stage.sidecar, get('/', [`Authorization: ${unfit}`])),
  )
  await connections(stage, placeholder)
  await commands(stage)
  await administration(stage)
  stage.keep(
    'after a rotation',
    await sendInTunnel(stage.sidecar, get('/', [`Authorization: ${placeholder}`])),
  )
  const captures = [...stage.captures, ...(await written(stage.sidecar, warnings))]

  t.same(leaksIn(captures, stage.canaries, stage.placeholders), [])
  const names = captures.map(({ name }) => name)
  for (const name of ['audit.jsonl', 'store.db', 'store.db-wal', 'metrics', 'log'])
    t.ok(names.includes(name), `${name} was searched`)
  t.ok(captures.filter(({ bytes }) => bytes.length > 0).length > 80, `${captures.length} captures`)
  const good = stage.captures.filter(({ name }) => /^(?:good|absolute, good|relay, good|after)/.test(name))
  t.ok(
    good.every(({ bytes }) => bytes.includes(' 200 ')),
    'the good ones were good',
  )
  t.equal(good.length, 10)
})

t.test('control: without redaction the same search finds the credential in the answer', async t => {
  const stage = await aStage(t, rules('    response: { redact: false }\n'))
  const placeholder = await put(stage, 'acme/token')

  stage.keep('answer', await sendInTunnel(stage.sidecar, get('/', [`Authorization: Bearer ${placeholder}`])))

  t.match(leaksIn(stage.captures, stage.canaries, []), [/^answer holds cnry_acme.* \(raw\)$/])
})

t.test('control: a credential or a placeholder that is logged is found in the log', async t => {
  const stage = await aStage(t)
  const placeholder = await put(stage, 'acme/token')
  const lines: string[] = []
  const log = createLog({
    level: 'debug',
    format: 'json',
    isTerminal: false,
    now: () => 0,
    write: line => void lines.push(line),
  })
  const capture = (): Capture[] => [
    { name: 'log', bytes: Buffer.from(stage.sidecar.log() + lines.join('')), showsPlaceholder: false },
  ]
  t.same(leaksIn(capture(), stage.canaries, stage.placeholders), [])

  log.debug('arming', { header: `Bearer ${stage.canaries[0]}` })
  const withValue = leaksIn(capture(), stage.canaries, [])
  lines.length = 0
  log.debug('found', { placeholder })
  const withPlaceholder = leaksIn(capture(), [], stage.placeholders)

  t.ok(withValue.length > 0)
  t.same(withPlaceholder, [`log holds ${placeholder}`])
})

t.test('control: a credential in a file of the state directory is found', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'cloakroom-leak-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const canary = makeCanary('acme', 'token')

  writeFileSync(
    join(directory, 'store.db-wal'),
    Buffer.concat([Buffer.alloc(4096, 7), Buffer.from(canary).subarray(3, 20), Buffer.alloc(99)]),
  )
  const captures = filesBelow(directory).map(file => ({ ...file, showsPlaceholder: false }))

  t.match(leaksIn(captures, [canary], []), [/^store\.db-wal holds/])
})
