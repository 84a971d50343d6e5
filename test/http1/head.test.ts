/**
 * Heads: limits to the byte, heads that come in crumbs, and what is read of a good one.
 */
import t from 'tap'
import { isError } from '../../src/base/errors.ts'
import { HEAD_LIMITS, parseRequestHead, parseResponseHead } from '../../src/http1/head.ts'
import { type RefusalCode, refusalError, refused, tooLarge } from '../../src/http1/refusal.ts'
import { latin1 } from './reading.ts'

t.test('a head of the greatest size is read and one byte more is refused', async t => {
  const sized = (bytes: number): Buffer => {
    const frame = 'GET / HTTP/1.1\r\n\r\n'
    const lines = new Array<string>(7).fill(`A: ${'b'.repeat(4091)}\r\n`).join('')
    const last = bytes - frame.length - lines.length - 'A: \r\n'.length
    return latin1(`GET / HTTP/1.1\r\n${lines}A: ${'b'.repeat(last)}\r\n\r\n`)
  }

  const fits = parseRequestHead(sized(HEAD_LIMITS.bytes))
  const tooMuch = parseRequestHead(sized(HEAD_LIMITS.bytes + 1))
  const withBody = parseRequestHead(Buffer.concat([sized(HEAD_LIMITS.bytes), Buffer.alloc(5)]))

  t.match(fits, { kind: 'head', length: HEAD_LIMITS.bytes })
  t.match(withBody, { kind: 'head', length: HEAD_LIMITS.bytes })
  t.match(tooMuch, { code: 'REQUEST_HEAD_TOO_LARGE', limit: HEAD_LIMITS.bytes })
})

t.test('a line of the greatest length is read and one byte more is refused', async t => {
  const header = (length: number) =>
    parseRequestHead(latin1(`GET / HTTP/1.1\r\nA: ${'b'.repeat(length - 3)}\r\n\r\n`))
  const requestLine = (length: number) =>
    parseRequestHead(latin1(`GET /${'a'.repeat(length - 14)} HTTP/1.1\r\n\r\n`))

  t.match(header(HEAD_LIMITS.line), { kind: 'head' })
  t.match(header(HEAD_LIMITS.line + 1), { code: 'REQUEST_HEAD_TOO_LARGE', limit: HEAD_LIMITS.line })
  t.match(requestLine(HEAD_LIMITS.line), { kind: 'head' })
  t.match(requestLine(HEAD_LIMITS.line + 1), { code: 'REQUEST_HEAD_TOO_LARGE', limit: HEAD_LIMITS.line })
})

t.test('the limits are those that the caller gives', async t => {
  const bytes = latin1('HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n')
  const within = { bytes: bytes.length, count: 2, line: 15 }

  t.match(parseResponseHead(bytes, within), { kind: 'head' })
  t.match(parseResponseHead(bytes, { ...within, bytes: bytes.length - 1 }), {
    code: 'UPSTREAM_HEAD_TOO_LARGE',
  })
  t.match(parseResponseHead(bytes, { ...within, count: 1 }), { code: 'UPSTREAM_HEAD_TOO_LARGE', limit: 1 })
  t.match(parseResponseHead(bytes, { ...within, line: 14 }), { code: 'UPSTREAM_HEAD_TOO_LARGE', limit: 14 })
})

t.test('another protocol is refused at its first byte and not at a time-out', async t => {
  t.match(parseRequestHead(latin1('\x16')), { code: 'REQUEST_MALFORMED' })
  t.match(parseRequestHead(latin1('\r')), { code: 'REQUEST_MALFORMED' })
  t.match(parseResponseHead(latin1('\x15')), { code: 'UPSTREAM_MALFORMED' })
})

t.test('a fault is refused at the end of its line although the head goes on', async t => {
  t.match(parseRequestHead(latin1('GET / HTTP/1.1\n')), { what: 'bare LF' })
  t.match(parseRequestHead(latin1('GET / HTTP/2.0\r\n')), { code: 'REQUEST_VERSION' })
  t.match(parseRequestHead(latin1('GET / HTTP/1.1\r\nA : b\r\n')), { what: 'blank before the colon' })
  t.match(parseResponseHead(latin1('HTTP/1.1 999 X\r\n')), { what: 'status' })
})

