/**
 * Dialling with real sockets on loopback: which addresses, which certificates, and how failures are named.
 */
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { TLSSocket, TlsOptions } from 'node:tls'
import t, { type Test } from 'tap'
import { days, seconds, systemClock } from '../../src/base/clock.ts'
import { CloakroomError } from '../../src/base/errors.ts'
import { parseTarget, type Target } from '../../src/model/target.ts'
import { createAddressGuard } from '../../src/net/address.ts'
import { errorFrom } from '../../src/net/failure.ts'
import { createResolver } from '../../src/net/resolve.ts'
import { loadUpstreamTrust } from '../../src/tls/trust.ts'
import { anAuthority, aServerCertificate, type ServerCertificate } from '../support/certificates.ts'
import { manualClock } from '../support/clock.ts'
import { aClosedPort, aDialer, aTcpServer, aTlsServer } from '../support/upstream.ts'

const HOST = 'api.example.test'
const CA = anAuthority()
const forever = () => new AbortController().signal

function aTarget(text: string): Target {
  const target = parseTarget(text)
  if (target === undefined) throw new Error(`not a target: ${text}`)
  return target
}

async function failure(promise: Promise<unknown>): Promise<CloakroomError> {
  const cause = await promise.then(
    made => {
      ;(made as { socket?: Socket } | undefined)?.socket?.destroy()
      return new Error('it did not fail')
    },
    error => error,
  )
  if (!(cause instanceof CloakroomError)) throw cause
  return cause
}

async function dialResult(t: Test, server: TlsOptions, host = HOST): Promise<string> {
  const upstream = await aTlsServer(t, server)
  const results: string[] = []
  const dialer = aDialer({ trusts: CA, onHandshake: result => results.push(result) })
  const cause = await failure(
    dialer
      .dialTls(aTarget(`https://${host}:${upstream.port}`), { signal: forever() })
      .then(({ socket }) => ({ socket: socket.end('GET / HTTP/1.1\r\n\r\n') })),
  )
  t.equal(upstream.received(), '', 'not a byte of a request was sent')
  t.equal(results.length, 1)
  return `${cause.code} ${'why' in cause.details ? cause.details.why : ''} ${results[0]}`.replace('  ', ' ')
}

t.test('certificates that are not acceptable are refused before a byte of the request', async t => {
  const now = systemClock.now()
  const notCa = aServerCertificate(CA, { host: 'shop.example.test' })
  const table: [string, ServerCertificate, string][] = [
    [
      'expired',
      aServerCertificate(CA, { notAfter: now - days(1), notBefore: now - days(9) }),
      'expired expired',
    ],
    ['not yet valid', aServerCertificate(CA, { notBefore: now + days(1) }), 'not yet valid bad_certificate'],
    ['self-signed', aServerCertificate('self'), 'self-signed unknown_ca'],
    ['self-signed CA', aServerCertificate('self', { isCa: true }), 'not for servers bad_certificate'],
    ['unknown CA', aServerCertificate(anAuthority()), 'of an unknown CA unknown_ca'],
    [
      'another host',
      aServerCertificate(CA, { host: 'evil.example.test' }),
      'for another host bad_certificate',
    ],
    ['a parent domain', aServerCertificate(CA, { host: 'example.test' }), 'for another host bad_certificate'],
    [
      'a wildcard two labels up',
      aServerCertificate(CA, { host: '*.test' }),
      'for another host bad_certificate',
    ],
    ['an issuer that is no CA', aServerCertificate(notCa), 'not acceptable to OpenSSL bad_certificate'],
    ['an address', aServerCertificate(CA, { host: '127.0.0.1' }), 'for another host bad_certificate'],
  ]

  for (const [what, certificate, expected] of table)
    t.equal(await dialResult(t, certificate), `UPSTREAM_CERTIFICATE ${expected}`, what)
})

t.test('a certificate of our own CA is refused, also when the operator has named it as trusted', async t => {
  const upstream = await aTlsServer(t, aServerCertificate(CA))
  const trust = loadUpstreamTrust({
    certificateAuthorities: [{ file: 'ca.pem', pem: CA.certificatePem }],
    ownCertificatePem: CA.certificatePem,
  })

  const cause = await failure(
    aDialer({ trust }).dialTls(aTarget(`https://${HOST}:${upstream.port}`), { signal: forever() }),
  )

  t.equal(cause.code, 'UPSTREAM_CERTIFICATE')
  t.equal(upstream.received(), '')
})

