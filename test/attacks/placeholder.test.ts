/**
 * Attacks with placeholders: in the wrong place, in disguise, foreign, stale, guessed, in bodies (threat-model.md C, rulings.md 2, 11).
 */
import t from 'tap'
import { systemClock } from '../../src/base/clock.ts'
import { ask, askThrough, connectTo, openTunnel, secure } from '../support/caller.ts'
import { findLeaks, makeCanary } from '../support/oracle.ts'
import { aSidecar, policyFor, USUAL_POLICY, USUAL_RULE } from '../support/sidecar.ts'
import { anUpstream, aRawUpstream, testCaPem } from '../support/third-party.ts'
import {
  anArena,
  codeOf,
  get,
  gotCanary,
  HOST,
  lastRecord,
  recordsOf,
  sendInTunnel,
  sendRaw,
  sendToProxy,
  statusOf,
  withoutIdAndDate,
} from './arena.ts'

const MANY_GUESSES = { limits: { guesses: 10_000, drain: '2s' } }

const HEADERS =
  `accept accept-charset accept-datetime accept-language access-control-request-headers access-control-request-method
age api-key authentication authority baggage cache-control client-ip content-disposition content-encoding content-language
content-location content-md5 content-type cookie cookie2 correlation-id date device-memory dnt early-data etag expect-ct
forwarded from host-name http2 idempotency-key if-match if-modified-since if-none-match if-unmodified-since jwt last-event-id link
location max-forwards mcp-session-id method origin origin-agent-cluster pragma prefer priority private-token purpose
range referer referrer remote-addr request-id save-data sec-ch-ua sec-fetch-mode sec-fetch-site sec-gpc server server-timing
set-cookie soapaction sourcemap stripe-account surrogate-capability timing-allow-origin token traceparent tracestate true-client-ip
upgrade-insecure-requests user-agent vary via warning www-authenticate x-access-token x-amz-date x-amz-security-token x-amzn-trace-id x-apikey x-auth
x-auth-token x-b3-traceid x-cache x-cloud-trace-context x-correlation-id x-csrf-token x-forwarded-for x-forwarded-host
x-forwarded-proto x-frame-options x-github-api-version x-goog-api-key x-http-method-override x-original-url x-powered-by
x-real-ip x-request-id x-requested-with x-shopify-access-token x-tenant x-vault-token authorization-x xauthorization`.split(
    /\s+/,
  )

// acceptance.md 18, 29
t.test(
  'a placeholder in any header that no rule names refuses the request, and nothing is forwarded',
  async t => {
    const { sidecar, upstream, canary, placeholder } = await anArena(t, {
      config: MANY_GUESSES,
      level: 'error',
    })
    const tunnel = await openTunnel(sidecar, `${HOST}:443`)

    for (const name of HEADERS) {
      for (const value of [placeholder, `Bearer ${placeholder}`, `x=${placeholder}; y`]) {
        const answer = await ask(tunnel, HOST, { headers: { [name]: value } })
        if (answer.error !== 'SWAP_REFUSED') t.fail(`${name}: ${value}: ${answer.error} ${answer.status}`)
      }
    }
    tunnel.destroy()

    t.equal(upstream.connections, 0)
    t.notOk(gotCanary(canary, upstream))
    t.match(await lastRecord(sidecar, { event: 'refused' }), {
      reason: 'placeholder_misplaced',
      outcome: 'denied',
    })
  },
)

t.test('the record of a refusal names the secret and the place, and no placeholder whole', async t => {
  const { sidecar, placeholder } = await anArena(t, { config: MANY_GUESSES, level: 'error' })

  await sendInTunnel(sidecar, get('/', [`X-Other: ${placeholder}`]))
  const misplaced = await lastRecord(sidecar, { event: 'refused' })
  await sendInTunnel(sidecar, get(`/?${placeholder}=${placeholder}`))
  await sendInTunnel(sidecar, get('/', [`${placeholder}: ${placeholder}`]))
  const records = await recordsOf(sidecar)

  t.match(misplaced, {
    reason: 'placeholder_misplaced',
    refused: [{ secret: /^\w+\/\w+$/, placeholder: `xclk_r…${placeholder.slice(-4)}`, in: 'header.x-other' }],
  })
  t.notMatch(JSON.stringify(records).toLowerCase(), placeholder.slice(6, 20).toLowerCase())
})

