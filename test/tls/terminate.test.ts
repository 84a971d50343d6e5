/**
 * The caller's side of TLS, with real sockets and Node's own client, and hand-made bytes where a client would not do it.
 */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { type ConnectionOptions, type SecureVersion, type TLSSocket, connect as tlsConnect } from 'node:tls'
import t, { type Test } from 'tap'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { CloakroomError } from '../../src/base/errors.ts'
import type { HandshakeResult } from '../../src/tls/handshake.ts'
import { createLeafCache, type LeafCache } from '../../src/tls/leaf-cache.ts'
import { createTerminator } from '../../src/tls/terminate.ts'
import { anAuthority } from '../support/certificates.ts'
import { manualClock } from '../support/clock.ts'

const HOST = 'api.example.test'
const CA = anAuthority()

type Rig = {
  readonly port: number
  readonly results: HandshakeResult[]
  readonly errors: unknown[]
  readonly silent: string[]
  readonly accepted: Socket[]
  ended(): Promise<void>
}

/** Listens, terminates TLS as `host` on each connection, and answers every chunk with itself. */
async function aTerminator(
  t: Test,
  options: {
    host?: string
    clock?: Clock
    leafCache?: LeafCache
    before?: (socket: Socket) => Promise<void>
  } = {},
): Promise<Rig> {
  const clock = options.clock ?? systemClock
  const rig = { results: [] as HandshakeResult[], errors: [] as unknown[], silent: [] as string[] }
  const accepted: Socket[] = []
  let settled: () => void = () => undefined
  const terminator = createTerminator({
    leafCache: options.leafCache ?? createLeafCache({ authority: CA.authority, clock: systemClock }),
    clock,
    onHandshake: result => rig.results.push(result),
    onSilentRejection: host => rig.silent.push(host),
  })
  const server = createServer({ allowHalfOpen: true, noDelay: true }, async socket => {
    accepted.push(socket)
    await options.before?.(socket)
    terminator
      .terminate(socket, options.host ?? HOST)
      .then(secured => secured.on('data', chunk => secured.write(chunk)).on('end', () => secured.end()))
      .catch(cause => rig.errors.push(cause))
      .finally(() => settled())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of accepted) socket.destroy()
    server.close()
  })
  const address = server.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  return { port, ...rig, accepted, ended: () => new Promise(resolve => (settled = resolve)) }
}

function aClient(port: number, options: ConnectionOptions = {}): TLSSocket {
  const socket = tlsConnect({
    host: '127.0.0.1',
    port,
    servername: HOST,
    ca: CA.certificatePem,
    ALPNProtocols: ['http/1.1'],
    ...options,
  })
  socket.on('error', () => undefined)
  return socket
}

async function failureOf(socket: TLSSocket): Promise<string> {
  const [cause] = (await once(socket, 'error').catch(error => [error])) as [NodeJS.ErrnoException]
  return cause.code ?? cause.message
}

async function echo(socket: TLSSocket, text: string): Promise<string> {
  socket.write(text)
  const [chunk] = await once(socket, 'data')
  return String(chunk)
}

function resultOf(error: unknown): string {
  if (!(error instanceof CloakroomError)) return String(error)
  return error.code === 'TLS_HANDSHAKE_FAILED' ? (error.details as { result: string }).result : error.code
}

t.test('a server name that is not the CONNECT host ends with the alert unrecognized_name', async t => {
  const rig = await aTerminator(t)

  for (const servername of ['evil.example.test', 'api.example.test.evil.test', 'xapi.example.test', 'test']) {
    const ended = rig.ended()
    const code = await failureOf(aClient(rig.port, { servername }))
    await ended

    t.match(code, /UNRECOGNIZED_NAME/, servername)
  }

  t.same(rig.results, Array(4).fill('sni_mismatch'))
  t.same(rig.errors.map(resultOf), Array(4).fill('sni_mismatch'))
})

t.test('a server name inside a tunnel to an address ends with an alert', async t => {
  const rig = await aTerminator(t, { host: '127.0.0.1' })

  const code = await failureOf(aClient(rig.port, { servername: HOST }))

  t.match(code, /UNRECOGNIZED_NAME/)
})

t.test('an offer of h2 alone ends with the alert no_application_protocol', async t => {
  const rig = await aTerminator(t)
  const ended = rig.ended()

  const code = await failureOf(aClient(rig.port, { ALPNProtocols: ['h2'] }))
  await ended

  t.match(code, /NO_APPLICATION_PROTOCOL/)
  t.same(rig.results, ['no_protocol'])
})

t.test('TLS 1.1 is refused', async t => {
  const rig = await aTerminator(t)
  const ended = rig.ended()
  const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const

  const code = await failureOf(aClient(rig.port, old))
  await ended

  t.match(code, /PROTOCOL_VERSION/)
  t.same(rig.results, ['protocol_version'])
})