t.test('a certificate for a name is not one for an address, and the reverse', async t => {
  t.equal(
    await dialResult(t, aServerCertificate(CA, { host: 'localhost' }), '127.0.0.1'),
    'UPSTREAM_CERTIFICATE for another host bad_certificate',
  )
  t.equal(
    await dialResult(t, aServerCertificate(CA, { host: '127.0.0.2' }), '127.0.0.1'),
    'UPSTREAM_CERTIFICATE for another host bad_certificate',
  )
})

t.test('TLS 1.1, other protocols and closed handshakes are refused', async t => {
  const old: TlsOptions = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }
  t.equal(await dialResult(t, { ...aServerCertificate(CA), ...old }), 'UPSTREAM_TLS protocol_version')
  t.match(await dialResult(t, { ...aServerCertificate(CA), ALPNProtocols: ['h2'] }), /^UPSTREAM_TLS/)

  const serve: Record<string, (socket: Socket) => void> = {
    UPSTREAM_TLS: socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    UPSTREAM_CLOSED: socket => socket.end(),
  }
  for (const [code, answer] of Object.entries(serve)) {
    const server = await aTcpServer(t, answer)
    const dialed = aDialer().dialTls(aTarget(`https://${HOST}:${server.port}`), { signal: forever() })
    t.equal((await failure(dialed)).code, code)
  }
})

t.test('a certificate of a weak key is refused', async t => {
  const keys = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const weak = aServerCertificate(CA, { keys })

  t.equal(
    await dialResult(t, { ...weak, ciphers: 'DEFAULT@SECLEVEL=0' }),
    'UPSTREAM_CERTIFICATE not acceptable to OpenSSL bad_certificate',
  )
})

t.test('a handshake that hangs is ended by the clock', async t => {
  const clock = manualClock()
  const server = await aTcpServer(t)
  const results: string[] = []
  const dialer = aDialer({ clock, onHandshake: result => results.push(result) })
  const dialed = failure(dialer.dialTls(aTarget(`https://${HOST}:${server.port}`), { signal: forever() }))
  while (server.received() === '') await new Promise(setImmediate)

  clock.advance(seconds(10))
  const cause = await dialed

  t.same(
    [cause.code, cause.details],
    ['UPSTREAM_CONNECT_TIMEOUT', { target: `https://${HOST}:${server.port}`, waited: 10_000 }],
  )
  t.same(results, ['timeout'])
  t.equal(clock.pendingTimers(), 0)
})

t.test('an abort ends the dial in every phase with its own reason', async t => {
  const reason = new Error('the caller went away')
  const server = await aTcpServer(t)
  const target = aTarget(`https://${HOST}:${server.port}`)
  const results: string[] = []
  const silent = { onHandshake: (result: string) => results.push(result) }

  const before = new AbortController()
  before.abort(reason)
  await t.rejects(aDialer(silent).dialTls(target, { signal: before.signal }), reason)

  const inLookup = new AbortController()
  const slow = aDialer({ ...silent, lookup: () => new Promise(() => undefined) })
  const looking = slow.dialTls(target, { signal: inLookup.signal })
  inLookup.abort(reason)
  await t.rejects(looking, reason)

  const inHandshake = new AbortController()
  const dialing = aDialer(silent).dialTls(target, { signal: inHandshake.signal })
  dialing.catch(() => undefined)
  while (server.received() === '') await new Promise(setImmediate)
  inHandshake.abort(reason)
  await t.rejects(dialing, reason)
  t.same(results, [])
})

t.test('a refused connection is named, and with several addresses the first failure is told', async t => {
  const port = await aClosedPort()
  const target = aTarget(`http://${HOST}:${port}`)

  const one = await failure(aDialer().dialTcp(target, forever()))
  const two = await failure(
    aDialer({ lookup: async () => ['127.0.0.1', '127.0.0.2'] }).dialTcp(target, forever()),
  )

  t.same([one.code, two.code], ['UPSTREAM_REFUSED', 'UPSTREAM_REFUSED'])
})

t.test('connection errors of Node have one name each', async t => {
  const target = aTarget('https://api.example.test')
  const named = (code: string) => errorFrom(Object.assign(new Error('x'), { code }), target, 'tcp').code

  t.equal(named('ECONNREFUSED'), 'UPSTREAM_REFUSED')
  t.equal(named('EHOSTUNREACH'), 'UPSTREAM_UNREACHABLE')
  t.equal(named('ENETUNREACH'), 'UPSTREAM_UNREACHABLE')
  t.equal(named('ECONNRESET'), 'UPSTREAM_CLOSED')
  t.equal(errorFrom(new Error('x'), target, 'dns').code, 'NET_NAME_UNKNOWN')
  t.equal(errorFrom('text', target, 'exchange').code, 'UPSTREAM_CLOSED')
  const ours = new CloakroomError('AUDIT_UNAVAILABLE', {})
  t.equal(errorFrom(ours, target, 'tls'), ours)
})