t.test(
  'a damaged placeholder where a rule names it gets the one answer, and a reason of its own in the record',
  async t => {
    const { sidecar, upstream, placeholder } = await anArena(t, { config: MANY_GUESSES, level: 'error' })
    const damaged = [
      placeholder.slice(0, 20),
      `${placeholder.slice(0, -1)}${placeholder.endsWith('0') ? '1' : '0'}`,
      `${placeholder}x`,
      placeholder.toUpperCase(),
    ]

    const misplaced = await sendInTunnel(sidecar, get('/', [`X-Other: ${placeholder}`]))
    for (const text of damaged) {
      const answer = await sendInTunnel(sidecar, get('/', [`Authorization: Bearer ${text}`]))
      t.equal(withoutIdAndDate(answer), withoutIdAndDate(misplaced))
      t.match(
        answer,
        '"detail":"answered by Cloakroom, not by the upstream; the operator can explain this request id"',
      )
      t.match(await lastRecord(sidecar, { event: 'refused' }), {
        reason: 'placeholder_damaged',
        refused: [{ placeholder: '…' }],
      })
    }

    t.equal(upstream.connections, 0)
  },
)

t.test('a placeholder stands in its place as a whole, or the request is refused', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t, { config: MANY_GUESSES, level: 'error' })
  const half = placeholder.slice(0, 20)
  const places: Record<string, string> = {
    'twice in a header': get('/', [`Authorization: Bearer ${placeholder} ${placeholder}`]),
    'with text behind': get('/', [`Authorization: Bearer ${placeholder}x`]),
    'with text in front': get('/', [`Authorization: Bearer !${placeholder}`]),
    'in a header name': get('/', [`${placeholder}: x`]),
    'cut short': get('/', [`Authorization: Bearer ${half}`]),
    'with a wrong checksum': get('/', [
      `Authorization: Bearer ${placeholder.slice(0, -1)}${placeholder.endsWith('0') ? '1' : '0'}`,
    ]),
    'as a query name': get(`/?${placeholder}=1`),
    'in another parameter': get(`/?other=${placeholder}`),
    'in part of a parameter': get(`/?key=x${placeholder}y`),
    'without a parameter': get(`/?${placeholder}`),
    'as Basic scheme': get('/', [`Authorization: ${placeholder} x`]),
    'in an unread Basic': get('/', [`Authorization: Basic ${placeholder}`]),
    'in a cookie': get('/', [`Cookie: session=${placeholder}`]),
    'in a cookie name': get('/', [`Cookie: ${placeholder}=1`]),
    'in Host': get('/', [], `${placeholder}.example.test`),
    'in a method': get('/').replace('GET', placeholder.toUpperCase()),
    'in a trailer':
      `POST / HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: close\r\n\r\n` +
      `1\r\nx\r\n0\r\nX-Checksum: ${placeholder}\r\n\r\n`,
    'in the trailer list': get('/', [`Trailer: ${placeholder}`]),
    'of a sealed kind': get('/', [`Authorization: Bearer xclk_s${'A'.repeat(60)}`]),
    'of a sealed kind, short': get('/', ['Authorization: Bearer xclk_sAAA']),
  }

  for (const [where, request] of Object.entries(places)) {
    const answer = await sendInTunnel(sidecar, request)
    t.ok([400, 403, 421].includes(statusOf(answer)), `${where}: ${statusOf(answer)} ${codeOf(answer)}`)
    t.notMatch(answer, placeholder.slice(6))
  }
  const connect = await sendToProxy(
    sidecar,
    `CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}\r\nUser-Agent: ${placeholder}\r\n\r\n`,
  )
  const userinfo = await sendToProxy(
    sidecar,
    `CONNECT ${placeholder}@${HOST}:443 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`,
  )

  t.match(connect, /^HTTP\/1\.1 200/, 'the headers of CONNECT end here')
  t.equal(statusOf(userinfo), 400)
  t.equal(upstream.requests.length, 0)
  t.notMatch(upstream.bytes().toString('latin1'), /xclk_/, 'what left holds no placeholder')
})

