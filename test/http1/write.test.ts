/**
 * Writing: nothing leaves that would be read as anything else (threat-model.md C7).
 */
import t from 'tap'
import { isError } from '../../src/base/errors.ts'
import { isFieldValue, isMethod, isOriginTarget, isToken } from '../../src/http1/grammar.ts'
import {
  parseRequestHead,
  parseResponseHead,
  type ReceivedRequestHead,
  type ReceivedResponseHead,
} from '../../src/http1/head.ts'
import {
  CHUNK_END,
  writeChunkPrefix,
  writeLastChunk,
  writeRequestHead,
  writeResponseHead,
} from '../../src/http1/write.ts'
import type { HeaderList } from '../../src/model/message.ts'

const request = (headers: HeaderList): Buffer => writeRequestHead('GET', '/', headers)

function readBack(bytes: Buffer): ReceivedRequestHead & ReceivedResponseHead {
  const parsed = bytes.includes('HTTP/1.1 200') ? parseResponseHead(bytes) : parseRequestHead(bytes)
  if (parsed.kind !== 'head' || parsed.length !== bytes.length) throw new Error('not one whole head')
  return { method: '', rawTarget: '', status: 0, reason: '', ...parsed.head }
}

/** Where a text may stand, and where it must be found again. */
type Place = {
  readonly name: string
  readonly write: (text: string) => Buffer
  readonly read: (head: ReturnType<typeof readBack>) => string | undefined
}

const PLACES: readonly Place[] = [
  { name: 'method', write: text => writeRequestHead(text, '/', []), read: head => head.method },
  {
    name: 'path',
    write: text => writeRequestHead('GET', `/${text}`, []),
    read: head => head.rawTarget.slice(1),
  },
  { name: 'header name', write: text => request([[text, 'b']]), read: head => head.headers[0]?.[0] },
  { name: 'header value', write: text => request([['A', text]]), read: head => head.headers[0]?.[1] },
  {
    name: 'response value',
    write: text => writeResponseHead(1, 200, '', [['A', text]]),
    read: head => head.headers[0]?.[1],
  },
  { name: 'reason', write: text => writeResponseHead(1, 200, text, []), read: head => head.reason },
]

const HEADERS: HeaderList = [
  ['Host', 'a.example'],
  ['X-Last', 'z'],
]

// Every byte, and what would become one of the dangerous ones when written as latin1.
const CHARACTERS = [
  ...Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)),
  ...['\u010a', '\u010d', '\u0100', '\u0120', '\u2028', '\uff0d', '\ud83d\ude00', '\ud83d'],
]

function attempt(write: () => Buffer): Buffer | 'refused' {
  try {
    return write()
  } catch (error) {
    if (isError(error, 'INTERNAL_BROKEN_INVARIANT')) return 'refused'
    throw error
  }
}

for (const place of PLACES) {
  t.test(`a ${place.name} with any character is refused or read back as one`, async t => {
    let written = 0
    for (const character of CHARACTERS) {
      for (const text of [`${character}A`, `A${character}A`, `A${character}`, character]) {
        const bytes = attempt(() => place.write(text))
        if (bytes === 'refused') continue
        written++
        const found = place.read(readBack(bytes))
        if (found !== text) t.fail(`read back as something else: ${JSON.stringify(text)}`)
      }
    }
    t.ok(written > 100, `${written} were written`)
  })
}

t.test('the line feed behind U+010A does not come out', async t => {
  t.equal(isFieldValue('a\u010ab'), false)
  t.equal(isToken('a\u010a'), false)
  t.equal(isOriginTarget('/\u010a'), false)
  t.equal(
    attempt(() => request([['A', 'b\u010ac']])),
    'refused',
  )
})

t.test('a path that moves the host is not written', async t => {
  const moving = [
    '',
    'a',
    '//evil.example/x',
    '/\\evil.example',
    '/\t/evil.example',
    '\\\\evil.example',
    '/a b',
    '/a#b',
  ]
  const absolute = ['http://evil.example/', 'evil.example:443', '?a', '*', '/\xe9', '/\x7f', '/\r\nA: b']

  for (const path of [...moving, ...absolute]) {
    t.equal(isOriginTarget(path), false, JSON.stringify(path))
    t.equal(
      attempt(() => writeRequestHead('GET', path, [])),
      'refused',
      JSON.stringify(path),
    )
  }
  for (const path of ['/', '/a//b', '/a?b=//c', '/..', '/%5c', '/"<>^`{|}'])
    t.equal(isOriginTarget(path), true, path)
})

