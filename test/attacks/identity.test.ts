/**
 * Attacks on who asks and for whom (threat-model.md I, rulings.md 10, 12): no identity, a wrong one, two, another's, a revoked one.
 */
import t from 'tap'
import { hashPassword } from '../../src/identity/password.ts'
import { ask, askThrough, connectTo, openTunnel, proxyAuthorization, readUntil } from '../support/caller.ts'
import { makeCanary } from '../support/oracle.ts'
import { aSidecar, type TestSidecar } from '../support/sidecar.ts'
import { anUpstream, aRawUpstream, type Teardown, type Upstream } from '../support/third-party.ts'
import {
  codeOf,
  get,
  gotCanary,
  HOST,
  lastRecord,
  recordsOf,
  sendInTunnel,
  sendToProxy,
  statusOf,
  withoutIdAndDate,
} from './arena.ts'

const PASSWORD = 'correct-password-of-billing'
const RULE = `  - id: example
    callers: [billing, local, other]
    target: https://${HOST}
    methods: [GET, POST]
    paths: ['/**']
    swap: [{ secrets: ['*/token'], in: [header.authorization] }]
  - { id: blind, callers: [billing, local], target: 'https://blind.test', mode: tunnel }
`

function policyWith({ loopback = false, passwords = [PASSWORD] } = {}): string {
  const sha256 = (password: string) => hashPassword(Buffer.from(password)).toString('hex')
  const local = "  - { id: local, identify: { source: loopback }, tenants: ['*'] }\n"
  const rule = loopback ? RULE : RULE.replace('local, ', '').replace(', local', '')
  return `version: 1
callers:
  - { id: billing, identify: { proxyAuthorization: { sha256: [${passwords.map(sha256)}] } }, tenants: [acme, beta] }
  - { id: other, identify: { proxyAuthorization: { sha256: ${sha256('password-of-other')} } }, tenants: [gamma] }
${loopback ? local : ''}rules:
${rule}`
}

async function arena(
  t: Teardown,
  policy = policyWith(),
): Promise<{
  sidecar: TestSidecar
  upstream: Upstream
  canaries: Record<string, string>
  placeholders: Record<string, string>
}> {
  const upstream = await anUpstream(t)
  const sidecar = await aSidecar(t, { upstreams: [upstream], policy })
  const canaries: Record<string, string> = {}
  const placeholders: Record<string, string> = {}
  for (const tenant of ['acme', 'beta', 'gamma']) {
    canaries[tenant] = makeCanary(tenant, 'token')
    placeholders[tenant] = await sidecar.put(`${tenant}/token`, canaries[tenant])
  }
  return { sidecar, upstream, canaries, placeholders }
}

const good = proxyAuthorization('billing', PASSWORD)
const connect = (lines: string) => `CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}:443\r\n${lines}\r\n`
const basic = (text: string, scheme = 'Basic') =>
  `Proxy-Authorization: ${scheme} ${Buffer.from(text).toString('base64')}\r\n`

const WRONG: Readonly<Record<string, string>> = {
  'a wrong password': proxyAuthorization('billing', 'wrong'),
  'an empty password': proxyAuthorization('billing', ''),
  'the hash for a password': proxyAuthorization(
    'billing',
    hashPassword(Buffer.from(PASSWORD)).toString('hex'),
  ),
  'an unknown caller': proxyAuthorization('nobody', PASSWORD),
  "another caller's password": proxyAuthorization('other', PASSWORD),
  'a caller without a password': proxyAuthorization('local', PASSWORD),
  'the password in another case': proxyAuthorization('billing', PASSWORD.toUpperCase()),
  'a longer password': proxyAuthorization('billing', `${PASSWORD}x`),
  'no colon': basic(`billing${PASSWORD}`),
  'no base64': 'Proxy-Authorization: Basic !!!\r\n',
  'base64 that is not canonical': `${basic(`billing:${PASSWORD}`).trimEnd().replace(/=*$/, '')}====\r\n`,
  'another scheme': basic(`billing:${PASSWORD}`, 'Digest'),
  'no scheme': `Proxy-Authorization: ${PASSWORD}\r\n`,
  'an empty header': 'Proxy-Authorization:\r\n',
  'two headers': good + good,
  'a wrong one and a right one': proxyAuthorization('billing', 'wrong') + good,
  'Bearer without a name': `Proxy-Authorization: Bearer ${PASSWORD}\r\n`,
  'Bearer with a wrong password': 'Proxy-Authorization: Bearer billing.wrong\r\n',
  'a tenant that is no name': basic(`billing+ACME:${PASSWORD}`),
  'very long': basic(`billing:${'x'.repeat(4000)}`),
}