t.test(
  'one answer that may not be dialled refuses the name, wherever it stands, and nothing is dialled',
  async t => {
    const server = await aTcpServer(t)
    for (const bad of ['10.0.0.1', '169.254.169.254', '::1', '64:ff9b::7f00:1', '::ffff:192.168.1.1'])
      for (const answers of [
        [bad],
        [bad, '127.0.0.1'],
        ['127.0.0.1', bad],
        ['127.0.0.1', '127.0.0.2', bad],
      ]) {
        const dialer = aDialer({ lookup: async () => answers })
        const cause = await failure(dialer.dialTcp(aTarget(`http://${HOST}:${server.port}`), forever()))
        t.equal(cause.code, 'NET_ADDRESS_REFUSED', answers.join(' '))
      }

    t.equal(server.sockets.length, 0)
  },
)

t.test('overrides and address literals are checked too', async t => {
  const elsewhere = aDialer({ overrides: { 'api.example.test:443': '10.0.0.1:443' } })
  const metadata = aDialer({ overrides: { 'api.example.test:443': '169.254.169.254:80' } })

  t.equal(
    (await failure(elsewhere.dialTcp(aTarget('https://api.example.test'), forever()))).code,
    'NET_ADDRESS_REFUSED',
  )
  t.match((await failure(metadata.dialTcp(aTarget('https://api.example.test'), forever()))).details, {
    kind: 'metadata',
  })
  t.equal(
    (await failure(aDialer().dialTcp(aTarget('http://[::1]:1'), forever()))).code,
    'NET_ADDRESS_REFUSED',
  )
  t.equal(
    (await failure(aDialer().dialTcp(aTarget('http://169.254.169.254'), forever()))).code,
    'NET_ADDRESS_REFUSED',
  )
})

t.test('a malformed override is refused at load', async t => {
  for (const [from, to] of [
    ['api.example.test', '127.0.0.1:1'],
    ['api.example.test:443', '127.0.0.1'],
    ['api.example.test:443', 'localhost:1'],
    ['api.example.test:443', '127.1:1'],
    ['a b:443', '127.0.0.1:1'],
  ] as const)
    t.throws(() => aDialer({ overrides: { [from]: to } }), { code: 'CONFIG_INVALID' }, `${from} ${to}`)
})

t.test('a listener of our own is refused by address and port', async t => {
  const server = await aTcpServer(t)
  const guard = createAddressGuard({
    allowAddresses: ['127.0.0.0/8'],
    ownListeners: () => [{ address: '127.0.0.1', port: server.port }],
    localAddresses: () => [],
  })

  const cause = await failure(aDialer({ guard }).dialTcp(aTarget(`http://${HOST}:${server.port}`), forever()))

  t.match(cause, { code: 'NET_ADDRESS_REFUSED', details: { kind: 'own_listener' } })
  t.equal(server.sockets.length, 0)
})

t.test('names that do not resolve, resolve to nothing, too late, or throw at once are named', async t => {
  const target = aTarget('https://api.example.test')
  const clock = manualClock()
  const throwing = () => {
    throw new TypeError('no such name')
  }

  t.equal((await failure(aDialer({ lookup: throwing }).dialTcp(target, forever()))).code, 'NET_NAME_UNKNOWN')
  t.equal(
    (await failure(aDialer({ lookup: async () => [] }).dialTcp(target, forever()))).code,
    'NET_NAME_UNKNOWN',
  )
  t.equal(
    (await failure(aDialer({ lookup: async () => ['not an address'] }).dialTcp(target, forever()))).code,
    'NET_ADDRESS_REFUSED',
  )
  const dialed = failure(
    aDialer({ clock, lookup: () => new Promise(() => undefined) }).dialTcp(target, forever()),
  )
  await new Promise(setImmediate)
  clock.advance(seconds(5))
  t.equal((await dialed).code, 'NET_NAME_TIMEOUT')
  t.equal(clock.pendingTimers(), 0)
})

