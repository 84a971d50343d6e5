/**
 * Attacks on what a request says: paths that mean another path, methods that mean another method, headers that end up elsewhere
 * (threat-model.md B, C7, C10, E4, E6).
 *
 * The oracle is what the upstream was sent.
 */
import t from 'tap'
import { ask, askThrough, openTunnel } from '../support/caller.ts'
import { NASTY_VALUES } from '../support/nasty.ts'
import { makeCanary } from '../support/oracle.ts'
import { aSidecar, policyFor } from '../support/sidecar.ts'
import { anUpstream } from '../support/third-party.ts'
import { anArena, codeOf, get, gotCanary, HOST, sendInTunnel, statusOf } from './arena.ts'

const CHARGES = policyFor(`  - id: charges
    callers: [app]
    target: https://${HOST}
    methods: [GET, POST]
    paths: [/v1/charges, '/v1/charges/*']
    swap: [{ secrets: ['*/token'], in: [header.authorization, query.key] }]
`)

/** How servers that are lenient in one way or another read a path; a resolved one is compared in lower case. */
const READINGS: readonly ((path: string) => string)[] = [
  path => path,
  path => path.replace(/;[^/]*/g, ''),
  path => path.replaceAll('\\', '/'),
  path => path.replace(/\/{2,}/g, '/'),
]

function decoded(path: string): string {
  return path.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

function resolved(path: string): string {
  const kept: string[] = []
  for (const segment of path.split('/').slice(1)) {
    if (segment === '..') kept.pop()
    else if (segment !== '.') kept.push(segment)
  }
  return `/${kept.join('/')}`.replace(/\/$/, '').toLowerCase()
}

/** Whether some server would take this for a path below /admin or for /v1/api_keys. */
function meansForbidden(target: string): boolean {
  const path = target.split('?')[0] ?? ''
  const spellings = [path, decoded(path), decoded(decoded(path))].map(text => text.split('\0')[0] ?? '')
  const readings = READINGS.flatMap(first => READINGS.map(second => (text: string) => second(first(text))))
  return spellings.some(text => readings.some(read => /^\/(?:admin|v1\/api_keys)/.test(resolved(read(text)))))
}

function spellingsOfForbidden(): string[] {
  const dots = [
    '..',
    '.%2e',
    '%2e.',
    '%2e%2e',
    '%2E%2E',
    '%252e%252e',
    '..;',
    '..;x=1',
    '%2e%2e;',
    '..%3b',
    '..%00',
    '%c0%ae%c0%ae',
    '..%09',
    '.%252e',
    '%25%32%65%25%32%65',
    '..%20',
    '%u002e%u002e',
    '..%0d',
    '...',
    '..%23',
  ]
  const slashes = [
    '/',
    '%2f',
    '%2F',
    '\\',
    '%5c',
    '%252f',
    '//',
    '/./',
    '/%2e/',
    ';/',
    '%c0%af',
    '/;/',
    '%255c',
  ]
  const climbs = dots.flatMap(dot =>
    slashes.flatMap(slash => [
      `/v1/charges${slash}${dot}${slash}api_keys`,
      `/v1/charges/${dot}${slash}api_keys`,
    ]),
  )
  const others = [
    ...[
      '/v1//api_keys',
      '//v1/api_keys',
      '/v1/./api_keys',
      '/./v1/api_keys',
      '/v1/api_keys',
      '/v1/API_KEYS',
      '/V1/api_keys',
    ],
    ...[
      '/v1/api_keys/',
      '/v1/api_keys?x',
      '/v1/api_keys;x',
      '/v1/api%5fkeys',
      '/v1/%61pi_keys',
      '/%761/api_keys',
      '/v1%2fapi_keys',
    ],
    ...[
      '/admin',
      '/admin/',
      '//admin',
      '/v1/../admin',
      '/v1/charges/../../admin',
      '/v1/charges/x/../../../admin',
      '/%61dmin',
    ],
    ...[
      '/v1/charges%2f..%2fapi_keys',
      '/v1/charges/x%2f..%2f..%2fapi_keys',
      '/v1/charges/%2e%2e/api_keys',
      '/v1/charges/x/%2e%2e/../api_keys',
    ],
    ...[
      '/v1/charges/..',
      '/v1/charges/.',
      '/v1/charges/../',
      '/v1/charges/..?x=/api_keys',
      '/v1/charges/..%2fapi_keys%00',
      '/.;/admin',
    ],
    ...[
      'http://evil.test/v1/charges',
      '//evil.test/v1/charges',
      '/\\evil.test/v1/charges',
      '/v1/charges#/../api_keys',
      '\\\\evil.test\\x',
    ],
  ]
  return [...new Set([...climbs, ...others])]
}

// acceptance.md 23: the bytes judged are the bytes sent.
t.test('no spelling of a forbidden path carries a credential', async t => {
  const { sidecar, upstream, canary, placeholder } = await anArena(t, { policy: CHARGES, level: 'error' })
  const bearer = `Authorization: Bearer ${placeholder}`
  const spellings = spellingsOfForbidden()
  t.ok(spellings.length >= 200, `${spellings.length} spellings`)

  for (const spelling of spellings) {
    const before = upstream.requests.length
    const answer = await sendInTunnel(sidecar, get(spelling, [bearer]))
    const seen = upstream.requests.slice(before)
    const isHarmless = seen.every(({ url }) => url === spelling && !meansForbidden(url))
    if (!isHarmless || ![200, 400, 403, 421].includes(statusOf(answer)))
      t.fail(`${spelling}: ${statusOf(answer)} ${JSON.stringify(seen.map(({ url }) => url))}`)
  }
  const allowed = await sendInTunnel(sidecar, get('/v1/charges/ch_%C3%A9?x=/../y', [bearer]))

  t.equal(statusOf(allowed), 200)
  t.equal(
    upstream.requests.at(-1)?.url,
    '/v1/charges/ch_%C3%A9?x=/../y',
    'and what is clear is sent byte by byte',
  )
  t.equal(upstream.bytes().toString('latin1').split(canary).length - 1, upstream.requests.length)
  t.ok(upstream.requests.every(({ url }) => /^\/v1\/charges(?:[/?]|$)/.test(url)))
})

// acceptance.md 22
t.test('an escaped slash elsewhere in the path survives where no rule names paths', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t)

  const answer = await sendInTunnel(sidecar, get('/a%2Fb/c', [`Authorization: Bearer ${placeholder}`]))

  t.equal(statusOf(answer), 200)
  t.equal(upstream.requests[0]?.url, '/a%2Fb/c')
})

