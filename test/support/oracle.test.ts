/**
 * The positive controls of the leak oracle: it speaks for each encoding, and only for a canary.
 */
import { randomBytes } from 'node:crypto'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import t from 'tap'
import { findLeaks, makeCanary } from './oracle.ts'

const CANARY = makeCanary('acme', 'stripe')
const PART = CANARY.slice(17, 29)
const each = (text: string, write: (code: number) => string) =>
  [...text].map(character => write(character.charCodeAt(0))).join('')
const hex = (code: number) => code.toString(16)
const inText = (part: string) => `{"echo": "${part}", "x": 1}`

const ENCODINGS: readonly [name: string, encode: (text: string) => Buffer | string][] = [
  ['raw', text => inText(text)],
  ['base64', text => inText(Buffer.from(text).toString('base64'))],
  ['base64', text => inText(Buffer.from(`a${text}zz`).toString('base64'))],
  ['base64', text => inText(Buffer.from(`ab${text}z`).toString('base64url'))],
  ['hex', text => inText(Buffer.from(text).toString('hex'))],
  ['hex', text => inText(`0${Buffer.from(text).toString('hex').toUpperCase()}`)],
  ['percent', text => inText(each(text, code => `%${hex(code)}`))],
  ['percent', text => inText(text.replace(text[5] ?? '', character => `%${hex(character.charCodeAt(0))}`))],
  ['double percent', text => inText(each(text, code => `%25${hex(code)}`))],
  ['json', text => inText(each(text, code => `\\u00${hex(code)}`))],
  ['html', text => inText(each(text, code => `&#${code};`))],
  ['html', text => inText(each(text, code => `&#x${hex(code)};`))],
  ['utf16', text => Buffer.from(text, 'utf16le')],
  ['utf16', text => Buffer.from(text, 'utf16le').swap16()],
  ['reversed', text => inText([...text].reverse().join(''))],
  ['chunked', text => `5\r\n"abc"\r\n6\r\n${text.slice(0, 6)}\r\n6\r\n${text.slice(6)}\r\n0\r\n\r\n`],
  ['gzip>raw', text => Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\n\r\n'), gzipSync(inText(text))])],
  ['deflate>raw', text => deflateSync(inText(text))],
  [
    'deflate>raw',
    text => Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\n\r\n'), deflateRawSync(inText(text))]),
  ],
  [
    'br>raw',
    text => Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\n\r\n'), brotliCompressSync(inText(text))]),
  ],
  ['gzip>gzip>raw', text => gzipSync(gzipSync(inText(text)))],
  ['gzip>base64', text => gzipSync(inText(Buffer.from(text).toString('base64')))],
  ['gzip>raw', text => gzipSync(inText(text)).subarray(0, -9)],
]

t.test('is silent about eleven bytes of a canary, random bytes and other canaries', async t => {
  const other = makeCanary('beta', 'github', 'other')

  t.same(findLeaks(inText(CANARY.slice(20, 31)), CANARY), [])
  t.same(findLeaks(`${CANARY.slice(20, 31)}!${CANARY.slice(31, 42)}`, CANARY), [])
  t.same(findLeaks(randomBytes(200_000), CANARY), [])
  t.same(findLeaks(randomBytes(200_000).toString('hex'), CANARY), [])
  t.same(findLeaks(inText(other), CANARY), [])
  t.same(findLeaks('', CANARY), [])
})

for (const [index, [name, encode]] of ENCODINGS.entries()) {
  t.test(`speaks for twelve bytes and for all of a canary as ${name} (${index})`, async t => {
    t.ok(findLeaks(encode(PART), CANARY).includes(name), `part: ${findLeaks(encode(PART), CANARY)}`)
    t.ok(findLeaks(encode(CANARY), CANARY).length > 0, 'all of it')
  })
}

t.test('speaks for every window of twelve bytes', async t => {
  for (let start = 0; start + 12 <= CANARY.length; start++) {
    if (findLeaks(`<${CANARY.slice(start, start + 12)}>`, CANARY)[0] !== 'raw') t.fail(`window at ${start}`)
  }
  t.pass()
})
