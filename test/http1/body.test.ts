/**
 * Bodies: where they end, what they hand on, and what is written for them.
 */
import t from 'tap'
import { isError } from '../../src/base/errors.ts'
import { BODY_LIMITS, BodyReader } from '../../src/http1/body-reader.ts'
import { BodyWriter } from '../../src/http1/body-writer.ts'
import { type Framing, framingHeaders, requestFraming, responseFraming } from '../../src/http1/framing.ts'
import { isForbiddenTrailer } from '../../src/http1/trailers.ts'
import { latin1 } from './reading.ts'

const CHUNKED: Framing = { kind: 'chunked' }
const ignore = (): void => undefined

t.test('after a refusal every call refuses, and nothing more is handed on', async t => {
  const reader = new BodyReader(CHUNKED, 'request')
  const seen: string[] = []
  const keep = (slice: Buffer): void => void seen.push(slice.toString())

  const first = reader.read(latin1('2\r\nhi!'), keep)
  const second = reader.read(latin1('\r\n5\r\nhello\r\n0\r\n\r\n'), keep)

  t.match(first, { kind: 'refused', code: 'REQUEST_FRAMING' })
  t.equal(second, first)
  t.same(seen, ['hi'])
  t.equal(reader.isDone, false)
  t.equal(reader.finish(), 'truncated')
})

t.test('chunk extensions are bounded for the whole body, to the byte', async t => {
  const limits = { ...BODY_LIMITS, extensions: 6 }
  const read = (text: string) => new BodyReader(CHUNKED, 'response', limits).read(latin1(text), ignore)

  t.match(read('1;abc\r\nx\r\n1;def\r\nx\r\n0\r\n\r\n'), { kind: 'done' })
  t.match(read('1;abc\r\nx\r\n1;defg\r\nx\r\n0\r\n\r\n'), { code: 'UPSTREAM_MALFORMED' })
})

t.test('trailers are bounded in count, line and size, to the byte', async t => {
  const trailers = 'A: b\r\nC: d\r\n\r\n'
  const within = { bytes: trailers.length, count: 2, line: 4 }
  const read = (limits: typeof within) =>
    new BodyReader(CHUNKED, 'request', { ...BODY_LIMITS, trailers: limits }).read(
      latin1(`0\r\n${trailers}`),
      ignore,
    )

  t.match(read(within), { kind: 'done' })
  t.match(read({ ...within, bytes: trailers.length - 1 }), { code: 'REQUEST_HEAD_TOO_LARGE' })
  t.match(read({ ...within, count: 1 }), { code: 'REQUEST_HEAD_TOO_LARGE' })
  t.match(read({ ...within, line: 3 }), { code: 'REQUEST_HEAD_TOO_LARGE' })
})

t.test('the end of the connection ends a body of unknown length and cuts every other one', async t => {
  const after = (framing: Framing, text: string) => {
    const reader = new BodyReader(framing, 'response')
    reader.read(latin1(text), ignore)
    return reader.finish()
  }

  t.equal(after({ kind: 'length', length: 3 }, 'ab'), 'truncated')
  t.equal(after(CHUNKED, '1\r\na\r\n'), 'truncated')
  t.equal(after(CHUNKED, '0\r\n'), 'truncated')
  t.equal(after(CHUNKED, ''), 'truncated')
  t.equal(after({ kind: 'until-close' }, 'ab'), 'done')
  t.equal(after({ kind: 'length', length: 2 }, 'ab'), 'done')
  t.equal(after(CHUNKED, '0\r\n\r\n'), 'done')
  t.equal(after({ kind: 'none' }, ''), 'done')
})

t.test('a message without a body is done before a byte is read, and takes none', async t => {
  for (const framing of [{ kind: 'none' }, { kind: 'length', length: 0 }] as const) {
    const reader = new BodyReader(framing, 'request')

    t.equal(reader.isDone, true)
    t.same(reader.read(latin1('GET / HTTP/1.1'), ignore), { kind: 'done', consumed: 0 })
  }
})

t.test('body bytes are handed on as slices of what came in, not as copies', async t => {
  const bytes = latin1('5\r\nhello\r\n0\r\n\r\n')
  let slice: Buffer | undefined

  new BodyReader(CHUNKED, 'request').read(bytes, given => {
    slice = given
  })

  t.equal(slice?.toString(), 'hello')
  t.equal(slice?.buffer, bytes.buffer)
  t.equal(slice?.byteOffset, bytes.byteOffset + 3)
})

