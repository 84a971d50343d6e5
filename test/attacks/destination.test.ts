/**
 * Attacks on the destination: a credential for one place made to go to another (threat-model.md A).
 *
 * The oracle is the ledger of servers that listen on the wrong places too.
 */
import t from 'tap'
import { days, systemClock } from '../../src/base/clock.ts'
import { ask, askThrough, connectTo, openTcp, secure } from '../support/caller.ts'
import { anAuthority, aServerCertificate } from '../support/certificates.ts'
import { makeCanary } from '../support/oracle.ts'
import { aSidecar, policyFor } from '../support/sidecar.ts'
import {
  anUpstream,
  aRawUpstream,
  type Teardown,
  testAuthority,
  type Upstream,
} from '../support/third-party.ts'
import {
  anArena,
  codeOf,
  get,
  gotCanary,
  HOST,
  recordsOf,
  secureWithoutName,
  sendInTunnel,
  sendRaw,
  sendToProxy,
  statusOf,
} from './arena.ts'

const OTHER = 'other.example.test'
const EVIL = 'evil.test'

function ruleFor(target: string, id = target.replace(/[^a-z0-9]+/g, '-').replace(/-$/, '')): string {
  return `  - id: ${id}
    callers: [app]
    target: ${target}
    methods: [GET, POST]
    paths: ['/**']
    swap: [{ secrets: ['*/token'], in: [header.authorization] }]
`
}

t.test('of CONNECT, SNI, Host and an absolute target, all name one place or nothing leaves', async t => {
  const upstreams = await Promise.all([HOST, OTHER, EVIL].map(host => anUpstream(t, { host })))
  const [api, other, evil] = upstreams as [Upstream, Upstream, Upstream]
  const sidecar = await aSidecar(t, {
    upstreams,
    policy: policyFor(ruleFor(`https://${HOST}`) + ruleFor(`https://${OTHER}`)),
    level: 'error',
  })
  const canary = makeCanary('acme', 'token')
  const placeholder = await sidecar.put('acme/token', canary, {
    target: [`https://${HOST}`, `https://${OTHER}`],
  })
  const bearer = `Authorization: Bearer ${placeholder}`
  const hosts = {
    same: `Host: ${HOST}\r\n`,
    other: `Host: ${OTHER}\r\n`,
    evil: `Host: ${EVIL}\r\n`,
    absent: '',
    twice: `Host: ${HOST}\r\nHost: ${HOST}\r\n`,
    both: `Host: ${HOST}\r\nHost: ${EVIL}\r\n`,
    port: `Host: ${HOST}:8443\r\n`,
  }
  const targets = {
    origin: '/x',
    same: `https://${HOST}/x`,
    other: `https://${OTHER}/x`,
    evil: `https://${EVIL}/x`,
    plain: `http://${HOST}/x`,
    port: `https://${HOST}:8443/x`,
  }

  for (const sni of [HOST, OTHER, EVIL, undefined]) {
    for (const [hostName, host] of Object.entries(hosts)) {
      for (const [targetName, target] of Object.entries(targets)) {
        const { socket } = await connectTo(sidecar, `${HOST}:443`)
        const handshake = sni === undefined ? secureWithoutName(socket) : secure(socket, sidecar.caPem, sni)
        const secured = await handshake.catch(() => undefined)
        const answer =
          secured === undefined
            ? ''
            : await sendRaw(
                secured,
                `GET ${target} HTTP/1.1\r\n${host}${bearer}\r\nConnection: close\r\n\r\n`,
              )

        const name = `SNI ${sni}, Host ${hostName}, target ${targetName}`
        const isNamed = sni === HOST || sni === undefined
        const agrees = isNamed && hostName === 'same' && ['origin', 'same'].includes(targetName)
        if (!isNamed) t.equal(secured, undefined, `${name}: no handshake`)
        else if (agrees) t.equal(statusOf(answer), 200, name)
        else t.ok([400, 421].includes(statusOf(answer)), `${name}: ${statusOf(answer)}`)
      }
    }
  }
  t.equal(api.requests.length, 4)
  t.notOk(gotCanary(canary, other, evil))
  t.equal(other.connections + evil.connections, 0)
})

const SAME_HOST = ['api.example.test', 'API.EXAMPLE.TEST', 'Api.Example.Test.', 'api.example.test.']