t.test(
  'a name is looked up as a fully qualified one, once for many at a time, and again when it is old',
  async t => {
    const asked: string[] = []
    let answer = '127.0.0.1'
    const clock = manualClock()
    const guard = createAddressGuard({
      allowAddresses: ['127.0.0.0/8'],
      ownListeners: () => [],
      localAddresses: () => [],
    })
    const lookup = async (name: string) => {
      asked.push(name)
      if (answer === '') throw new Error('ENOTFOUND')
      return [answer]
    }
    const resolver = createResolver({ guard, lookup, clock, timeout: seconds(5) })
    const target = aTarget('https://api.example.test')

    await Promise.all(Array.from({ length: 20 }, () => resolver.resolve(target, forever())))
    t.same(asked, ['api.example.test.'])

    answer = '10.0.0.1' // rebinding: what is cached is used, and what is new is checked
    t.same(
      (await resolver.resolve(target, forever())).map(one => one.address),
      ['127.0.0.1'],
    )
    clock.advance(seconds(30))
    t.equal((await failure(resolver.resolve(target, forever()))).code, 'NET_ADDRESS_REFUSED')

    answer = ''
    clock.advance(seconds(30))
    await failure(resolver.resolve(target, forever()))
    await failure(resolver.resolve(target, forever()))
    t.equal(asked.length, 3)
    clock.advance(seconds(2))
    answer = '127.0.0.1'
    t.equal((await resolver.resolve(target, forever())).length, 1)
  },
)

t.test('an address that does not answer costs a quarter of a second, and the loser is closed', async t => {
  const clock = manualClock()
  const server = await aTcpServer(t)
  const target = aTarget(`http://${HOST}:${server.port}`)
  const guard = createAddressGuard({
    allowAddresses: ['127.0.0.0/8', '192.0.2.0/24'],
    ownListeners: () => [],
    localAddresses: () => [],
  })
  const dialer = aDialer({ clock, guard, lookup: async () => ['192.0.2.1', '127.0.0.1'] })

  const dialed = dialer.dialTcp(target, forever())
  while (clock.pendingTimers() < 2) await new Promise(setImmediate)
  clock.advance(250)
  const { socket, endpoint } = await dialed

  t.equal(endpoint.address, '127.0.0.1')
  t.equal(clock.pendingTimers(), 0)
  socket.destroy()
})

t.test('an address that never answers is ended by the clock', async t => {
  const clock = manualClock()
  const guard = createAddressGuard({
    allowAddresses: ['192.0.2.0/24'],
    ownListeners: () => [],
    localAddresses: () => [],
  })
  const dialer = aDialer({ clock, guard, lookup: async () => ['192.0.2.1', '192.0.2.2'] })

  const dialed = failure(dialer.dialTcp(aTarget('http://api.example.test'), forever()))
  while (clock.pendingTimers() < 2) await new Promise(setImmediate)
  clock.advance(seconds(10))
  const cause = await dialed

  t.match(cause.code, /^UPSTREAM_(CONNECT_TIMEOUT|UNREACHABLE)$/) // a machine without a route says so at once
  t.equal(clock.pendingTimers(), 0)
})

t.test(
  'a good certificate for a name and for an address is accepted; SNI is the name, and none for an address',
  async t => {
    const names: (string | false | null)[] = []
    const serve = (socket: TLSSocket) => names.push(socket.end().servername ?? false)
    const byName = await aTlsServer(t, aServerCertificate(CA), serve)
    const byAddress = await aTlsServer(t, aServerCertificate(CA, { host: '127.0.0.1' }), serve)
    const timings: string[] = []
    const results: string[] = []
    const dialer = aDialer({
      trusts: CA,
      onTiming: phase => timings.push(phase),
      onHandshake: result => results.push(result),
    })

    for (const target of [`https://${HOST}:${byName.port}`, `https://127.0.0.1:${byAddress.port}`]) {
      const { socket, endpoint, resumed } = await dialer.dialTls(aTarget(target), { signal: forever() })
      t.equal(socket.authorized, true)
      t.match(endpoint, { address: '127.0.0.1', allowed: 'by_operator' })
      t.equal(resumed, false)
      await once(socket.end('x'), 'close')
    }

    t.same(names, [HOST, false])
    t.same(timings, ['dns', 'tcp', 'tls', 'dns', 'tcp', 'tls'])
    t.same(results, ['ok', 'ok'])
  },
)

t.test('an override leads to another address, and the name stays the name', async t => {
  const server = await aTlsServer(t, aServerCertificate(CA))
  const dialer = aDialer({
    trusts: CA,
    overrides: { 'API.example.test.:443': `127.0.0.1:${server.port}` },
    lookup: async () => ['10.0.0.1'],
  })

  const { socket } = await dialer.dialTls(aTarget('https://api.example.test'), { signal: forever() })

  t.equal(socket.servername, HOST)
  socket.destroy()
})

t.test('a socket stays half-open, and a late error does not end the process', async t => {
  const server = await aTcpServer(t, socket => socket.end('bye'))
  const { socket } = await aDialer().dialTcp(aTarget(`http://${HOST}:${server.port}`), forever())
  socket.resume()
  await once(socket, 'end')

  t.equal(socket.writable, true)
  socket.destroy(new Error('late'))
  await new Promise(resolve => socket.once('close', resolve))
})
