/**
 * Blind tunnels: every byte, both ways, nothing more, and what is written down of them.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { connect as tlsConnect } from 'node:tls'
import t from 'tap'
import { connectTo, openTcp } from '../support/caller.ts'
import { Peer } from '../support/peer.ts'
import { answering, aWire, get, type Host, ok } from '../support/wire.ts'

const wire = await aWire(t)

async function recordOf(host: Host): Promise<Record<string, unknown>> {
  for (;;) {
    const records = await wire.sidecar.audit()
    const found = records.find(
      record => String(record.target).includes(`//${host.name}.`) && 'outcome' in record,
    )
    if (found !== undefined) return found
    await new Promise(resolve => setImmediate(resolve))
  }
}

/** A ClientHello for a name, as a real client sends it. */
function clientHello(servername: string): Promise<Buffer> {
  return new Promise(resolve => {
    const wireless = new Duplex({
      read: () => undefined,
      write(chunk, _encoding, done) {
        resolve(chunk)
        done()
      },
    })
    tlsConnect({ socket: wireless, servername }).on('error', () => undefined)
  })
}

t.test('a tunnel for one host does not carry TLS for another', async t => {
  const host = wire.host(() => undefined)
  const caller = await wire.blind(host)

  caller.write(await clientHello('other.example.test'))

  t.equal((await caller.rest()).ending, 'reset')
  t.match(await recordOf(host), { error: 'REQUEST_MISDIRECTED' })
  t.equal(host.peers[0]?.pending.length, 0)
})

t.test('a tunnel carries TLS for its host only as a whole ClientHello, also byte by byte', async t => {
  const host = wire.host(() => undefined)
  const caller = await wire.blind(host)
  const hello = await clientHello(`${host.name}.tunnel.test`)

  for (const byte of hello) {
    caller.write(Buffer.of(byte))
    await new Promise(resolve => setImmediate(resolve))
  }
  while (host.peers[0] === undefined) await new Promise(resolve => setImmediate(resolve))

  t.same(await host.peers[0].bytes(hello.length), hello)
  caller.destroy()
})

t.test('a server that speaks first is heard before the caller says anything', async t => {
  const host = wire.host(peer => peer.write('220 hello\r\n'))
  const caller = await wire.blind(host)

  t.equal(await caller.until('\r\n'), '220 hello\r\n')
  caller.destroy()
})

t.test('the end of the caller’s bytes is passed on, and the answer still comes', async t => {
  const host = wire.host(async peer => {
    const { bytes } = await peer.rest()
    peer.end(`got ${bytes.length}`)
  })
  const caller = await wire.blind(host)

  caller.end('x'.repeat(1000))
  const { bytes, ending } = await caller.rest()

  t.equal(bytes.toString(), 'got 1000')
  t.equal(ending, 'end')
  t.match(await recordOf(host), { outcome: 'allowed', bytes: { upstream: 1000, caller: 8 } })
})

t.test('the end of the upstream’s bytes is passed on, and the caller may still send', async t => {
  let got = ''
  const host = wire.host(async peer => {
    peer.end('bye')
    got = (await peer.rest()).bytes.toString()
  })
  const caller = await wire.blind(host)

  const { bytes, ending } = await caller.rest()
  caller.end('one more thing')
  await recordOf(host)

  t.equal(bytes.toString(), 'bye')
  t.equal(ending, 'end')
  t.equal(got, 'one more thing')
})

t.test('a reset is passed on as a reset', async t => {
  const host = wire.host(async peer => {
    await peer.until('go')
    peer.write('half an answ')
    await caller.until('answ')
    ;(peer.socket as Socket).resetAndDestroy()
  })
  const caller = await wire.blind(host)

  caller.write('go')

  t.equal(await caller.over(), 'reset')
  await recordOf(host)
})

t.test(
  'a caller that half-closed while its tunnel was dialled is ended at the upstream, with its bytes',
  async t => {
    const host = wire.host(async peer => {
      const { bytes } = await peer.rest()
      peer.end(bytes)
    })
    const caller = await wire.tcp()
    const authority = `${host.name}.tunnel.test:443`

    caller.end(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\nearly`)
    const head = await caller.head()
    const { bytes } = await caller.rest()

    t.match(head.start, '200')
    t.equal(bytes.toString(), 'early')
  },
)

t.test('32 MiB pass both ways at once, unchanged, to a slow reader', async t => {
  const size = 32 * 1024 * 1024
  const block = Buffer.alloc(1024 * 1024, 'the quick brown fox ')
  const sent = createHash('sha256')
  for (let i = 0; i < size; i += block.length) sent.update(block)
  const expected = sent.digest('hex')
  const host = wire.host(peer => {
    peer.socket.removeAllListeners('data')
    void Promise.all([pour(peer.socket, block, size), hashOf(peer.socket)]).then(([, hash]) =>
      t.equal(hash, expected),
    )
  })
  const caller = await wire.blind(host)
  caller.socket.removeAllListeners('data')

  const [hash] = await Promise.all([
    hashOf(caller.socket, { first: caller.pending, isSlow: true }),
    pour(caller.socket, block, size),
  ])

  t.equal(hash, expected)
  t.match(await recordOf(host), { bytes: { upstream: size, caller: size } })
})

t.test(
  'a tunnel to an upstream that refuses is 502 on CONNECT, one to a host without a rule 403',
  async t => {
    const closed = await connectTo(wire.sidecar, 'h149.tunnel.test:443')
    const unknown = await connectTo(wire.sidecar, 'nobody.else.test:443')

    t.match(closed.head, /^HTTP\/1\.1 502 /)
    t.match(unknown.head, /^HTTP\/1\.1 403 /)
    t.equal(await new Peer(unknown.socket).over(), 'end')
  },
)

t.test('bytes sent in the same packet as CONNECT are not lost', async t => {
  const host = wire.host(answering(() => ok('inside')))
  const hello = await clientHello(`${host.name}.example.test`)
  const caller = await wire.tcp()
  const authority = `${host.name}.example.test:443`

  caller.write(
    Buffer.concat([Buffer.from(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`), hello]),
  )
  await caller.head()

  t.equal((await caller.bytes(1))[0], 0x16, 'the ServerHello comes')
  caller.destroy()
})