// acceptance.md 1, 2
t.test('nobody, and who shows a wrong proxy credential, gets 407 before anything is dialled', async t => {
  const { sidecar, upstream } = await arena(t)
  const requests = {
    CONNECT: connect,
    absolute: (lines: string) => `GET https://${HOST}/ HTTP/1.1\r\nHost: ${HOST}\r\n${lines}\r\n`,
  }

  for (const [form, request] of Object.entries(requests)) {
    const none = await sendToProxy(sidecar, request(''))
    t.equal(codeOf(none), 'IDENTITY_REQUIRED', form)
    for (const [what, lines] of Object.entries(WRONG)) {
      const answer = await sendToProxy(sidecar, request(lines))
      t.equal(codeOf(answer), 'IDENTITY_REJECTED', `${form} with ${what}`)
      t.match(answer, /^HTTP\/1\.1 407 Proxy Authentication Required\r\n/)
      t.match(answer, /\r\nProxy-Authenticate: Basic realm="cloakroom"\r\n/)
      t.match(answer, /\r\nConnection: close\r\n/i)
    }
  }

  t.equal(upstream.connections, 0)
  t.notMatch(JSON.stringify(await recordsOf(sidecar)) + sidecar.log(), PASSWORD)
})

t.test('an unknown caller and a wrong password are answered with the same bytes', async t => {
  const { sidecar } = await arena(t)

  const unknown = await sendToProxy(sidecar, connect(WRONG['an unknown caller'] ?? ''))
  const wrong = await sendToProxy(sidecar, connect(WRONG['a wrong password'] ?? ''))

  t.equal(withoutIdAndDate(unknown), withoutIdAndDate(wrong))
})

t.test('Basic and Bearer are read in any letter case', async t => {
  const { sidecar, upstream } = await arena(t)

  for (const scheme of ['Basic', 'basic', 'BASIC']) {
    const { head } = await connectTo(sidecar, `${HOST}:443`, basic(`billing:${PASSWORD}`, scheme))
    t.match(head, /^HTTP\/1\.1 200/, scheme)
  }
  for (const line of [
    'Proxy-Authorization: Bearer',
    'proxy-authorization: bearer',
    'PROXY-AUTHORIZATION: BEARER',
  ]) {
    const answer = await sendToProxy(
      sidecar,
      `${get(`https://${HOST}/`).slice(0, -2)}${line} billing.${PASSWORD}\r\n\r\n`,
    )
    t.equal(statusOf(answer), 200, line)
  }

  t.ok(upstream.requests.every(({ headers }) => headers['proxy-authorization'] === undefined))
  t.notMatch(upstream.bytes().toString('latin1'), PASSWORD)
})

t.test('a wrong proxy credential never falls through to the loopback caller', async t => {
  const { sidecar, upstream } = await arena(t, policyWith({ loopback: true }))

  for (const [what, lines] of Object.entries(WRONG)) {
    t.equal(codeOf(await sendToProxy(sidecar, connect(lines))), 'IDENTITY_REJECTED', what)
  }
  const { head } = await connectTo(sidecar, `${HOST}:443`)

  t.match(head, /^HTTP\/1\.1 200/, 'who shows none is the loopback caller')
  t.equal(upstream.connections, 0)
})

t.test('a request in a tunnel cannot change who it is: 407, and the connection ends', async t => {
  const { sidecar, upstream } = await arena(t, policyWith({ loopback: true }))
  const lines = (header: string) => [header.trimEnd()]

  const same = await sendInTunnel(sidecar, get('/', lines(good)), { headers: good })
  const wrong = await sendInTunnel(sidecar, get('/', lines(WRONG['a wrong password'] ?? '')) + get('/'), {
    headers: good,
  })
  const other = await sendInTunnel(
    sidecar,
    get('/', lines(proxyAuthorization('other', 'password-of-other'))),
    { headers: good },
  )
  const raised = await sendInTunnel(sidecar, get('/', lines(good)))
  const kept = await sendInTunnel(
    sidecar,
    get('/', lines(WRONG['a wrong password'] ?? '')).replace('Connection: close\r\n', '') + get('/'),
    { headers: good },
  )

  t.equal(statusOf(same), 200)
  for (const answer of [wrong, other, raised, kept]) {
    t.equal(codeOf(answer), 'IDENTITY_REJECTED')
    t.equal(answer.match(/HTTP\/1\.1 /g)?.length, 1)
  }
  t.equal(upstream.requests.length, 1)
})