t.test('TRACE and its like are never forwarded, OPTIONS never has a credential', async t => {
  const { sidecar, upstream, canary, placeholder } = await anArena(t)
  const bearer = `Authorization: Bearer ${placeholder}`
  const send = (method: string, lines: string[]) =>
    sendInTunnel(sidecar, get('/', lines).replace(/^GET/, method))

  for (const method of ['TRACE', 'TRACK']) t.equal(codeOf(await send(method, [bearer])), 'REQUEST_METHOD')
  for (const method of ['get', 'Get', 'G ET', 'GET\t', 'GÉT', ''])
    t.equal(statusOf(await send(method, [])), 400, JSON.stringify(method))
  for (const method of ['PROPFIND', 'LOCK', 'MKCOL', 'PURGE', 'GETX', 'QUERY'])
    t.equal(codeOf(await send(method, [bearer])), 'POLICY_DENIED', method)
  t.equal(codeOf(await send('OPTIONS', [bearer])), 'SWAP_REFUSED')
  t.equal(upstream.connections, 0)
  t.equal(statusOf(await send('OPTIONS', [])), 200)

  t.notOk(gotCanary(canary, upstream))
})

t.test('headers that turn the method or the route into another do not reach the upstream', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t)
  const method = ['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override', 'X_HTTP_Method_Override']
  const route = [
    'X-Forwarded-Host',
    'X-Host',
    'Forwarded',
    'X-Original-URL',
    'X-Rewrite-URL',
    'X_Forwarded_Host',
    'X-Forwarded-Server',
  ]
  const reading = ['Range', 'If-Range', 'Accept-Encoding', 'A-IM']
  const lines = [...method, ...route, ...reading].map(name => `${name}: attack`)

  await sendInTunnel(sidecar, get('/', [...lines, `Authorization: Bearer ${placeholder}`]))
  await sendInTunnel(sidecar, get('/', lines))

  const [armed, bare] = upstream.requests.map(({ rawHeaders }) => rawHeaders.map(text => text.toLowerCase()))
  for (const name of [...method, ...route, 'Range', 'If-Range', 'A-IM'])
    t.notOk(armed?.includes(name.toLowerCase()), name)
  t.equal(upstream.requests[0]?.headers['accept-encoding'], 'identity')
  for (const name of method) t.notOk(bare?.includes(name.toLowerCase()), `${name} without a credential`)
  for (const name of ['X-Forwarded-Host', 'Range']) t.ok(bare?.includes(name.toLowerCase()), `${name} passes`)
})

