/**
 * Attacks on, and through, the operation of the sidecar: what is withdrawn must be gone at once, what cannot be recorded must not
 * leave, what is broken must not be adopted, and metrics must not be written by the network (rulings.md 20; threat-model.md B9, K1, L1).
 */
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import t from 'tap'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { EMPTY_BODY, type ResponseHead } from '../../src/model/message.ts'
import { createPolicyHolder } from '../../src/policy/holder.ts'
import { handleExchange } from '../../src/proxy/exchange.ts'
import type { ExchangeDeps } from '../../src/proxy/exchange-deps.ts'
import type { Inbound } from '../../src/proxy/inbound.ts'
import { Live } from '../../src/proxy/live.ts'
import { ask, askThrough, connectTo, openTcp, openTunnel, readUntil } from '../support/caller.ts'
import { aDirectory } from '../support/directory.ts'
import { makeCanary } from '../support/oracle.ts'
import { aSidecar, policyFor, type TestSidecar, USUAL_POLICY, USUAL_RULE } from '../support/sidecar.ts'
import { anUpstream, aRawUpstream, type Teardown, type Upstream } from '../support/third-party.ts'
import {
  anArena,
  codeOf,
  get,
  gotCanary,
  HOST,
  lastRecord,
  recordsOf,
  sendInTunnel,
  sendToProxy,
  statusOf,
} from './arena.ts'

type Streaming = {
  readonly sidecar: TestSidecar
  readonly upstream: Upstream
  readonly placeholder: string
  /** Starts an answer that never ends; resolves when it has begun. */
  begin(lines?: readonly string[]): Promise<{ readonly cut: Promise<unknown> }>
}

async function aStream(t: Teardown, options: Parameters<typeof aSidecar>[1] = {}): Promise<Streaming> {
  const upstream = await aRawUpstream(t, {
    onSocket: socket =>
      void socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nbegun.')),
  })
  const sidecar = await aSidecar(t, { upstreams: [upstream], ...options })
  const placeholder = await sidecar.put('acme/token', makeCanary('acme', 'token'))
  return {
    sidecar,
    upstream,
    placeholder,
    async begin(lines = [`Authorization: Bearer ${placeholder}`]) {
      const tunnel: TLSSocket = await openTunnel(sidecar, `${HOST}:443`)
      tunnel.write(get('/', lines))
      await readUntil(tunnel, text => text.includes('begun.'))
      return { cut: new Promise(resolve => void tunnel.once('close', resolve).resume()) }
    },
  }
}

const WITHDRAWALS: Readonly<Record<string, string>> = {
  revoke: 'secret_revoked',
  disable: 'secret_revoked',
  delete: 'secret_revoked',
}

for (const [how, reason] of Object.entries(WITHDRAWALS)) {
  t.test(
    `${how}: what runs with the secret is cut when the command returns, and the next request is refused`,
    async t => {
      const { sidecar, upstream, placeholder, begin } = await aStream(t)
      const { cut } = await begin()

      await sidecar.call(`secret.${how}`, { secret: 'acme/token' })
      const next = await sendInTunnel(sidecar, get('/', [`Authorization: Bearer ${placeholder}`]))
      await cut

      t.equal(codeOf(next), 'SWAP_REFUSED')
      t.equal(upstream.connections, 1)
      t.match(await lastRecord(sidecar, { event: 'outcome' }), { reason })
    },
  )
}

t.test('a secret that is enabled again serves again', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t)
  const send = () => askThrough(sidecar, HOST, { headers: { Authorization: placeholder } })

  await sidecar.call('secret.disable', { secret: 'acme/token' })
  const off = await send()
  await sidecar.call('secret.enable', { secret: 'acme/token' })
  const on = await send()

  t.equal(off.error, 'SWAP_REFUSED')
  t.equal(on.status, 200)
  t.equal(upstream.requests.length, 1)
})

const SCOPES: Readonly<Record<string, Record<string, string>>> = {
  everything: {},
  'a tenant': { tenant: 'acme' },
  'a secret': { secret: 'acme/token' },
  'a target': { target: `https://${HOST}` },
}

for (const [what, scope] of Object.entries(SCOPES)) {
  t.test(`halting ${what} cuts what runs, refuses what comes, and is lifted again`, async t => {
    const { sidecar, upstream, placeholder, begin } = await aStream(t)
    const { cut } = await begin()
    const tunnel = await openTunnel(sidecar, `${HOST}:443`)

    await sidecar.call('halt', scope)
    await cut
    const answer = await ask(tunnel, HOST, { headers: { Authorization: placeholder } })
    const before = upstream.connections
    await sidecar.call('halt.lift', scope)
    const again = await begin()

    t.equal(answer.error, 'SIDECAR_HALTED')
    t.equal(answer.status, 503)
    t.ok(answer.headers['retry-after'])
    t.equal(before, 1)
    await sidecar.call('halt', {})
    await again.cut
  })
}

