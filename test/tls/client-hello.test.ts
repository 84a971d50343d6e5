/**
 * The ClientHello parser against hand-made bytes, cut at every byte and into every size of record.
 */
import fc from 'fast-check'
import t from 'tap'
import { MAX_CLIENT_HELLO, parseClientHello } from '../../src/tls/client-hello.ts'

const u8 = (value: number) => Buffer.of(value)
const u16 = (value: number) => Buffer.of(value >> 8, value & 0xff)
const u24 = (value: number) => Buffer.of(value >> 16, (value >> 8) & 0xff, value & 0xff)
const vector8 = (bytes: Buffer) => Buffer.concat([u8(bytes.length), bytes])
const vector16 = (bytes: Buffer) => Buffer.concat([u16(bytes.length), bytes])
const extension = (type: number, body: Buffer) => Buffer.concat([u16(type), vector16(body)])

const serverName = (name: string, type = 0) =>
  extension(0, vector16(Buffer.concat([u8(type), vector16(Buffer.from(name, 'latin1'))])))
const alpn = (...names: string[]) =>
  extension(16, vector16(Buffer.concat(names.map(name => vector8(Buffer.from(name))))))

/** A handshake message with these extensions; undefined leaves the whole block out, as SSL-like clients do. */
function message(extensions: readonly Buffer[] | undefined, tail = Buffer.alloc(0)): Buffer {
  const body = Buffer.concat([
    u16(0x0303),
    Buffer.alloc(32, 7),
    vector8(Buffer.alloc(32, 9)),
    vector16(Buffer.of(0x13, 1, 0x13, 2)),
    vector8(Buffer.of(0)),
    ...(extensions === undefined ? [] : [vector16(Buffer.concat(extensions))]),
    tail,
  ])
  return Buffer.concat([u8(1), u24(body.length), body])
}

/** The message in records of at most `size` bytes. */
function records(bytes: Buffer, size = 16384): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length; at += size)
    parts.push(Buffer.concat([Buffer.of(0x16, 3, 1), vector16(bytes.subarray(at, at + size))]))
  return Buffer.concat(parts)
}

const HELLO = message([
  extension(10, Buffer.of(0, 2, 0, 29)),
  serverName('api.example.test'),
  alpn('h2', 'http/1.1'),
])
const READ = { kind: 'hello', serverName: 'api.example.test', alpn: ['h2', 'http/1.1'] }

t.test('what does not begin as a TLS handshake is not TLS', async t => {
  for (const text of [
    'GET / HTTP/1.1\r\n',
    'PRI * HTTP/2.0',
    'SSH-2.0',
    '\x00',
    '\x15\x03\x01',
    '\x16\x02',
    '\x16\x04',
    '\x80\x2e\x01',
  ])
    t.equal(parseClientHello(Buffer.from(text, 'latin1')).kind, 'not_tls', JSON.stringify(text))
})

t.test('records and messages that cannot be part of a ClientHello are malformed', async t => {
  const table: Record<string, Buffer> = {
    'an empty record': Buffer.of(0x16, 3, 1, 0, 0),
    'a record that is too long': Buffer.of(0x16, 3, 1, 0x40, 1),
    'another kind of record in the middle': Buffer.concat([records(HELLO.subarray(0, 9)), Buffer.of(0x17)]),
    'another version in the middle': Buffer.concat([records(HELLO.subarray(0, 9)), Buffer.of(0x16, 2)]),
    'another handshake message': records(Buffer.of(2, 0, 0, 4, 0, 0, 0, 0)),
    'a message longer than the cap': records(Buffer.of(1, 0xff, 0xff, 0xff)),
    'a message just longer than the cap': records(Buffer.concat([u8(1), u24(MAX_CLIENT_HELLO - 3)])),
    'an empty message': records(Buffer.of(1, 0, 0, 0)),
    'bytes after the extensions': records(message([], u8(0))),
    'two server names': records(message([serverName('a.test'), serverName('b.test')])),
    'two names in one extension': records(
      message([
        extension(
          0,
          vector16(Buffer.concat([u8(0), vector16(Buffer.from('a')), u8(0), vector16(Buffer.from('b'))])),
        ),
      ]),
    ),
    'a name of another type': records(message([serverName('a.test', 1)])),
    'an empty name': records(message([serverName('')])),
    'an empty name list': records(message([extension(0, vector16(Buffer.alloc(0)))])),
    'an empty server name extension': records(message([extension(0, Buffer.alloc(0))])),
    'bytes after the name list': records(
      message([
        extension(0, Buffer.concat([vector16(Buffer.concat([u8(0), vector16(Buffer.from('a'))])), u8(0)])),
      ]),
    ),
    'an empty protocol': records(message([alpn('h2', '')])),
    'an empty protocol list': records(message([alpn()])),
    'two protocol extensions': records(message([alpn('h2'), alpn('http/1.1')])),
    'an extension that is too long': records(message([Buffer.concat([u16(10), u16(9), Buffer.alloc(4)])])),
  }

  for (const [what, bytes] of Object.entries(table)) t.equal(parseClientHello(bytes).kind, 'malformed', what)
})