t.test('a consumer that throws leaves the reader where the body stands', async t => {
  const reader = new BodyReader({ kind: 'length', length: 4 }, 'request')

  t.throws(() =>
    reader.read(latin1('ab'), () => {
      throw new Error('full')
    }),
  )
  t.same(reader.read(latin1('cdX'), ignore), { kind: 'done', consumed: 2 })
})

t.test('the bytes of the next message are left where they are', async t => {
  const consumed = (framing: Framing, text: string) =>
    new BodyReader(framing, 'response').read(latin1(text), ignore)

  t.same(consumed({ kind: 'length', length: 2 }, 'abHTTP'), { kind: 'done', consumed: 2 })
  t.same(consumed(CHUNKED, '0\r\nA: b\r\n\r\nHTTP'), { kind: 'done', consumed: 11 })
  t.same(consumed({ kind: 'until-close' }, 'abHTTP'), { kind: 'more', consumed: 6 })
})

t.test('trailers keep their order and spelling, and are there when the body is done', async t => {
  const reader = new BodyReader(CHUNKED, 'request')

  reader.read(latin1('0\r\nX-B: 1\r\nx-a:'), ignore)
  const before = reader.trailers
  reader.read(latin1(' 2\r\n\r\n'), ignore)

  t.same(before, [])
  t.same(reader.trailers, [
    ['X-B', '1'],
    ['x-a', '2'],
  ])
})

t.test('names that would frame, route or authenticate never come as trailers', async t => {
  const forbidden = ['Content-Length', 'TRANSFER-ENCODING', 'Host', 'Authorization', 'Set-Cookie', 'Trailer']
  const disguised = [
    'content_length',
    'Proxy-Anything',
    'X-Forwarded-Host',
    'Cloakroom-Tenant',
    'cloakroom_tenant',
  ]
  const carried = ['Grpc-Status', 'grpc-message', 'X-Amz-Checksum-Sha256', 'Server-Timing', 'Digest', 'ETag']

  for (const name of [...forbidden, ...disguised]) t.ok(isForbiddenTrailer(name), name)
  for (const name of carried) t.notOk(isForbiddenTrailer(name), name)
})

t.test('a written body never differs from its announced length', async t => {
  const writer = (length: number) => new BodyWriter({ kind: 'length', length })
  const isBroken = (error: unknown) => isError(error, 'INTERNAL_BROKEN_INVARIANT')
  const fails = (run: () => unknown, why: string) => {
    try {
      run()
      t.fail(why)
    } catch (error) {
      t.ok(isBroken(error), why)
    }
  }

  fails(() => writer(3).frame(latin1('abcd')), 'too long at once')
  const slow = writer(3)
  slow.frame(latin1('ab'))
  fails(() => slow.frame(latin1('cd')), 'too long in the end')
  fails(() => slow.end([]), 'too short')
  fails(() => new BodyWriter({ kind: 'none' }).frame(latin1('a')), 'a body where none is')
  const ended = new BodyWriter(CHUNKED)
  ended.end([])
  fails(() => ended.frame(latin1('a')), 'bytes after the end')
  fails(() => ended.end([]), 'a second end')
})

t.test('a written body is what was given, in its framing', async t => {
  const written = (framing: Framing) => {
    const writer = new BodyWriter(framing)
    const pieces = [writer.frame(latin1('hello')), writer.frame(Buffer.alloc(0)), writer.end([['A', 'b']])]
    return Buffer.concat(pieces.flat()).toString('latin1')
  }

  t.equal(written({ kind: 'length', length: 5 }), 'hello')
  t.equal(written({ kind: 'until-close' }), 'hello')
  t.equal(written(CHUNKED), '5\r\nhello\r\n0\r\nA: b\r\n\r\n')
})

t.test('each framing is announced by the one header that is read back as it', async t => {
  const framings: readonly Framing[] = [
    { kind: 'none' },
    { kind: 'length', length: 0 },
    { kind: 'length', length: Number.MAX_SAFE_INTEGER },
    CHUNKED,
  ]

  for (const framing of framings) {
    const headers = framingHeaders(framing)
    t.same(requestFraming({ method: 'POST', rawTarget: '/', minor: 1, headers }), framing)
  }
  const response = {
    minor: 1,
    status: 200,
    reason: '',
    headers: framingHeaders({ kind: 'until-close' }),
  } as const
  t.same(responseFraming(response, 'GET'), { kind: 'until-close' })
})