const DISGUISES: Readonly<Record<string, (text: string) => string>> = {
  percent: text => text.replace('_', '%5f'),
  'percent of all': text => [...text].map(c => `%${c.charCodeAt(0).toString(16)}`).join(''),
  'double percent': text => text.replace('_', '%255F'),
  'triple percent': text => text.replace('x', '%252578'),
  'JSON escapes': text => text.replace('x', '\\u0078'),
  'HTML references': text => text.replace('x', '&#120;').replace('c', '&#x63;'),
  'upper case': text => text.toUpperCase(),
  'mixed case': text => `Xclk${text.slice(4)}`,
  base64: text => Buffer.from(text).toString('base64'),
  'base64, one byte in': text => Buffer.from(`a${text}`).toString('base64'),
  'base64, two bytes in': text => Buffer.from(`ab${text}`).toString('base64'),
  base64url: text => Buffer.from(text).toString('base64url'),
  hex: text => Buffer.from(text).toString('hex'),
  'upper hex': text => Buffer.from(text).toString('hex').toUpperCase(),
  'UTF-16 in percent': text => [...text].map(c => `${c}%00`).join(''),
}

t.test('a placeholder in disguise refuses the request wherever it stands', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t, { config: MANY_GUESSES, level: 'error' })
  const places: Record<string, (text: string) => string> = {
    'the named header': text => get('/', [`Authorization: Bearer ${text}`]),
    'another header': text => get('/', [`User-Agent: ${text}`]),
    'a cookie': text => get('/', [`Cookie: a=${text}`]),
    'the query': text => get(`/?key=${text.replaceAll('\\', '%5C').replaceAll('#', '%23')}`),
    'the path': text => get(`/a/${text.replaceAll('\\', '%5C').replaceAll('#', '%23')}`),
    'a Basic user': text => get('/', [`Authorization: Basic ${Buffer.from(`${text}:x`).toString('base64')}`]),
  }

  for (const [how, disguise] of Object.entries(DISGUISES)) {
    for (const [where, request] of Object.entries(places)) {
      const isReadableOnlyTwice =
        where === 'the query' || where === 'the path' ? /JSON|HTML/.test(how) : false
      const answer = await sendInTunnel(sidecar, request(disguise(placeholder)))
      const isRefused = statusOf(answer) === 403 || statusOf(answer) === 400
      if (!isRefused && !isReadableOnlyTwice) t.fail(`${how} in ${where}: ${statusOf(answer)}`)
    }
  }

  t.notMatch(upstream.bytes().toString('latin1'), placeholder)
})