// Bytes as latin1; `\u` forms are written as their UTF-8.
const OTHER_SPELLINGS = [
  ...[
    'api.example.test..',
    '.api.example.test',
    'api..example.test',
    'api.example.test.evil.test',
    'xapi.example.test',
  ],
  ...[
    'evilapi.example.test',
    'a.api.example.test',
    'example.test',
    'api.example',
    'api',
    'api.example.tes',
    'pi.example.test',
  ],
  ...[
    '%61pi.example.test',
    'api%2eexample.test',
    'api.example.test%00',
    'api.example.test%2f',
    'api.example.test%20',
  ],
  ...['api.example.test\0', '\0api.example.test', 'evil.test\0.api.example.test', 'api .example.test'],
  ...[
    'u@api.example.test',
    'u:p@api.example.test',
    'api.example.test@evil.test',
    'api.example.test,evil.test',
  ],
  ...['api.example.test;evil.test', 'api.example.test\\evil.test', 'api.example.test#', '*.example.test'],
  ...[
    '-api.example.test',
    'api-.example.test',
    'api_.example.test',
    'api!.example.test',
    '(api.example.test)',
    '"api.example.test"',
  ],
  ...[
    '[api.example.test]',
    '[::1',
    '::1',
    '[::1]x',
    '[fe80::1%25lo]',
    '',
    '.',
    '..',
    `${'a'.repeat(64)}.example.test`,
  ],
  ...[
    `${'a.'.repeat(127)}test`,
    'api\u3002example.test',
    'api\uff0eexample.test',
    'api\uff61example.test',
  ].map(utf8),
  ...[
    '\uff41pi.example.test',
    'a\u00adpi.example.test',
    'a\u200dpi.example.test',
    '\u0430pi.example.test',
    '\u2100pi.example.test',
  ].map(utf8),
  ...['\ufeffapi.example.test', 'api.example.test\u200b'].map(utf8),
]

function utf8(text: string): string {
  return Buffer.from(text).toString('latin1')
}

t.test('a host is one place in every spelling, or it is refused', async t => {
  const { sidecar, upstream, canary, placeholder } = await anArena(t, { level: 'error' })
  const bearer = `Authorization: Bearer ${placeholder}`

  // acceptance.md 8: letter case, trailing dot and default port are not part of the name.
  for (const spelling of SAME_HOST) {
    const { head, socket } = await connectTo(sidecar, `${spelling}:443`)
    t.match(head, /^HTTP\/1\.1 200/, `CONNECT ${spelling}`)
    socket.destroy()
    t.equal(statusOf(await sendInTunnel(sidecar, get('/', [bearer], spelling))), 200, `Host ${spelling}`)
    t.equal(statusOf(await sendInTunnel(sidecar, get('/', [bearer], `${spelling}:443`))), 200)
    t.equal(statusOf(await sendToProxy(sidecar, get(`https://${spelling}/`, [bearer]))), 200)
  }
  const seen = upstream.requests.length

  for (const spelling of OTHER_SPELLINGS) {
    const name = JSON.stringify(spelling)
    const connect = await sendToProxy(sidecar, `CONNECT ${spelling}:443 HTTP/1.1\r\nHost: x\r\n\r\n`)
    t.ok([0, 400, 403].includes(statusOf(connect)), `CONNECT ${name}: ${statusOf(connect)}`)
    const inner = await sendInTunnel(sidecar, get('/', [bearer], spelling))
    t.ok([400, 421].includes(statusOf(inner)), `Host ${name}: ${statusOf(inner)}`)
    const absolute = await sendToProxy(sidecar, get(`https://${spelling}/`, [bearer]))
    t.ok([0, 400, 403].includes(statusOf(absolute)), `https://${name}/: ${statusOf(absolute)}`)
  }

  t.equal(upstream.requests.length, seen, 'nothing more came')
  t.ok(upstream.requests.every(({ headers }) => headers.host === HOST))
  t.equal(upstream.bytes().toString('latin1').split(canary).length - 1, seen)
})