// acceptance.md 33
t.test('what ends at a proxy ends here, in both directions', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t, {
    upstream: {
      handler: (_, response) => {
        const names = [
          'Proxy-Authenticate',
          'Proxy-Connection',
          'Keep-Alive',
          'Upgrade',
          'X-Mine',
          'Proxy-Feature',
          'Alt-Svc',
        ]
        for (const name of names) response.setHeader(name, 'x')
        response.setHeader('Connection', 'keep-alive, X-Mine')
        response.end('ok')
      },
    },
  })
  const lines = [
    'Proxy-Connection: keep-alive',
    'Keep-Alive: timeout=5',
    'Upgrade: h2c',
    'HTTP2-Settings: AAMAAABk',
    'TE: trailers, deflate',
  ]
  const request = get('/', [
    ...lines,
    'X-Named: 1',
    'Proxy-Feature: x',
    'Cloakroom-Anything: x',
    `Authorization: Bearer ${placeholder}`,
  ])

  const answer = await sendInTunnel(
    sidecar,
    request.replace('Connection: close', 'Connection: close, X-Named, Upgrade, HTTP2-Settings, TE'),
  )

  t.equal(statusOf(answer), 200)
  t.notMatch(answer, /^(?:proxy-\w+|keep-alive|upgrade|x-mine|alt-svc):/im)
  const sent = upstream.requests[0]?.headers ?? {}
  const names = [
    'proxy-connection',
    'keep-alive',
    'upgrade',
    'http2-settings',
    'x-named',
    'proxy-feature',
    'cloakroom-anything',
    'proxy-authorization',
  ]
  for (const name of names) t.equal(sent[name], undefined, name)
  t.equal(sent.te, 'trailers')
})

t.test('a caller cannot have the credential taken off again by nominating its header', async t => {
  const { sidecar, upstream, canary, placeholder } = await anArena(t)

  for (const header of ['Authorization', 'X-Api-Key']) {
    const lines = [`${header}: ${placeholder}`, `Connection: ${header.toLowerCase()}`]
    const answer = await sendInTunnel(sidecar, get('/', lines))
    t.ok(['REQUEST_MALFORMED', 'SWAP_REFUSED'].includes(codeOf(answer) ?? ''), header)
  }
  for (const name of ['Host', 'Content-Length', 'Cookie', 'Cloakroom-Tenant'])
    t.equal(codeOf(await sendInTunnel(sidecar, get('/', [`Connection: ${name}`]))), 'REQUEST_MALFORMED', name)

  t.equal(upstream.connections, 0)
  t.notOk(gotCanary(canary, upstream))
})

// acceptance.md 27
t.test(
  'a second copy of the header, in any spelling that a server may merge, refuses the request',
  async t => {
    const { sidecar, upstream, placeholder } = await anArena(t)

    for (const other of ['Authorization: x', 'authorization: Bearer x', 'AUTHORIZATION:'])
      t.equal(
        codeOf(await sendInTunnel(sidecar, get('/', [`Authorization: Bearer ${placeholder}`, other]))),
        'SWAP_REFUSED',
      )
    for (const other of ['X-API-KEY: x', 'X_Api_Key: x', 'X-Api_Key: x'])
      t.equal(
        codeOf(await sendInTunnel(sidecar, get('/', [other, `X-Api-Key: ${placeholder}`]))),
        'SWAP_REFUSED',
        other,
      )
    t.equal(upstream.connections, 0)
    const kept = await sendInTunnel(
      sidecar,
      get('/', ['Accept: a', 'Accept: b', `X-Api-Key: ${placeholder}`]),
    )

    t.equal(statusOf(kept), 200)
    t.same(
      upstream.requests[0]?.rawHeaders.filter((_, i, all) => all[i - 1] === 'Accept'),
      ['a', 'b'],
    )
  },
)