t.test('a client that does not trust the CA is counted as such', async t => {
  const rig = await aTerminator(t)

  const ended = rig.ended()
  const other = anAuthority()
  const socket = aClient(rig.port, { ca: other.certificatePem, minVersion: 'TLSv1.3' })
  await failureOf(socket)
  await ended

  t.match(rig.results[0], /^(reset|unknown_ca|bad_certificate)$/) // Node's client only closes
  t.equal(resultOf(rig.errors[0]), rig.results[0])
})

t.test(
  'a TLS 1.2 client that refuses the certificate after the handshake is told by its silence',
  async t => {
    const rig = await aTerminator(t)

    await failureOf(aClient(rig.port, { ca: anAuthority().certificatePem, maxVersion: 'TLSv1.2' }))
    while (rig.silent.length === 0 && rig.errors.length === 0) await new Promise(setImmediate)

    t.same(rig.silent, [HOST])
    t.same(rig.results, ['ok'])
  },
)

t.test('bytes that are not TLS end with an alert and an error', async t => {
  const rig = await aTerminator(t)
  for (const bytes of ['GET / HTTP/1.1\r\n\r\n', '\x16\x02', '\x16\x03\x01\x00\x00', 'SSH-2.0-x\r\n']) {
    const ended = rig.ended()
    const socket = connect({ host: '127.0.0.1', port: rig.port })
    socket.write(Buffer.from(bytes, 'latin1'))
    const [answer] = await once(socket, 'data')
    await ended

    t.same(answer, Buffer.of(0x15, 3, 3, 0, 2, 2, 50), bytes)
    socket.destroy()
  }

  t.same(rig.errors.map(resultOf), Array(4).fill('other'))
})

t.test('a ClientHello with any byte changed ends in a result and never in a crash', async t => {
  const rig = await aTerminator(t)
  const hello = await aClientHello(HOST)

  for (let at = 0; at < hello.length; at += 3) {
    const ended = rig.ended()
    const bytes = Buffer.from(hello)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
    const socket = connect({ host: '127.0.0.1', port: rig.port })
    socket.on('error', () => undefined).resume()
    socket.end(bytes)
    await ended
    socket.destroy()
  }

  t.equal(rig.results.length, Math.ceil(hello.length / 3))
  t.notOk(rig.results.includes('ok'))
})

t.test('a client that never finishes its ClientHello is cut off by the clock', async t => {
  const clock = manualClock()
  const rig = await aTerminator(t, { clock })
  const ended = rig.ended()
  const socket = connect({ host: '127.0.0.1', port: rig.port })
  socket.on('error', () => undefined)
  socket.write(Buffer.of(0x16, 3, 1, 2))
  while (clock.pendingTimers() === 0) await new Promise(setImmediate)

  clock.advance(10_000)
  await ended

  t.same(rig.results, ['timeout'])
  t.equal(rig.accepted[0]?.destroyed, true)
  t.equal(clock.pendingTimers(), 0)
})

t.test('a client that stops after its ClientHello is cut off by the clock', async t => {
  const clock = manualClock()
  const rig = await aTerminator(t, { clock })
  const hello = await aClientHello(HOST)
  const ended = rig.ended()
  const socket = connect({ host: '127.0.0.1', port: rig.port })
  socket.on('error', () => undefined)
  socket.write(hello)
  await once(socket, 'data')

  clock.advance(10_000)
  await ended

  t.same(rig.results, ['timeout'])
  t.equal(rig.accepted[0]?.destroyed, true)
})

t.test('a client that goes away in the middle is a reset and leaves no timer', async t => {
  const clock = manualClock()
  const rig = await aTerminator(t, { clock })
  const hello = await aClientHello(HOST)

  for (const bytes of [Buffer.alloc(0), hello.subarray(0, 20), hello]) {
    const ended = rig.ended()
    const socket = connect({ host: '127.0.0.1', port: rig.port })
    socket.on('error', () => undefined).resume()
    socket.end(bytes)
    await ended
    socket.destroy()
  }

  t.same(rig.results, ['reset', 'reset', 'reset'])
  t.equal(clock.pendingTimers(), 0)
})

t.test('a leaf that may not be minted ends with an alert and says so', async t => {
  const leafCache = createLeafCache({ authority: CA.authority, clock: manualClock(), mintBurst: 0 })
  const rig = await aTerminator(t, { leafCache })
  const ended = rig.ended()

  const code = await failureOf(aClient(rig.port))
  await ended

  t.match(code, /INTERNAL_ERROR/)
  t.same(rig.errors.map(resultOf), ['TLS_LEAF_REFUSED'])
})

t.test('spellings of the same host, and no name at all, are accepted', async t => {
  const rig = await aTerminator(t)

  for (const servername of [HOST, 'API.Example.TEST', '']) {
    const socket = aClient(rig.port, { servername, checkServerIdentity: () => undefined })
    await once(socket, 'secureConnect')

    t.equal(await echo(socket, 'ping'), 'ping', servername)
    t.ok(socket.getPeerX509Certificate()?.checkHost(HOST))
    socket.destroy()
  }
})