t.test('a port is a number of one spelling, and a rule without one means 443', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t, { level: 'error' })
  const refused = [
    '0443',
    '+443',
    '443.0',
    '4 43',
    '65979',
    '99999',
    '0',
    '-443',
    '443:443',
    '443/',
    '0x1bb',
    '４４３',
  ].map(utf8)

  for (const port of refused) {
    const connect = await sendToProxy(sidecar, `CONNECT ${HOST}:${port} HTTP/1.1\r\nHost: x\r\n\r\n`)
    t.equal(statusOf(connect), 400, `CONNECT :${port}`)
    const inner = await sendInTunnel(sidecar, get('/', [], `${HOST}:${port}`))
    t.equal(statusOf(inner), 400, `Host :${port}`)
  }
  t.equal(statusOf(await sendToProxy(sidecar, `CONNECT ${HOST}: HTTP/1.1\r\nHost: x\r\n\r\n`)), 400)
  const elsewhere = await sendToProxy(sidecar, `CONNECT ${HOST}:8443 HTTP/1.1\r\nHost: x\r\n\r\n`)
  const inner = await sendInTunnel(
    sidecar,
    get('/', [`Authorization: Bearer ${placeholder}`], `${HOST}:8443`),
  )

  t.equal(codeOf(elsewhere), 'POLICY_DENIED')
  t.equal(statusOf(inner), 421)
  t.equal(upstream.connections, 0)
})

t.test('an address in any numeric form is an address, and no rule for a name lets it pass', async t => {
  const upstream = await anUpstream(t)
  const sidecar = await aSidecar(t, {
    upstreams: [upstream],
    policy: `${policyFor(ruleFor(`https://${HOST}`))}`,
  })
  const forms = [
    ...[
      '127.0.0.1',
      '127.1',
      '127.0.1',
      '2130706433',
      '0x7f000001',
      '0x7f.1',
      '0x7f.0.0.1',
      '0177.0.0.1',
      '017700000001',
      '0',
    ],
    ...[
      '0.0.0.0',
      '127.0.0.01',
      '127.0.0.1.',
      '1',
      '00',
      '0x0',
      '127.0.0.256',
      '256.0.0.1',
      '127.0.0.0x1',
      '1e3',
      '127.0.0.1e0',
    ],
    ...[
      '[::1]',
      '[::]',
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:1]',
      '[64:ff9b::7f00:1]',
      '[0:0:0:0:0:0:0:1]',
      '[::1%lo]',
      '[::127.0.0.1]',
    ],
    ...['[fe80::1]', '[fd00:ec2::254]', '169.254.169.254', 'x.1', 'x.0x1'],
  ]

  for (const form of forms) {
    const answer = await sendToProxy(sidecar, `CONNECT ${form}:${upstream.port} HTTP/1.1\r\nHost: x\r\n\r\n`)
    const plain = await sendToProxy(sidecar, get(`http://${form}:${upstream.port}/`))
    t.ok([400, 403].includes(statusOf(answer)), `CONNECT ${form}: ${statusOf(answer)}`)
    t.ok([400, 403].includes(statusOf(plain)), `http://${form}: ${statusOf(plain)}`)
  }

  t.equal(upstream.connections, 0)
})

// acceptance.md 52: the dialled address is the checked one; 53: metadata stays blocked whatever the operator allows.
const FORBIDDEN: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.1', '127.255.255.254', '[::1]'],
  private: ['10.0.0.1', '172.16.0.1', '172.31.255.254', '192.168.1.1'],
  shared: ['100.64.0.1', '100.127.255.254', '198.18.0.1', '192.0.0.1'],
  local: ['169.254.1.1', '[fe80::1]', '[fc00::1]', '[fd12::1]', '[fec0::1]'],
  embedded: ['[::ffff:10.0.0.1]', '[64:ff9b::a00:1]', '[2002:a00:1::]', '[2001:0:a00:1::]', '[::10.0.0.1]'],
  nowhere: [
    '0.0.0.0',
    '[::]',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '[ff02::1]',
    '192.0.2.1',
    '[2001:db8::1]',
  ],
}
const METADATA = [
  '169.254.169.254',
  '169.254.170.2',
  '100.100.100.200',
  '192.0.0.192',
  '168.63.129.16',
  '[fd00:ec2::254]',
  '[::ffff:169.254.169.254]',
  '[64:ff9b::a9fe:a9fe]',
]

async function withNamesFor(
  t: Teardown,
  addresses: readonly string[],
  allowAddresses: readonly string[],
  port: number,
) {
  const names = addresses.map((_, i) => `n${i}.ssrf.test`)
  const resolve = Object.fromEntries(names.map((name, i) => [`${name}:443`, `${addresses[i]}:${port}`]))
  const sidecar = await aSidecar(t, {
    policy: policyFor(ruleFor('https://*.ssrf.test', 'ssrf')),
    config: { upstream: { resolve, allowAddresses } },
    level: 'error',
  })
  const canary = makeCanary('acme', 'token')
  const placeholder = await sidecar.put('acme/token', canary, {
    target: names.map(name => `https://${name}`),
  })
  const headers = { Authorization: `Bearer ${placeholder}` }
  return { sidecar, names, askFor: (name: string) => askThrough(sidecar, name, { headers }) }
}