// acceptance.md 19
t.test(
  'Basic is read in one way: what is not canonical and holds a placeholder is refused, all else passes untouched',
  async t => {
    const { sidecar, upstream, canary, placeholder } = await anArena(t, { config: MANY_GUESSES })
    const encode = (text: string) => Buffer.from(text, 'latin1').toString('base64')
    const good = encode(`${placeholder}:`)
    const bad = [
      ...[
        good.replace(/=+$/, ''),
        `${good}=`,
        `${good}\t`,
        good.replace(/.{4}/, '$& '),
        encode(placeholder),
        `${good},${good}`,
      ],
      ...[
        encode(`x${placeholder}:p`),
        encode(`u:${placeholder} `),
        encode(`u:x:${placeholder}`),
        encode(`${placeholder}:${placeholder}x`),
      ],
      ...[`${good.slice(0, -1)}`, encode(`\0${placeholder}:`), `\u00a0${good}`],
    ]

    for (const text of new Set(bad)) {
      if (text.trim() === good) continue
      const answer = await sendInTunnel(sidecar, get('/', [`Authorization: Basic ${text}`]))
      t.ok(
        ['SWAP_REFUSED', 'REQUEST_MALFORMED'].includes(codeOf(answer) ?? ''),
        `${text}: ${statusOf(answer)}`,
      )
    }
    t.equal(upstream.connections, 0)
    for (const text of ['dXNlcjpwYXNz', 'not base64!', 'dXNlcjpwYXNz=', '']) {
      await sendInTunnel(sidecar, get('/', [`Authorization: Basic ${text}`]))
      t.equal(upstream.requests.at(-1)?.headers.authorization, `Basic ${text}`.trim())
    }
    await sendInTunnel(sidecar, get('/', [`Authorization: basic   ${encode(`user:${placeholder}`)}`]))

    t.equal(upstream.requests.at(-1)?.headers.authorization, `basic   ${encode(`user:${canary}`)}`)
  },
)

t.test('every refusal of a placeholder is the same bytes but for id and date', async t => {
  const other = await anUpstream(t, { host: 'other.example.test' })
  const upstream = await anUpstream(t)
  const policy = `version: 1
callers:
  - { id: app, identify: { source: loopback }, tenants: [acme, beta, delta] }
rules:
${USUAL_RULE}${USUAL_RULE.replace('id: example', 'id: other').replace('api.example.test', 'other.example.test')}`
  const sidecar = await aSidecar(t, { upstreams: [upstream, other], policy, config: MANY_GUESSES })
  const put = (secret: string, options = {}) => sidecar.put(secret, makeCanary('x', 'y'), options)
  const disabled = await put('beta/token')
  await sidecar.call('secret.disable', { secret: 'beta/token' })
  const good = await put('acme/token')
  const foreign = await put('gamma/token')
  const unnamed = await put('acme/unnamed')
  const expiresAt = Date.now() + 3000 // room for a slow put; it is asked for last
  const expired = await put('delta/token', { expiresAt })
  const bearer = (text: string) => [`Authorization: Bearer ${text}`]
  const unknown = `xclk_r${'0'.repeat(22)}0cGZyq`.slice(0, 34)
  const requests: Record<string, string> = {
    unknown: get('/', bearer('xclk_r00000000000000000000000cGZyq')),
    malformed: get('/', bearer(unknown.slice(0, 30))),
    foreign: get('/', bearer(foreign)),
    disabled: get('/', bearer(disabled)),
    'of a secret that no rule names': get('/', bearer(unnamed)),
    misplaced: get('/', [`User-Agent: ${good}`]),
    'in disguise': get('/', bearer(good.toUpperCase())),
    'of two tenants': get('/', [`Authorization: ${good}`, `X-Api-Key: ${disabled}`]),
    'one good, one unknown': get('/', [
      `Authorization: ${good}`,
      'X-Api-Key: xclk_r00000000000000000000000cGZyq',
    ]),
    'for another tenant': get('/', [...bearer(good), 'Cloakroom-Tenant: beta']),
    'with a method that never has one': get('/', bearer(good)).replace('GET', 'OPTIONS'),
    'too many': get(`/?key=${good}&key=${good}&key=${good}&key=${good}&key=${good}`),
  }

  const answers: Record<string, string> = {}
  for (const [what, request] of Object.entries(requests)) answers[what] = await sendInTunnel(sidecar, request)
  answers['for another target'] = await sendInTunnel(sidecar, get('/', bearer(good), 'other.example.test'), {
    authority: 'other.example.test:443',
  })
  await systemClock.sleep(Math.max(0, expiresAt + 1 - Date.now())) // until that very moment, and no longer
  answers.expired = await sendInTunnel(sidecar, get('/', bearer(expired)))
  await sidecar.call('secret.revoke', { secret: 'acme/token' })
  answers.revoked = await sendInTunnel(sidecar, get('/', bearer(good)))
  await sidecar.call('secret.delete', { secret: 'acme/token' })
  answers.deleted = await sendInTunnel(sidecar, get('/', bearer(good)))

  const [first = ''] = Object.values(answers)
  t.equal(codeOf(first), 'SWAP_REFUSED')
  for (const [what, answer] of Object.entries(answers))
    t.equal(withoutIdAndDate(answer), withoutIdAndDate(first), what)
  t.equal(upstream.connections + other.connections, 0)
  // The record has what the answer has not.
  const reasons = new Set((await recordsOf(sidecar)).map(({ reason }) => reason))
  for (const reason of [
    'placeholder_unknown',
    'placeholder_foreign',
    'secret_disabled',
    'placeholder_not_allowed',
    'secret_expired',
    'placeholder_misplaced',
    'secret_revoked',
    'placeholder_for_other_target',
  ])
    t.ok(reasons.has(reason), reason)
})