t.test('CONNECT, hello and request are served however they are cut', async t => {
  const host = wire.host(answering(() => ok('inside')))
  const socket = await openTcp(wire.sidecar.port)
  socket.setNoDelay(true)
  const authority = `${host.name}.example.test:443`
  for (const byte of Buffer.from(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`)) {
    socket.write(Buffer.of(byte))
    await new Promise(resolve => setImmediate(resolve))
  }
  await once(socket, 'readable')
  socket.read()
  const tls = tlsConnect({
    socket: dribbling(socket),
    servername: `${host.name}.example.test`,
    ca: wire.sidecar.caPem,
  })
  const caller = new Peer(tls)

  for (const byte of Buffer.from(get(host))) caller.write(Buffer.of(byte))

  t.equal((await caller.answer()).body.toString(), 'inside')
  socket.destroy()
})

t.test('plain HTTP in CONNECT is served for an http target, and for no other', async t => {
  const host = wire.host(answering(({ start }) => ok(start)))
  const plain = await connectTo(wire.sidecar, `${host.name}.plain.test:80`)
  const secure = await connectTo(wire.sidecar, `${host.name}.example.test:443`)
  const one = new Peer(plain.socket)
  const two = new Peer(secure.socket)

  one.write(`GET /plain HTTP/1.1\r\nHost: ${host.name}.plain.test\r\n\r\n`)
  two.write(`GET /plain HTTP/1.1\r\nHost: ${host.name}.example.test\r\n\r\n`)

  t.equal((await one.answer()).body.toString(), 'GET /plain HTTP/1.1')
  t.ok((await two.answer()).status >= 400)
  t.equal(host.connections, 1)
  one.destroy()
  two.destroy()
})

t.test('a tunnel whose first bytes are neither TLS nor HTTP is closed', async t => {
  const host = wire.host(() => undefined)
  const { socket } = await connectTo(wire.sidecar, `${host.name}.example.test:443`)
  const caller = new Peer(socket)

  caller.write('\x05\x01\x00')
  await caller.over()

  t.equal(caller.pending.length, 0)
  t.equal(host.connections, 0)
})

for (const [form, name] of [
  ['http', 'plain'],
  ['https', 'example'],
] as const) {
  t.test(`absolute-form ${form}:// is served, the Host header made from it`, async t => {
    const heads: string[] = []
    const host = wire.host(
      answering(({ text }) => {
        heads.push(text)
        return ok('absolute')
      }),
    )
    const caller = await wire.tcp()

    caller.write(`GET ${form}://${host.name}.${name}.test/a?b HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n`)
    const answer = await caller.answer()

    t.equal(answer.body.toString(), 'absolute')
    t.match(heads[0], /^GET \/a\?b HTTP\/1\.1\r\n/)
    t.match(heads[0], `Host: ${host.name}.${name}.test\r\n`)
    t.notMatch(heads[0], 'elsewhere')
    caller.destroy()
  })
}

function dribbling(socket: Socket): Duplex {
  const stream = new Duplex({
    read: () => socket.resume(),
    write(chunk: Buffer, _encoding, done) {
      void (async () => {
        for (const byte of chunk) {
          socket.write(Buffer.of(byte))
          await new Promise(resolve => setImmediate(resolve))
        }
        done()
      })()
    },
  })
  socket.on('data', chunk => stream.push(chunk))
  return stream
}

async function pour(socket: Duplex, block: Buffer, size: number): Promise<void> {
  for (let at = 0; at < size; at += block.length) {
    if (!socket.write(block)) await once(socket, 'drain')
  }
  socket.end()
}

function hashOf(
  socket: Duplex,
  { first = Buffer.alloc(0), isSlow = false }: { first?: Buffer; isSlow?: boolean } = {},
): Promise<string> {
  const hash = createHash('sha256').update(first)
  return new Promise((resolve, reject) => {
    socket.on('data', chunk => {
      hash.update(chunk)
      if (!isSlow) return
      socket.pause()
      setImmediate(() => socket.resume())
    })
    socket.on('end', () => resolve(hash.digest('hex')))
    socket.on('error', reject)
    socket.resume()
  })
}