// acceptance.md 58
t.test(
  'a caller that is revoked while its tunnel is open gets 403 for the next request, and the tunnel is closed',
  async t => {
    const { sidecar, upstream, placeholders } = await arena(t)
    const tunnel = await openTunnel(sidecar, `${HOST}:443`, { headers: good })
    const headers = { Authorization: `Bearer ${placeholders.acme}` }
    t.equal((await ask(tunnel, HOST, { headers })).status, 200)

    await sidecar.call('caller.revoke', { caller: 'billing' })
    const ended = new Promise(resolve => tunnel.once('end', resolve))
    const answer = await ask(tunnel, HOST, { headers })
    await ended

    t.equal(answer.status, 403)
    t.equal(answer.error, 'IDENTITY_REVOKED')
    t.equal(upstream.requests.length, 1)
    t.equal(codeOf(await sendToProxy(sidecar, connect(good))), 'IDENTITY_REJECTED')
  },
)

t.test('revoking a caller ends its running answers and its blind tunnels at once', async t => {
  const stream = await aRawUpstream(t, {
    onSocket: socket =>
      void socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nbegin')),
  })
  const blind = await aRawUpstream(t, {
    host: 'blind.test',
    plain: true,
    onSocket: socket => void socket.write('hello'),
  })
  const sidecar = await aSidecar(t, { upstreams: [stream, blind], policy: policyWith() })
  const tunnel = await openTunnel(sidecar, `${HOST}:443`, { headers: good })
  tunnel.write(get('/'))
  await readUntil(tunnel, text => text.endsWith('begin'))
  const { socket } = await connectTo(sidecar, 'blind.test:443', good)
  const ends = [tunnel, socket].map(one => new Promise(resolve => one.once('close', resolve).resume()))

  await sidecar.call('caller.revoke', { caller: 'billing' })
  await Promise.all(ends)
  await sidecar.stop()

  const records = await recordsOf(sidecar)
  t.equal(records.filter(({ reason }) => reason === 'identity_revoked').length, 2)
})

t.test('a password that was replaced ends what was opened with it, the new one goes on', async t => {
  const { sidecar } = await arena(t, policyWith({ passwords: [PASSWORD, 'second-password'] }))
  const first = await openTunnel(sidecar, `${HOST}:443`, { headers: good })
  const second = await openTunnel(sidecar, `${HOST}:443`, {
    headers: proxyAuthorization('billing', 'second-password'),
  })

  await sidecar.call('caller.rotate', { caller: 'billing', finish: true })

  t.equal((await ask(first, HOST)).error, 'IDENTITY_REVOKED')
  t.equal((await ask(second, HOST)).status, 200)
  second.destroy()
})