// acceptance.md 28
t.test('a value never adds a header: it arrives byte by byte, or nothing is sent', async t => {
  const { sidecar, upstream } = await anArena(t, { level: 'error' })
  const values = [
    ...NASTY_VALUES.filter(value => value.length > 0 && value.length <= 4096),
    ...[
      'a\r\nX-Evil: 1',
      'a\nX-Evil: 1',
      'a\rX-Evil: 1',
      'a\0b',
      ' leading',
      'trailing ',
      'k\u010aX-Evil: 1',
    ].map(text => Buffer.from(text)),
  ]
  let sent = 0
  const tunnel = await openTunnel(sidecar, `${HOST}:443`)
  for (const value of values) {
    const placeholder = await sidecar.put('acme/token', value, { force: true }).catch(() => undefined)
    if (placeholder === undefined) continue // refused at the door
    const before = upstream.requests.length

    const answer = await ask(tunnel, HOST, { headers: { 'X-Api-Key': placeholder, 'X-Last': 'last' } })

    const request = upstream.requests[before]
    const what = JSON.stringify(value.toString('latin1'))
    if (request === undefined) {
      if (answer.error !== 'SWAP_VALUE_UNFIT') t.fail(`${what}: ${answer.error}`)
      continue
    }
    sent++
    const names = request.rawHeaders.filter((_, i) => i % 2 === 0)
    const isSame = request.headers['x-api-key'] === value.toString('latin1')
    const isAlone = names.length === new Set(names.map(name => name.toLowerCase())).size && names.length === 4
    if (!isSame || !isAlone) t.fail(`${what} arrived as ${JSON.stringify(request.rawHeaders)}`)
  }
  tunnel.destroy()

  t.ok(sent > 100, `${sent} values were sent`)
  t.ok(upstream.requests.every(({ headers }) => headers['x-evil'] === undefined))
})

t.test('a value in query or path stays one parameter and one segment', async t => {
  const upstream = await anUpstream(t)
  const sidecar = await aSidecar(t, { upstreams: [upstream] })
  const value = 'a&b=c#d e"f%2f+1?;'
  const placeholder = await sidecar.put('acme/token', value)
  const slashed = await sidecar.put('other/token', '../../x/y/z?')

  // acceptance.md 21: untouched parameters keep bytes and order.
  await askThrough(sidecar, HOST, { path: `/a;b/c?x=%7e&key=${placeholder}&y=+%20` })
  const inPath = await askThrough(sidecar, HOST, { path: `/bot${placeholder}/send` })
  const refused = await askThrough(sidecar, HOST, { path: `/bot${slashed}/send` })

  t.equal(upstream.requests[0]?.url, `/a;b/c?x=%7e&key=${encodeURIComponent(value)}&y=+%20`)
  t.equal(inPath.status, 200)
  t.equal(upstream.requests[1]?.url.split('/').length, 3)
  t.equal(decodeURIComponent(upstream.requests[1]?.url.split('/')[1] ?? ''), `bot${value}`)
  t.equal(refused.error, 'SWAP_VALUE_UNFIT')
  t.equal(upstream.requests.length, 2)
})

// acceptance.md 32
t.test('two credentials on one host are told apart by their placeholders', async t => {
  const rule = (name: string) =>
    `      - { secrets: ['*/${name}'], in: [header.authorization, header.x-api-key] }\n`
  const upstream = await anUpstream(t)
  const sidecar = await aSidecar(t, {
    upstreams: [upstream],
    policy: policyFor(`  - id: both
    callers: [app]
    target: https://${HOST}
    methods: [GET]
    paths: ['/**']
    swap:
${rule('first')}${rule('second')}`),
  })
  const values = [makeCanary('acme', 'first'), makeCanary('acme', 'second')]
  const first = await sidecar.put('acme/first', values[0] ?? '')
  const second = await sidecar.put('acme/second', values[1] ?? '')

  const answer = await askThrough(sidecar, HOST, { headers: { Authorization: first, 'X-Api-Key': second } })
  await askThrough(sidecar, HOST, { headers: { Authorization: second } })

  t.equal(upstream.requests[0]?.headers.authorization, values[0])
  t.equal(upstream.requests[0]?.headers['x-api-key'], values[1])
  t.equal(upstream.requests[1]?.headers.authorization, values[1])
  t.match(JSON.parse(answer.body.toString()), { headers: { authorization: first, 'x-api-key': second } })
})

t.test('two rules never share a connection to the upstream, whatever else is the same', async t => {
  const upstream = await anUpstream(t)
  const rule = (id: string) =>
    `  - { id: ${id}, callers: [app], target: 'https://${HOST}', methods: [GET], paths: ['/${id}/**'] }\n`
  const sidecar = await aSidecar(t, { upstreams: [upstream], policy: policyFor(rule('one') + rule('two')) })
  const tunnel = await openTunnel(sidecar, `${HOST}:443`)

  for (const path of ['/one/a', '/one/b', '/two/a', '/two/b', '/one/c']) await ask(tunnel, HOST, { path })
  tunnel.destroy()

  t.equal(upstream.requests.length, 5)
  t.equal(upstream.connections, 2)
})