t.test('no ALPN offer is fine, and of several http/1.1 is taken', async t => {
  const rig = await aTerminator(t)

  const none = aClient(rig.port, { ALPNProtocols: [] })
  await once(none, 'secureConnect')
  const both = aClient(rig.port, { ALPNProtocols: ['h2', 'http/1.1'] })
  await once(both, 'secureConnect')

  t.equal(none.alpnProtocol, false)
  t.equal(both.alpnProtocol, 'http/1.1')
  none.destroy()
  both.destroy()
})

t.test('addresses get a certificate for the address', async t => {
  for (const [host, address] of [
    ['127.0.0.1', '127.0.0.1'],
    ['[::1]', '::1'],
  ] as const) {
    const rig = await aTerminator(t, { host })

    const socket = tlsConnect({
      host: '127.0.0.1',
      port: rig.port,
      ca: CA.certificatePem,
      checkServerIdentity: () => undefined,
    })
    await once(socket, 'secureConnect')

    t.ok(socket.getPeerX509Certificate()?.checkIP(address), host)
    socket.destroy()
  }
})

t.test('bytes that were read before and put back are part of the handshake', async t => {
  const before = async (socket: Socket) => {
    await once(socket, 'readable')
    socket.unshift(socket.read())
  }
  const rig = await aTerminator(t, { before })

  const socket = aClient(rig.port)
  await once(socket, 'secureConnect')

  t.equal(await echo(socket, 'ping'), 'ping')
  socket.destroy()
})

t.test('a ClientHello that comes byte by byte is read', async t => {
  const rig = await aTerminator(t)
  const proxied = connect({ host: '127.0.0.1', port: rig.port, noDelay: true })
  await once(proxied, 'connect')
  const { client, relayed } = await aDribblingClient(proxied)
  await once(client, 'secureConnect')

  t.equal(await echo(client, 'ping'), 'ping')
  t.ok(relayed() > 100)
  client.destroy()
})

t.test('a client may close its writing side and still read', async t => {
  const rig = await aTerminator(t)
  const socket = aClient(rig.port, { allowHalfOpen: true } as ConnectionOptions)
  await once(socket, 'secureConnect')

  socket.end('last words')
  const [chunk] = await once(socket, 'data')

  t.equal(String(chunk), 'last words')
})

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  t.test(`every reconnect of a ${version} client that keeps its last session is resumed`, async t => {
    const rig = await aTerminator(t)
    const resumed: boolean[] = []
    let session: Buffer | undefined

    for (let i = 0; i < 6; i++) {
      const used = session
      if (version === 'TLSv1.3') session = undefined // RFC 8446 C.4: a ticket is used once
      const socket = aClient(rig.port, {
        minVersion: version,
        maxVersion: version,
        ...(used === undefined ? {} : { session: used }),
      })
      socket.on('session', ticket => {
        session = ticket
      })
      await once(socket, 'secureConnect')
      await echo(socket, 'ping')
      resumed.push(socket.isSessionReused())
      socket.destroy()
    }

    t.same(resumed, [false, true, true, true, true, true])
  })
}

t.test('a hundred handshakes at once for one host mint once', async t => {
  let mints = 0
  const leafCache = createLeafCache({ authority: CA.authority, clock: systemClock, onMint: () => mints++ })
  const rig = await aTerminator(t, { leafCache })

  const sockets = Array.from({ length: 100 }, () => aClient(rig.port))
  await Promise.all(sockets.map(socket => once(socket, 'secureConnect')))

  t.equal(mints, 1)
  for (const socket of sockets) socket.destroy()
})

/** The ClientHello that Node's client sends. */
async function aClientHello(servername: string, maxVersion: SecureVersion = 'TLSv1.3'): Promise<Buffer> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  const client = tlsConnect({ host: '127.0.0.1', port, servername, maxVersion, ALPNProtocols: ['http/1.1'] })
  client.on('error', () => undefined)
  const [socket] = (await once(server, 'connection')) as [Socket]
  const [hello] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  client.destroy()
  server.close()
  return hello
}

/** A TLS client whose bytes pass through us one at a time until the server answers. */
async function aDribblingClient(proxied: Socket): Promise<{ client: TLSSocket; relayed: () => number }> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  const client = aClient(port)
  const [socket] = (await once(server, 'connection')) as [Socket]
  let count = 0
  let sending = Promise.resolve()
  socket.on('error', () => undefined)
  socket.on('data', bytes => {
    sending = sending.then(async () => {
      for (const byte of bytes) {
        count++
        proxied.write(Buffer.of(byte))
        if (count < 700) await new Promise(setImmediate)
      }
    })
  })
  proxied.on('data', bytes => socket.write(bytes))
  server.close()
  return { client, relayed: () => count }
}