t.test('a name that leads to an address of this machine or network is not dialled', async t => {
  const sentinel = await anUpstream(t)
  const addresses = [...Object.values(FORBIDDEN).flat(), ...METADATA]
  const { askFor, names, sidecar } = await withNamesFor(t, addresses, [], sentinel.port)

  for (const [i, name] of names.entries()) {
    const answer = await askFor(name)
    t.equal(answer.error, 'NET_ADDRESS_REFUSED', String(addresses[i]))
    t.equal(answer.status, 403)
    t.equal(answer.headers['proxy-status'], 'cloakroom; error=destination_ip_prohibited')
  }

  t.equal(sentinel.connections, 0)
  const record = (await recordsOf(sidecar)).findLast(
    ({ event }) => event === 'outcome' || event === 'refused',
  )
  t.match(record, { reason: 'address_refused' })
})

t.test('a metadata address is not dialled when the operator allows every address', async t => {
  const { askFor, names } = await withNamesFor(t, METADATA, ['0.0.0.0/0', '::/0'], 80)

  for (const [i, name] of names.entries()) {
    t.equal((await askFor(name)).error, 'NET_ADDRESS_REFUSED', String(METADATA[i]))
  }
})

// acceptance.md 12: the proxy never forwards a request to itself.
t.test('our own listeners are not dialled under any spelling, and the caller is told of a loop', async t => {
  const sidecar = await aSidecar(t, {
    config: { relay: { listen: '127.0.0.1:0' }, upstream: { allowAddresses: ['0.0.0.0/0', '::/0'] } },
    level: 'error',
  })
  const hosts = ['127.0.0.1', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '0.0.0.0', '[::]', '[64:ff9b::7f00:1]']
  const ports = [sidecar.port, sidecar.opsPort, sidecar.relayPort]
  const targets = hosts.flatMap(host => ports.map(port => `${host}:${port}`))
  // Two spellings of one address are one target, and so one rule.
  const distinct = targets.filter(target => !target.startsWith('[::ffff:127'))
  const rules = distinct.flatMap((target, i) => [
    `  - { id: h${i}, callers: [app], target: 'http://${target}', methods: [GET], paths: ['/**'] }\n`,
    `  - { id: s${i}, callers: [app], target: 'https://${target}', mode: tunnel }\n`,
  ])
  sidecar.writePolicy(policyFor(rules.join('')))
  await sidecar.call('policy.reload', {})

  for (const target of targets) {
    const plain = await sendToProxy(sidecar, get(`http://${target}/metrics`))
    const tunnel = await sendToProxy(sidecar, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`)
    t.equal(codeOf(plain), 'REQUEST_LOOP', `GET http://${target}`)
    t.equal(statusOf(plain), 508)
    t.equal(codeOf(tunnel), 'REQUEST_LOOP', `CONNECT ${target}`)
  }
})

t.test('a credential is never sent in the clear', async t => {
  const plain = await anUpstream(t, { host: 'plain.example.test', plain: true })
  const { sidecar, upstream, canary, placeholder } = await anArena(t, {
    upstreams: [
      { ...plain, as: 80 },
      { host: HOST, port: plain.port, as: 80 },
    ],
    policy: policyFor(
      ruleFor(`https://${HOST}`) +
        `  - { id: plain, callers: [app], target: 'http://plain.example.test', methods: [GET], paths: ['/**'] }\n`,
    ),
  })
  const bearer = `Authorization: Bearer ${placeholder}`

  const passed = await sendToProxy(sidecar, get('http://plain.example.test/'))
  const swapped = await sendToProxy(sidecar, get('http://plain.example.test/', [bearer]))
  const downgraded = await sendToProxy(sidecar, get(`http://${HOST}/`, [bearer]))
  const { socket } = await connectTo(sidecar, 'plain.example.test:80')
  const inTunnel = await sendRaw(socket, get('/', [bearer], 'plain.example.test'))
  const { socket: second } = await connectTo(sidecar, `${HOST}:443`)
  const inTlsTunnel = await sendRaw(second, get('/', [bearer], `${HOST}:443`))

  t.equal(statusOf(passed), 200)
  t.equal(codeOf(swapped), 'SWAP_REFUSED')
  t.equal(codeOf(downgraded), 'POLICY_DENIED')
  t.equal(codeOf(inTunnel), 'SWAP_REFUSED')
  t.equal(codeOf(inTlsTunnel), 'POLICY_DENIED')
  t.equal(plain.requests.length, 1)
  t.notOk(gotCanary(canary, plain, upstream))
  t.notOk(gotCanary(placeholder, plain, upstream))
})

// acceptance.md 17
t.test('an upstream whose certificate is not acceptable gets 502 for us and not one byte', async t => {
  const now = systemClock.now()
  const stranger = anAuthority()
  const { sidecar } = await anArena(t)
  const ours = { certificatePem: sidecar.caPem, privateKey: stranger.privateKey }
  const bad = {
    'self-signed': aServerCertificate('self'),
    'of a CA that nobody named': aServerCertificate(stranger),
    'for another host': aServerCertificate(testAuthority, { host: 'other.example.test' }),
    'for the parent domain': aServerCertificate(testAuthority, { host: 'example.test' }),
    expired: aServerCertificate(testAuthority, { notBefore: now - days(9), notAfter: now - days(1) }),
    'not yet valid': aServerCertificate(testAuthority, { notBefore: now + days(1) }),
    'with our own CA as its issuer': aServerCertificate(ours),
  }

  for (const [what, certificate] of Object.entries(bad)) {
    const upstream = await aRawUpstream(t, { certificate, onSocket: () => undefined })
    const other = await aSidecar(t, { upstreams: [upstream], level: 'error' })
    const canary = makeCanary('acme', 'token')
    const shown = await other.put('acme/token', canary)

    const answer = await askThrough(other, HOST, { headers: { Authorization: `Bearer ${shown}` } })

    t.equal(answer.status, 502, what)
    t.equal(answer.error, 'UPSTREAM_CERTIFICATE', what)
    t.equal(upstream.bytes().length, 0, what)
    await other.stop()
  }
})

// acceptance.md 11
t.test('a redirect is given back and never followed', async t => {
  const evil = await anUpstream(t, { host: EVIL })
  const places = [`https://${EVIL}/`, '/elsewhere', `//${EVIL}/`, `http://${EVIL}/`]
  const { sidecar, upstream, placeholder } = await anArena(t, {
    upstreams: [evil],
    upstream: {
      handler: (request, response) => {
        const [, status = '', place = ''] = request.url.split('/')
        response.writeHead(Number(status), { Location: places[Number(place)] ?? '' })
        response.end()
      },
    },
  })

  for (const status of [301, 302, 303, 307, 308]) {
    for (const [i, place] of places.entries()) {
      const answer = await askThrough(sidecar, HOST, {
        path: `/${status}/${i}`,
        headers: { Authorization: `Bearer ${placeholder}` },
      })
      t.equal(answer.status, status)
      t.equal(answer.headers.location, place)
    }
  }

  t.equal(upstream.requests.length, 20)
  t.equal(evil.connections, 0)
})

t.test('what follows a refused CONNECT is discarded unread', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t)
  const after = get(`https://${HOST}/`, [`Authorization: Bearer ${placeholder}`])

  for (const refused of [`CONNECT ${EVIL}:443`, 'CONNECT x', `CONNECT ${HOST}:8443`]) {
    const answer = await sendToProxy(sidecar, `${refused} HTTP/1.1\r\nHost: ${EVIL}\r\n\r\n${after}`)
    t.equal(answer.match(/HTTP\/1\.1 /g)?.length, 1, refused)
    t.match(answer, /\r\nconnection: close\r\n/i)
  }
  // Inside a tunnel it is the same: CONNECT and an upgrade are refused, and their optimistic bytes with them.
  for (const refused of [
    `CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    `TRACE / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`,
  ]) {
    const answer = await sendInTunnel(sidecar, refused + get('/after'))
    t.equal(answer.match(/HTTP\/1\.1 /g)?.length, 1, refused)
    t.ok([405, 501].includes(statusOf(answer)))
  }

  t.equal(upstream.requests.length, 0)
})

t.test('CONNECT with two hosts, or none, is refused', async t => {
  const { sidecar, upstream } = await anArena(t)

  for (const hosts of ['', `Host: ${HOST}\r\nHost: ${HOST}\r\n`, `Host: ${HOST}\r\nHost: ${EVIL}\r\n`]) {
    const answer = await sendToProxy(sidecar, `CONNECT ${HOST}:443 HTTP/1.1\r\n${hosts}\r\n`)
    t.equal(codeOf(answer), 'REQUEST_MALFORMED')
  }

  t.equal(upstream.connections, 0)
})

// acceptance.md 3
t.test('origin-form and other schemes on the proxy port are refused and reach nobody', async t => {
  const { sidecar, upstream } = await anArena(t)

  for (const target of [
    '/',
    '/x?y',
    '*',
    `ftp://${HOST}/`,
    `file:///etc/passwd`,
    `${HOST}:443`,
    `ws://${HOST}/`,
  ]) {
    const answer = await sendToProxy(sidecar, get(target))
    t.equal(statusOf(answer), 400, target)
  }

  t.equal(upstream.connections, 0)
})