t.test('a halt spares what is not in its scope', async t => {
  const other = await anUpstream(t, { host: 'other.example.test' })
  const { sidecar, upstream, placeholder } = await anArena(t, {
    upstreams: [other],
    policy: policyFor(
      USUAL_RULE + USUAL_RULE.replace('id: example', 'id: other').replace(HOST, 'other.example.test'),
    ),
  })
  const beta = await sidecar.put('beta/token', makeCanary('beta', 'token'))

  await sidecar.call('halt', { secret: 'acme/token' })
  await sidecar.call('halt', { target: 'https://other.example.test' })

  t.equal((await askThrough(sidecar, HOST, { headers: { Authorization: placeholder } })).status, 503)
  t.equal((await askThrough(sidecar, HOST, { headers: { Authorization: beta } })).status, 200)
  t.equal((await askThrough(sidecar, HOST)).status, 200)
  t.match((await connectTo(sidecar, 'other.example.test:443')).head, /^HTTP\/1\.1 503/)
  t.equal(upstream.requests.length, 2)
  t.equal(other.connections, 0)
})

t.test('a halt ends blind tunnels', async t => {
  const blind = await aRawUpstream(t, {
    host: 'blind.test',
    plain: true,
    onSocket: socket => void socket.write('hello'),
  })
  const sidecar = await aSidecar(t, {
    upstreams: [blind],
    policy: policyFor("  - { id: blind, callers: [app], target: 'https://blind.test', mode: tunnel }\n"),
  })
  const { socket, head } = await connectTo(sidecar, 'blind.test:443')
  const closed = new Promise(resolve => void socket.once('close', resolve).resume())

  await sidecar.call('halt', { target: 'https://blind.test' })
  await closed

  t.match(head, /^HTTP\/1\.1 200/)
})

t.test(
  'what cannot be recorded is not sent: 503 within two seconds, and by itself again when it can',
  async t => {
    const { sidecar, upstream, canary, placeholder, pipe } = await withPipe(t)
    const tunnel = await openTunnel(sidecar, `${HOST}:443`)
    const headers = { Authorization: `Bearer ${placeholder}` }
    t.equal((await ask(tunnel, HOST, { headers })).status, 200)
    const before = upstream.requests.length

    const { policy: first } = sidecar.sidecar.status()

    pipe.fill()
    const started = performance.now()
    const refused = await ask(tunnel, HOST, { headers })
    const took = performance.now() - started
    const next = performance.now()
    const atOnce = await ask(tunnel, HOST, { headers })
    const plain = await ask(tunnel, HOST)
    const nextTook = performance.now() - next
    const ready = await fetch(`http://127.0.0.1:${sidecar.opsPort}/readyz`)
    const sentMeanwhile = upstream.requests.length
    sidecar.writePolicy(USUAL_POLICY.replace('id: example', 'id: unrecorded'))
    await sidecar.sidecar.reload()
    const { policy } = sidecar.sidecar.status()
    pipe.drain()
    let healed = await ask(tunnel, HOST, { headers })
    for (let tries = 0; healed.status !== 200 && tries < 500; tries++) {
      pipe.drain()
      healed = await ask(tunnel, HOST, { headers })
    }
    tunnel.destroy()
    pipe.flow()
    const isRecorded = async () => {
      const records = await sidecar.audit()
      return records.some(({ event, policy: hash }) => event === 'policy.loaded' && hash === policy?.hash)
    }
    const end = performance.now() + 5000
    while (!(await isRecorded()) && performance.now() < end) await new Promise(setImmediate)

    t.equal(refused.error, 'AUDIT_UNAVAILABLE')
    t.equal(refused.status, 503)
    t.ok(took > 1000 && took < 3000, `${took} ms`)
    t.equal(atOnce.error, 'AUDIT_UNAVAILABLE')
    t.equal(plain.error, 'AUDIT_UNAVAILABLE', 'also without a credential')
    t.ok(nextTook < 500, 'who comes later does not wait')
    t.equal(ready.status, 503)
    t.equal(sentMeanwhile, before)
    t.not(policy?.hash, first?.hash, 'a policy is in force at once: what takes a right away does not wait')
    t.ok(await isRecorded(), 'and recorded when it can be')
    t.equal(healed.status, 200)
    t.equal(upstream.bytes().toString('latin1').split(canary).length - 1, before + 1)
  },
)

function fillWith(pipe: number, size: number): void {
  const bytes = Buffer.alloc(size)
  try {
    for (;;) writeSync(pipe, bytes)
  } catch {
    return // full for writes of this size
  }
}