t.test("a tenant is said once and in one way, and is one of the caller's own", async t => {
  const { sidecar, upstream, canaries, placeholders } = await arena(t)
  const send = (lines: string[], headers = good) => sendInTunnel(sidecar, get('/', lines), { headers })
  const acme = `Authorization: Bearer ${placeholders.acme}`
  const asAcme = basic(`billing+acme:${PASSWORD}`)
  const refused: [string, string[], string, string][] = [
    ['twice', ['Cloakroom-Tenant: acme', 'Cloakroom-Tenant: acme', acme], good, 'REQUEST_MALFORMED'],
    ['a list', ['Cloakroom-Tenant: acme, beta', acme], good, 'REQUEST_MALFORMED'],
    ['empty', ['Cloakroom-Tenant:', acme], good, 'REQUEST_MALFORMED'],
    ['upper case', ['Cloakroom-Tenant: ACME', acme], good, 'REQUEST_MALFORMED'],
    ['a path', ['Cloakroom-Tenant: ../acme', acme], good, 'REQUEST_MALFORMED'],
    [
      'nominated',
      ['Cloakroom-Tenant: acme', 'Connection: Cloakroom-Tenant', acme],
      good,
      'REQUEST_MALFORMED',
    ],
    [
      'not its own',
      ['Cloakroom-Tenant: gamma', `Authorization: ${placeholders.gamma}`],
      good,
      'IDENTITY_TENANT',
    ],
    ['header against proxy user', ['Cloakroom-Tenant: beta'], asAcme, 'IDENTITY_TENANT'],
    ['another than the placeholder', ['Cloakroom-Tenant: beta', acme], good, 'SWAP_REFUSED'],
    ['another proxy user than the placeholder', [acme], basic(`billing+beta:${PASSWORD}`), 'SWAP_REFUSED'],
    ["a placeholder of another's tenant", [`Authorization: ${placeholders.gamma}`], good, 'SWAP_REFUSED'],
  ]

  for (const [what, lines, headers, code] of refused) t.equal(codeOf(await send(lines, headers)), code, what)
  t.equal(codeOf(await send(['Cloakroom-Tenant: nosuch'], good)), 'IDENTITY_TENANT')
  t.equal(upstream.connections, 0)
  const allowed = [
    await send([acme]),
    await send([acme, 'Cloakroom-Tenant: acme']),
    await send([acme], asAcme),
    await send([acme, 'Cloakroom-Tenant: acme'], asAcme),
    await send([`Authorization: Bearer ${placeholders.beta}`]),
  ]

  t.same(allowed.map(statusOf), [200, 200, 200, 200, 200])
  t.ok(upstream.requests.every(({ headers }) => headers['cloakroom-tenant'] === undefined))
  t.equal(upstream.requests.at(-1)?.headers.authorization, `Bearer ${canaries.beta}`)
  t.notOk(gotCanary(canaries.gamma ?? '', upstream))
  t.match(await lastRecord(sidecar, { event: 'outcome' }), { caller: 'billing', tenant: 'beta' })
})

t.test('a stolen placeholder is worth nothing to another caller', async t => {
  const { sidecar, upstream, canaries, placeholders } = await arena(t)
  const thief = proxyAuthorization('other', 'password-of-other')

  const answer = await askThrough(
    sidecar,
    HOST,
    { headers: { Authorization: `Bearer ${placeholders.acme}` } },
    { headers: thief },
  )

  t.equal(answer.error, 'SWAP_REFUSED')
  t.equal(upstream.connections, 0)
  t.notOk(gotCanary(canaries.acme ?? '', upstream))
  const record = await lastRecord(sidecar, { caller: 'other' })
  t.match(record, { reason: 'placeholder_foreign' })
  t.not(record?.tenant, 'acme', "another's tenant is not in the record of a caller")
})

t.test('the rate of one caller is not used up by another', async t => {
  const limited = policyWith().replace('swap: [', 'limits: { rate: 1/h, burst: 1 }\n    swap: [')
  const { sidecar, upstream } = await arena(t, limited)
  const second = proxyAuthorization('other', 'password-of-other')

  const answers = []
  for (const headers of [good, good, second, second])
    answers.push(statusOf(await sendInTunnel(sidecar, get('/'), { headers })))

  t.same(answers, [200, 429, 200, 429])
  t.equal(upstream.requests.length, 2)
})

t.test(
  'one caller cannot have all the tunnels: more than its number are refused, and a closed one makes room',
  async t => {
    const upstream = await anUpstream(t)
    const sidecar = await aSidecar(t, {
      upstreams: [upstream],
      policy: policyWith(),
      config: { limits: { connectionsPerCaller: 2, drain: '2s' } },
    })
    const thief = proxyAuthorization('other', 'password-of-other')
    const first = await openTunnel(sidecar, `${HOST}:443`, { headers: good })
    const second = await openTunnel(sidecar, `${HOST}:443`, { headers: good })

    const third = await sendToProxy(sidecar, connect(good))
    const another = await connectTo(sidecar, `${HOST}:443`, thief)
    first.destroy()
    const { head } = await untilEstablished(sidecar)

    t.equal(codeOf(third), 'SIDECAR_OVERLOADED')
    t.match(third, /\r\nRetry-After: 1\r\n/)
    t.match(another.head, /^HTTP\/1\.1 200/, 'it is no matter to another caller')
    t.match(head, /^HTTP\/1\.1 200/)
    second.destroy()
  },
)

// The sidecar hears of a closed connection in its own time.
async function untilEstablished(sidecar: TestSidecar): Promise<{ head: string }> {
  for (let tries = 0; ; tries++) {
    const answer = await connectTo(sidecar, `${HOST}:443`, good)
    if (answer.head.startsWith('HTTP/1.1 200') || tries > 100) return answer
  }
}