// acceptance.md 4
t.test('outside a tunnel the target decides, and another Host changes nothing', async t => {
  const evil = await anUpstream(t, { host: EVIL })
  const { sidecar, upstream, placeholder } = await anArena(t, { upstreams: [evil] })
  const request = get(`https://${HOST}/x`, [`Authorization: Bearer ${placeholder}`], EVIL)

  const answer = await sendToProxy(sidecar, request)

  t.equal(statusOf(answer), 200)
  t.equal(upstream.requests[0]?.headers.host, HOST)
  t.equal(evil.connections, 0)
})

t.test('a pipelined request after one that was misdirected is not served', async t => {
  const { sidecar, upstream } = await anArena(t)
  const misdirected = `GET / HTTP/1.1\r\nHost: ${EVIL}\r\n\r\n`

  const answer = await sendInTunnel(sidecar, misdirected + get('/'))

  t.equal(statusOf(answer), 421)
  t.equal(answer.match(/HTTP\/1\.1 /g)?.length, 1)
  t.equal(upstream.connections, 0)
})

t.test('a tunnel whose first bytes are no protocol of ours is closed', async t => {
  const { sidecar, upstream } = await anArena(t)

  for (const first of ['\0\0\0', '\x15\x03\x01\0\x02\x02\x28', 'SSH-2.0-x\r\n'.toLowerCase(), '\x16\x03']) {
    const { socket } = await connectTo(sidecar, `${HOST}:443`)
    if (first === '\x16\x03') socket.end(first, 'latin1')
    else socket.write(first, 'latin1')
    t.match(await sendRaw(socket, ''), /^$|^\x15/)
  }

  t.equal(upstream.connections, 0)
  t.ok(await openTcp(sidecar.port).then(socket => socket.destroy()))
})