t.test(
  'every length inside the message is checked: a message cut and made to look whole is malformed',
  async t => {
    for (let end = 4; end < HELLO.length; end++) {
      const cut = Buffer.from(HELLO.subarray(0, end))
      cut.writeUIntBE(end - 4, 1, 3)
      const parsed = parseClientHello(records(cut))

      // After the compression methods a hello without extensions is whole.
      const isWhole = end === 4 + 2 + 32 + 33 + 6 + 2
      t.equal(parsed.kind, isWhole ? 'hello' : 'malformed', `cut at ${end}`)
    }
  },
)

t.test('sixteen KiB without an end are malformed', async t => {
  const big = Buffer.concat([u8(1), u24(MAX_CLIENT_HELLO - 4), Buffer.alloc(MAX_CLIENT_HELLO)])
  const bytes = records(big, 1).subarray(0, MAX_CLIENT_HELLO)

  t.equal(parseClientHello(bytes.subarray(0, -1)).kind, 'incomplete')
  t.equal(parseClientHello(bytes).kind, 'malformed')
})

t.test('any prefix is incomplete, in records of any size, and the whole is read', async t => {
  for (const size of [1, 2, 3, 4, 5, 50, HELLO.length - 1, 16384]) {
    const bytes = records(HELLO, size)
    const kinds = new Set<string>()
    for (let end = 0; end < bytes.length; end++) kinds.add(parseClientHello(bytes.subarray(0, end)).kind)

    t.same([...kinds], ['incomplete'], `records of ${size}`)
    t.same(parseClientHello(bytes), READ)
  }
})

t.test('what follows the ClientHello is not looked at', async t => {
  const bytes = Buffer.concat([records(HELLO), Buffer.from('anything at all')])

  t.same(parseClientHello(bytes), READ)
  t.same(parseClientHello(records(Buffer.concat([HELLO, Buffer.alloc(9)]))), READ)
})

t.test('a hello without names or extensions is read', async t => {
  const plain = { kind: 'hello', serverName: undefined, alpn: [] }

  t.same(parseClientHello(records(message(undefined))), plain)
  t.same(parseClientHello(records(message([]))), plain)
})

t.test('the name is given as sent: comparing it is for others', async t => {
  for (const name of ['API.Example.TEST', 'a.test.', '127.0.0.1', 'a\0.test', 'a\u00e9'])
    t.match(parseClientHello(records(message([serverName(name)]))), { serverName: name })
})

t.test('any bytes at all give one of the four answers', async () => {
  const noisy = fc.tuple(fc.nat(HELLO.length * 2), fc.nat(255)).map(([at, value]) => {
    const bytes = records(HELLO, 60)
    bytes[at % bytes.length] = value
    return bytes
  })
  const any = fc.oneof(fc.uint8Array({ maxLength: 200 }).map(Buffer.from), noisy)

  fc.assert(
    fc.property(any, bytes =>
      ['incomplete', 'not_tls', 'malformed', 'hello'].includes(parseClientHello(Buffer.from(bytes)).kind),
    ),
    { numRuns: 2000 },
  )
})