/** A second required audit sink that is a pipe with its reader in this test: what is not read blocks the writer. */
async function withPipe(t: Teardown) {
  const upstream = await anUpstream(t)
  const fifo = join(aDirectory(t), 'audit.pipe')
  execFileSync('mkfifo', [fifo])
  const reader = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK)
  const sidecar = await aSidecar(t, {
    upstreams: [upstream],
    config: {
      audit: {
        sinks: [
          { kind: 'file', path: 'state/audit.jsonl', required: true },
          { kind: 'file', path: fifo, required: true },
        ] as never,
      },
    },
  })
  const canary = makeCanary('acme', 'token')
  const placeholder = await sidecar.put('acme/token', canary)
  const scratch = Buffer.alloc(1 << 20)
  const drain = () => {
    for (;;) {
      try {
        if (readSync(reader, scratch) === 0) return
      } catch {
        return // empty
      }
    }
  }
  let timer: NodeJS.Timeout | undefined
  t.teardown(async () => {
    await sidecar.stop() // its last records go into the pipe: the reader must still be there
    clearInterval(timer)
    closeSync(reader)
  })
  const pipe = {
    /** Leaves no room for a single record. */
    fill() {
      const filler = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK)
      fillWith(filler, 4096)
      fillWith(filler, 1)
      closeSync(filler)
    },
    drain,
    flow() {
      timer = setInterval(drain, 5)
    },
  }
  return { sidecar, upstream, canary, placeholder, pipe }
}

// acceptance.md 56
t.test('a policy file that is broken leaves the one in force as it is', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t)
  const send = () => askThrough(sidecar, HOST, { headers: { Authorization: placeholder } })
  const broken: Record<string, string> = {
    'no YAML': 'version: [',
    'an unknown key': USUAL_POLICY.replace('version: 1', 'version: 1\nallowAll: true'),
    'an empty list': USUAL_POLICY.replace("paths: ['/**']", 'paths: []'),
    'a word of later versions': USUAL_POLICY.replace('source: loopback', 'unixPeer: 0'),
    'an alias': USUAL_POLICY.replace('version: 1', 'version: 1\nx: &a 1\ny: *a'),
    'two documents': `${USUAL_POLICY}---\n${USUAL_POLICY}`,
    'a failing test of its own': `${USUAL_POLICY}tests:\n  - given: { caller: app, request: 'GET https://evil.test/' }\n    expect: { decision: allow }\n`,
    nothing: '',
  }
  const { policy } = (await sidecar.call('status', {})) as { policy: { hash: string } }

  for (const [what, text] of Object.entries(broken)) {
    sidecar.writePolicy(text)
    await t.rejects(sidecar.call('policy.reload', {}), /POLICY_/, what)
    t.equal((await send()).status, 200, what)
  }

  t.match(await sidecar.call('status', {}), { policy: { hash: policy.hash } })
  t.equal(upstream.requests.length, Object.keys(broken).length)
  t.match(
    await sidecar.metrics(),
    /cloakroom_config_reloads?_total\{[^}]*result="failed"[^}]*\} [1-9]|reload[^\n]*failed[^\n]* [1-9]/,
  )
})

t.test('a sidecar whose first policy is broken does not start', async t => {
  const sidecar = await aSidecar(t, { policy: 'version: 2', manual: true })

  await t.rejects(sidecar.sidecar.start(), { code: 'POLICY_INVALID' })
})

// acceptance.md 57
t.test('before a policy is loaded every request is 503 and nothing is asked of anybody', async t => {
  const holder = createPolicyHolder()
  const answers: ResponseHead[] = []
  const never = () => {
    throw new Error('asked')
  }
  const deps = {
    clock: systemClock,
    log: silentLog,
    live: new Live(),
    policy: () => holder.snapshot(),
    presented: never,
    secrets: { locate: never, resolve: never },
    acquire: never,
    observe: () => undefined,
    audit: { intend: never, conclude: async () => undefined, note: never },
  } as unknown as ExchangeDeps
  const inbound = {
    facts: { entrance: 'absolute', presented: { isLoopback: true } },
    head: { method: 'GET', rawTarget: `https://${HOST}/`, minor: 1, headers: [['Host', HOST]] },
    body: EMPTY_BODY,
    startedAt: 0,
    bytesSent: 0,
    hasResponded: false,
    onGone: () => undefined,
    respond: async (head: ResponseHead) => void answers.push(head),
  } as unknown as Inbound

  await handleExchange(deps, inbound)

  t.equal(answers.length, 1)
  t.equal(answers[0]?.status, 503)
  t.match(
    answers[0]?.headers.find(([name]) => name === 'Cloakroom-Error'),
    ['Cloakroom-Error', 'POLICY_NOT_LOADED'],
  )
})