t.test('a denial by policy is the same bytes whether its placeholder exists or not', async t => {
  const { sidecar, placeholder } = await anArena(t)
  const bearer = (text: string) => [`Authorization: Bearer ${text}`]
  const deny = (lines: string[]) => sendInTunnel(sidecar, get('/', lines).replace('GET', 'PURGE'))

  const [known, unknown, none] = [
    await deny(bearer(placeholder)),
    await deny(bearer('xclk_r00000000000000000000000cGZyq')),
    await deny([]),
  ]

  t.equal(codeOf(known), 'POLICY_DENIED')
  t.equal(withoutIdAndDate(known), withoutIdAndDate(unknown))
  t.equal(withoutIdAndDate(known), withoutIdAndDate(none))
})

t.test('who guesses placeholders is refused for a while, but only with placeholders', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t, {
    config: { limits: { guesses: 5, drain: '2s' } },
  })
  const tunnel = await openTunnel(sidecar, `${HOST}:443`)
  const guess = (text: string) => ask(tunnel, HOST, { headers: { Authorization: `Bearer ${text}` } })

  const first = await guess(placeholder)
  const guesses = []
  for (let i = 0; i < 6; i++) guesses.push(await guess('xclk_r00000000000000000000000cGZyq'))
  const real = await guess(placeholder)
  const without = await ask(tunnel, HOST)
  tunnel.destroy()

  t.equal(first.status, 200)
  t.same(
    guesses.map(({ error }) => error),
    [...Array(5).fill('SWAP_REFUSED'), 'SWAP_GUESSING'],
  )
  t.equal(real.status, 429, 'the right one is not told from the wrong ones')
  t.ok(real.headers['retry-after'])
  t.equal(without.status, 200, 'what needs no secret goes on')
  t.equal(upstream.requests.length, 2)
})

t.test('revoking a secret in wide use costs its callers none of their guesses', async t => {
  const upstream = await aRawUpstream(t, {
    onSocket: socket =>
      void socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx')),
  })
  const sidecar = await aSidecar(t, {
    upstreams: [upstream],
    config: { limits: { guesses: 2, drain: '2s' } },
  })
  const placeholder = await sidecar.put('acme/token', makeCanary('acme', 'token'))
  const tunnels = await Promise.all([1, 2, 3, 4].map(() => openTunnel(sidecar, `${HOST}:443`)))
  const running = tunnels.map(
    tunnel =>
      new Promise<void>(resolve => {
        tunnel.once('data', () => tunnel.on('close', resolve))
        tunnel.write(get('/', [`Authorization: Bearer ${placeholder}`]))
      }),
  )
  await Promise.all(tunnels.map(tunnel => new Promise(resolve => tunnel.once('data', resolve))))

  await sidecar.call('secret.revoke', { secret: 'acme/token' })
  await Promise.all(running)
  const answer = await sendInTunnel(sidecar, get('/', [`Authorization: Bearer ${placeholder}`]))

  t.equal(codeOf(answer), 'SWAP_REFUSED', 'and not SWAP_GUESSING')
  const cut = (await recordsOf(sidecar)).filter(
    ({ event, error }) => event === 'outcome' && error === 'SWAP_REFUSED',
  )
  t.equal(cut.length, 4)
  t.ok(cut.every(({ reason }) => reason === 'secret_revoked'))
})