t.test('bytes that were found incomplete are not read again until a line ends', async t => {
  const firstLine = '?ET / HTTP/1.1\r\n'
  const after = (seen: number) => parseRequestHead(latin1(`${firstLine}Host: a.exam`), HEAD_LIMITS, seen)

  t.match(after(0), { kind: 'refused' }, 'the first byte is wrong')
  t.match(after(firstLine.length - 1), { kind: 'refused' }, 'a line ended since')
  t.match(after(firstLine.length), { kind: 'incomplete' }, 'nothing new: the bytes were not looked at')
})

t.test('a head that reaches the limit in crumbs is refused although no line ends', async t => {
  const endless = latin1(`GET /${'a'.repeat(HEAD_LIMITS.bytes)}`)
  const upTo = (length: number) => parseRequestHead(endless.subarray(0, length), HEAD_LIMITS, length - 1)

  t.match(upTo(HEAD_LIMITS.bytes - 1), { kind: 'incomplete' })
  t.match(upTo(HEAD_LIMITS.bytes), { code: 'REQUEST_HEAD_TOO_LARGE' })
})

t.test('a head in single bytes costs one reading a line', async t => {
  const bytes = latin1(`GET / HTTP/1.1\r\n${`A: ${'b'.repeat(319)}\r\n`.repeat(99)}\r\n`)
  let readings = 0
  const counting: ProxyHandler<Buffer> = {
    get: (target, property) => {
      if (property === 'toString') readings++
      const member: unknown = Reflect.get(target, property)
      return typeof member === 'function' ? member.bind(target) : member
    },
  }

  let whole: unknown
  for (let length = 1; length <= bytes.length; length++) {
    whole = parseRequestHead(new Proxy(bytes.subarray(0, length), counting), HEAD_LIMITS, length - 1)
  }

  t.match(whole, { kind: 'head' })
  t.ok(readings <= 103, `${readings} readings of ${bytes.length} bytes`)
})

t.test('a request head is read with its spelling, order and 8-bit bytes', async t => {
  const text = 'POST /a?b=%20&c HTTP/1.0\r\nHOST:a.example\r\nx-a: \t b\xe9 c \t\r\nX-A:\r\n\r\nrest'

  t.same(parseRequestHead(latin1(text)), {
    kind: 'head',
    head: {
      method: 'POST',
      rawTarget: '/a?b=%20&c',
      minor: 0,
      headers: [
        ['HOST', 'a.example'],
        ['x-a', 'b\xe9 c'],
        ['X-A', ''],
      ],
    },
    length: text.length - 4,
  })
})

t.test('a response head is read with its reason as it came', async t => {
  const read = (line: string) => parseResponseHead(latin1(`${line}\r\n\r\n`))

  t.match(read('HTTP/1.0 404 Not  Found'), {
    head: { minor: 0, status: 404, reason: 'Not  Found', headers: [] },
  })
  t.match(read('HTTP/1.1 100 '), { head: { minor: 1, status: 100, reason: '' } })
  t.match(read('HTTP/1.1 599'), { head: { minor: 1, status: 599, reason: '' } })
})

t.test('nothing yet is incomplete', async t => {
  t.match(parseRequestHead(Buffer.alloc(0)), { kind: 'incomplete' })
  t.match(parseResponseHead(Buffer.alloc(0)), { kind: 'incomplete' })
})

t.test('each refusal becomes the error of its code', async t => {
  const codes: readonly RefusalCode[] = [
    'REQUEST_MALFORMED',
    'REQUEST_FRAMING',
    'REQUEST_VERSION',
    'REQUEST_TRANSFER_CODING',
    'UPSTREAM_MALFORMED',
  ]

  for (const code of codes) {
    const error = refusalError(refused(code, 'bare LF'), 'https://a.example:443')
    t.ok(isError(error, code), code)
  }
  t.match(refusalError(tooLarge('request', 'line too long', 5), ''), { details: { limit: 5 }, status: 431 })
  t.match(refusalError(tooLarge('response', 'line too long', 5), 'https://a.example:443'), {
    code: 'UPSTREAM_HEAD_TOO_LARGE',
    details: { limit: 5, target: 'https://a.example:443' },
    status: 502,
  })
})