t.test('ten thousand hosts, paths, methods and tenants make no new series and stand in none', async t => {
  const { sidecar, upstream } = await anArena(t, {
    level: 'error',
    config: { limits: { headers: 200, drain: '2s' } },
  })
  const seriesOf = (text: string) =>
    new Set(
      text
        .split('\n')
        .filter(line => line.startsWith('cloakroom_'))
        .map(line => line.replace(/ [^ ]*$/, '')),
    )
  const warm = ['GET', 'PURGE'].map(method => get(`https://${HOST}/`).replace('GET', method))
  for (const request of warm) await sendToProxy(sidecar, request)
  const denied = get('https://denied.test/')
  await sendToProxy(sidecar, denied)
  const before = seriesOf(await sidecar.metrics())

  for (let round = 0; round < 20; round++) {
    const socket = await openTcp(sidecar.port)
    const requests = Array.from({ length: 500 }, (_, i) => {
      const n = round * 500 + i
      return `M${n} https://marker-${n}.test/marker/${n}?marker=${n} HTTP/1.1\r\nHost: x\r\nCloakroom-Tenant: marker-${n}\r\nUser-Agent: marker\r\n\r\n`
    })
    socket.write(requests.join(''))
    let seen = 0
    await new Promise<void>(resolve => {
      socket.on('data', data => {
        seen += data.toString('latin1').split('HTTP/1.1 403').length - 1
        if (seen >= 500) resolve()
      })
      socket.resume()
    })
    socket.destroy()
  }
  const text = await sidecar.metrics()

  t.same(
    [...seriesOf(text)].filter(series => !before.has(series) && !series.includes('last_checkpoint')),
    [],
  )
  t.notMatch(text, /marker|M\d{2}|denied\.test|acme|xclk_|api\.example/)
  t.equal(upstream.requests.length, 1)
})

// acceptance.md 61
t.test('each request has one record, and it holds no header, query value or body', async t => {
  const { sidecar, placeholder, canary } = await anArena(t)
  const lines = [`Authorization: Bearer ${placeholder}`, 'X-Mark: mark-in-header', 'Cookie: mark-in-cookie']

  await sendInTunnel(sidecar, get('/v1/x?a=mark-in-query', lines))
  await sendInTunnel(sidecar, get(`/v1/${placeholder}/x?key=mark-in-query`))
  await sendInTunnel(sidecar, get('/denied', lines).replace('GET', 'PURGE'))
  await askThrough(sidecar, HOST, { method: 'POST', body: `mark-in-body ${placeholder}` })
  await sendToProxy(sidecar, `CONNECT evil.test:443 HTTP/1.1\r\nHost: mark-in-host\r\n\r\n`)
  await sendToProxy(sidecar, 'rubbish mark-in-rubbish\r\n\r\n')
  await sidecar.stop()

  const records = await recordsOf(sidecar)
  const ends = records.filter(({ event }) => event === 'outcome' || event === 'refused')
  t.equal(ends.length, 6)
  t.equal(new Set(ends.map(({ request }) => request)).size, 6)
  t.notMatch(JSON.stringify(records), /mark-in/)
  t.notMatch(JSON.stringify(records), placeholder)
  t.notMatch(JSON.stringify(records), canary)
  t.match(ends[0], {
    caller: 'app',
    tenant: 'acme',
    rule: 'example',
    method: 'GET',
    path: '/v1/x',
    query: ['a'],
    status: 200,
  })
  const intent = records.find(({ event }) => event === 'intent')
  t.match(intent?.swaps, [
    { secret: 'acme/token', version: 1, in: 'header.authorization', fingerprint: /^hmac:[0-9a-f]{32}$/ },
  ])
  t.equal(ends[1]?.path, '/v1/[masked]/x')
})

t.test('the metrics listener is not reached through the proxy, and serves nothing else', async t => {
  const sidecar = await aSidecar(t, {})
  const at = `http://127.0.0.1:${sidecar.opsPort}`

  const through = await sendToProxy(sidecar, get(`${at}/metrics`))
  const statuses = await Promise.all(
    ['/v1/status', '/secrets', '/metrics/../v1', '/'].map(path =>
      fetch(at + path).then(answer => answer.status),
    ),
  )

  t.ok([403, 508].includes(statusOf(through)))
  t.same(statuses, [404, 404, 404, 404])
})

t.test(
  'a secret that was put does not depend on what is halted, and nothing leaks into a tunnel that was open',
  async t => {
    const { sidecar, upstream, canary, placeholder } = await anArena(t)
    const tunnel = await openTunnel(sidecar, `${HOST}:443`)

    await sidecar.call('halt', {})
    const answer = await ask(tunnel, HOST, { headers: { Authorization: placeholder } })
    const connect = await sendToProxy(sidecar, `CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`)
    tunnel.destroy()

    t.equal(answer.error, 'SIDECAR_HALTED')
    t.equal(codeOf(connect), 'SIDECAR_HALTED')
    t.notOk(gotCanary(canary, upstream))
  },
)