const BODY = (placeholder: string) => Buffer.from(`{"text":"before ${placeholder} after"}`)

t.test('a placeholder in a body never reaches the upstream, however the body is cut', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t, { config: MANY_GUESSES, level: 'error' })
  const body = BODY(placeholder)
  const head = (framing: string) => `POST / HTTP/1.1\r\nHost: ${HOST}\r\n${framing}\r\n\r\n`
  const chunk = (part: Buffer) => [Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n')]

  for (let cut = 1; cut < body.length; cut++) {
    const parts = [body.subarray(0, cut), body.subarray(cut)]
    const tunnel = await openTunnel(sidecar, `${HOST}:443`)
    tunnel.setNoDelay(true)
    const isChunked = cut % 2 === 0
    const bytes = isChunked
      ? [
          Buffer.from(head('Transfer-Encoding: chunked')),
          ...parts.map(part => Buffer.concat(chunk(part))),
          Buffer.from('0\r\n\r\n'),
        ]
      : [Buffer.from(head(`Content-Length: ${body.length}`)), ...parts]
    const answer = await new Promise<string>(resolve => {
      let text = ''
      tunnel.on('data', data => (text += data)).on('error', () => undefined)
      tunnel.on('end', () => resolve(text)).on('close', () => resolve(text))
      const next = () => {
        const part = bytes.shift()
        if (part !== undefined) tunnel.write(part, () => setImmediate(next))
      }
      next()
    })
    tunnel.destroy()
    if (codeOf(answer) !== 'SWAP_REFUSED_IN_BODY')
      t.fail(`cut at ${cut}: ${JSON.stringify(answer.slice(0, 80))}`)
  }

  const sent = upstream.bytes().toString('latin1')
  t.notMatch(sent, /xclk_r/, 'not even its start')
  t.equal(upstream.requests.length, 0, 'no request was whole')
  t.match(await lastRecord(sidecar, { event: 'outcome' }), {
    reason: 'body_placeholder',
    error: 'SWAP_REFUSED_IN_BODY',
  })
})

t.test('a body with what only looks like a placeholder arrives whole', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t)
  const body = Buffer.from(
    `xclk_ xclk_r xclk_rNOPE ${placeholder.slice(0, -1)} xclk_s ${placeholder.toUpperCase()} xclk_`,
  )

  const answer = await askThrough(sidecar, HOST, {
    method: 'POST',
    body,
    headers: { 'X-Api-Key': placeholder },
  })
  const chunked = await askThrough(sidecar, HOST, { method: 'POST', body, chunked: true })

  t.equal(answer.status, 200)
  t.equal(chunked.status, 200)
  t.ok(upstream.requests.every(request => request.body.equals(body)))
})

// acceptance.md 31
t.test('observe never swaps and never lets a placeholder through', async t => {
  const { sidecar, upstream, canary, placeholder } = await anArena(t, {
    policy: policyFor(`${USUAL_RULE.replace("paths: ['/**']", "paths: ['/named/**']")}    mode: observe\n`),
  })
  const headers = { Authorization: `Bearer ${placeholder}` }

  const observed = await askThrough(sidecar, HOST, { path: '/other' })
  const withPlaceholder = await askThrough(sidecar, HOST, { path: '/other', headers })
  const inBody = await askThrough(sidecar, HOST, { path: '/other', method: 'POST', body: BODY(placeholder) })
  const allowed = await askThrough(sidecar, HOST, { path: '/named/x', headers })

  t.equal(observed.status, 200)
  t.match(await lastRecord(sidecar, { path: '/other', outcome: 'allowed' }), { observed: 'path_not_allowed' })
  t.equal(withPlaceholder.status, 403)
  t.equal(inBody.status, 403)
  t.equal(allowed.status, 200)
  t.equal(upstream.bytes().toString('latin1').split(canary).length - 1, 1)
  t.notMatch(upstream.bytes().toString('latin1'), placeholder)
})