t.test('a policy cannot send a secret where it was not sealed for', async t => {
  const evil = await anUpstream(t, { host: EVIL })
  const { sidecar, upstream, canary, placeholder } = await anArena(t, {
    upstreams: [evil],
    policy: policyFor(ruleFor(`https://${HOST}`) + ruleFor(`https://${EVIL}`)),
  })
  const headers = { Authorization: `Bearer ${placeholder}` }

  // B10, two locks: the rule says yes, the seal says no.
  const answer = await askThrough(sidecar, EVIL, { headers })
  const right = await askThrough(sidecar, HOST, { headers })

  t.equal(answer.error, 'SWAP_REFUSED')
  t.equal(right.status, 200)
  t.notOk(gotCanary(canary, evil))
  t.notOk(gotCanary(placeholder, evil, upstream))
  const record = (await recordsOf(sidecar)).find(({ target }) => target === `https://${EVIL}:443`)
  t.match(record, { event: 'refused', reason: 'placeholder_for_other_target' })
})

t.test('a request in a tunnel cannot be asked of another tunnel by keeping the connection', async t => {
  const other = await anUpstream(t, { host: OTHER })
  const { sidecar, upstream } = await anArena(t, {
    upstreams: [other],
    policy: policyFor(ruleFor(`https://${HOST}`) + ruleFor(`https://${OTHER}`)),
  })
  const { socket } = await connectTo(sidecar, `${HOST}:443`)
  const secured = await secure(socket, sidecar.caPem, HOST)

  const first = await ask(secured, HOST)
  const second = await ask(secured, OTHER)

  t.equal(first.status, 200)
  t.equal(second.status, 421)
  t.equal(upstream.requests.length, 1)
  t.equal(other.connections, 0)
})