t.test('a blank at either end of a value is not written, because it would not arrive', async t => {
  for (const value of [' ', '\t', ' a', 'a ', '\ta', 'a\t']) t.equal(isFieldValue(value), false)
  for (const value of ['', 'a', 'a b', 'a\tb', '\xe9']) t.equal(isFieldValue(value), true)
})

t.test('two headers that frame the body are not written', async t => {
  const length = ['content-length', '5'] as const
  const coding = ['Transfer-Encoding', 'chunked'] as const

  t.equal(
    attempt(() => request([length, coding])),
    'refused',
  )
  t.equal(
    attempt(() => request([length, ['Content-Length', '5']])),
    'refused',
  )
  t.equal(
    attempt(() => writeResponseHead(1, 200, 'OK', [coding, length])),
    'refused',
  )
  t.type(
    attempt(() => request([length])),
    Buffer,
  )
})

t.test('a status outside 100 to 599 is not written', async t => {
  for (const status of [0, 99, 600, 999, 200.5, Number.NaN]) {
    t.equal(
      attempt(() => writeResponseHead(1, status, '', [])),
      'refused',
    )
  }
})

t.test('a header without a name is not written', async t => {
  t.equal(isToken(''), false)
  t.equal(
    attempt(() => request([['', 'b']])),
    'refused',
  )
})

t.test('a chunk of nothing is not written, because it would end the body', async t => {
  for (const length of [0, -1, 1.5, Number.NaN, 2 ** 53]) {
    t.equal(
      attempt(() => writeChunkPrefix(length)),
      'refused',
    )
  }
})

t.test('a forbidden or broken trailer is not written', async t => {
  t.equal(
    attempt(() => writeLastChunk([['Content-Length', '5']])),
    'refused',
  )
  t.equal(
    attempt(() => writeLastChunk([['cloakroom-tenant', 'a']])),
    'refused',
  )
  t.equal(
    attempt(() => writeLastChunk([['A', 'b\r\n']])),
    'refused',
  )
})

t.test('the fault names the part and never the value', async t => {
  try {
    request([['A', 'hunter2\n']])
    t.fail('it was written')
  } catch (error) {
    t.match(error, { details: { what: 'header value to be written' } })
    t.notMatch(String(error), /hunter2/)
  }
})

t.test('a request head is written with its headers in order, in memory of its own', async t => {
  const bytes = writeRequestHead('POST', '/v1?a=b', HEADERS)

  t.equal(bytes.toString('latin1'), 'POST /v1?a=b HTTP/1.1\r\nHost: a.example\r\nX-Last: z\r\n\r\n')
  t.equal(bytes.buffer.byteLength, bytes.length, 'not from the pool that all buffers share')
  t.match(writeRequestHead('OPTIONS', '*', []).toString(), /^OPTIONS \* HTTP/)
})

t.test('a response head is written for either version', async t => {
  t.equal(writeResponseHead(0, 200, 'OK', HEADERS).toString().split('\r\n')[0], 'HTTP/1.0 200 OK')
  t.equal(writeResponseHead(1, 404, '', []).toString(), 'HTTP/1.1 404 \r\n\r\n')
})

t.test('chunks are written as RFC 9112 7.1 wants them', async t => {
  t.equal(writeChunkPrefix(255).toString(), 'ff\r\n')
  t.equal(CHUNK_END.toString(), '\r\n')
  t.equal(writeLastChunk([]).toString(), '0\r\n\r\n')
  t.equal(writeLastChunk([['X-Sum', 'a']]).toString(), '0\r\nX-Sum: a\r\n\r\n')
})

t.test('methods are upper case, and lower case is another one', async t => {
  for (const method of ['GET', 'M-SEARCH', 'VERSION-CONTROL', 'X_1']) t.equal(isMethod(method), true)
  for (const method of ['', 'get', 'Get', '1A', '-A', 'A B', 'A!']) t.equal(isMethod(method), false)
})