t.test('a host that nothing matches may be observed, and is a blind tunnel then', async t => {
  const stranger = await anUpstream(t, { host: 'stranger.test' })
  const { sidecar, canary, placeholder } = await anArena(t, {
    upstreams: [stranger],
    policy: USUAL_POLICY.replace('version: 1', 'version: 1\nunmatched: observe'),
  })

  const { socket, head } = await connectTo(sidecar, 'stranger.test:443')
  const secured = await secure(socket, testCaPem, 'stranger.test')
  const answer = await ask(secured, 'stranger.test', { headers: { Authorization: placeholder } })
  secured.destroy()
  await sidecar.stop()

  t.match(head, /^HTTP\/1\.1 200/)
  t.match(answer.body.toString(), placeholder, 'what goes in comes out: it is worth nothing there')
  t.notOk(gotCanary(canary, stranger))
  t.match(await lastRecord(sidecar, { target: 'https://stranger.test:443' }), { rule: 'unmatched' })
})

t.test('a secret whose expiry comes ends what runs with it', async t => {
  const upstream = await aRawUpstream(t, {
    onSocket: socket =>
      void socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx')),
  })
  const sidecar = await aSidecar(t, { upstreams: [upstream] })
  const canary = makeCanary('acme', 'token')
  const tunnel = await openTunnel(sidecar, `${HOST}:443`)
  const placeholder = await sidecar.put('acme/token', canary, { expiresAt: Date.now() + 4000 })

  const answer = await sendRaw(tunnel, get('/', [`Authorization: Bearer ${placeholder}`]))
  const after = await sendInTunnel(sidecar, get('/', [`Authorization: Bearer ${placeholder}`]))

  t.equal(statusOf(answer), 200, 'it had begun')
  t.match(answer, /\r\n\r\n1\r\nx\r\n$/, 'and was cut short: no last chunk')
  t.equal(codeOf(after), 'SWAP_REFUSED')
  t.same(findLeaks(answer, canary), [])
  t.match(await lastRecord(sidecar, { event: 'outcome' }), { reason: 'secret_expired' })
})

t.test("a rate is a caller's own: tenants that it makes up do not give it again", async t => {
  const { sidecar, upstream } = await anArena(t, {
    policy: policyFor(`${USUAL_RULE}    limits: { rate: 2/h, burst: 2 }\n`),
  })

  const answers = []
  for (let i = 0; i < 5; i++)
    answers.push(await askThrough(sidecar, HOST, { headers: { 'Cloakroom-Tenant': `made-up-${i}` } }))

  // acceptance.md 54
  t.same(
    answers.map(({ status }) => status),
    [200, 200, 429, 429, 429],
  )
  t.ok(Number(answers[4]?.headers['retry-after']) > 0)
  t.equal(upstream.requests.length, 2)
})

t.test('a host that holds a placeholder stands in no record and no log', async t => {
  const { sidecar, placeholder } = await anArena(t)
  const host = `${placeholder}.test`

  await sendToProxy(sidecar, get(`https://${host}/`))
  await sendToProxy(sidecar, `CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
  await sidecar.stop()

  const written = JSON.stringify(await recordsOf(sidecar)) + sidecar.log()
  t.notMatch(written.toLowerCase(), placeholder.toLowerCase())
  t.match(written, 'https://[masked]:443')
})
