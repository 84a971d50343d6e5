import t from 'tap'
import { formatLocation } from '../../src/model/decision.ts'
import type { HeaderList, RequestHead } from '../../src/model/message.ts'
import { findInHead, holdsPlaceholder } from '../../src/swap/find.ts'
import { mintPlaceholder } from '../../src/swap/placeholder.ts'

const PH = mintPlaceholder()
const OTHER = mintPlaceholder()
const SEALED = `xclk_s${'aZ0-_'.repeat(9)}`

type Parts = {
  readonly headers?: HeaderList
  readonly path?: string
  readonly method?: string
  readonly host?: string
}

const head = ({
  headers = [],
  path = '/',
  method = 'GET',
  host = 'api.example.com',
}: Parts): RequestHead => ({
  method,
  target: { scheme: 'https', host, port: 443 },
  path,
  headers,
})

const base64 = (text: string) => Buffer.from(text, 'latin1').toString('base64')

/** What was found, as `location=placeholder`; `refused` where there is no location. */
const find = (parts: Parts) =>
  findInHead(head(parts)).map(({ placeholder, location }) =>
    location === undefined ? 'refused' : `${formatLocation(location)}=${placeholder}`,
  )
const inHeader = (name: string, value: string) => find({ headers: [[name, value]] })
const inBasic = (decoded: string) => inHeader('Authorization', `Basic ${base64(decoded)}`)

const allRefused = (found: readonly string[]) => found.length > 0 && found.every(each => each === 'refused')

t.test('gives no location to a placeholder in a header that routes, frames or identifies (C1)', async t => {
  const names = ['Host', 'Content-Length', 'Transfer-Encoding', 'Connection', 'Keep-Alive', 'TE', 'Trailer']
  const more = ['Upgrade', 'Expect', 'Cookie', 'Proxy-Authorization', 'Proxy-Connection', 'Cloakroom-Tenant']

  for (const name of [...names, ...more]) t.ok(allRefused(inHeader(name, PH)), name)
  t.ok(allRefused(inHeader('Cookie', `session=${PH}; a=b`)))
})

t.test('gives no location to a placeholder that is not the whole value', async t => {
  for (const value of [
    `${PH} `,
    `${PH}x`,
    `${PH},`,
    `"${PH}"`,
    `<${PH}>`,
    `key=${PH}`,
    `Bearer token ${PH}`,
    `Bearer\t${PH}`,
    ` ${PH}`,
    `${PH}${OTHER}`,
    `${PH} ${OTHER}`,
    `Bearer ${PH}, Bearer ${OTHER}`,
    `Digest username="${PH}"`,
    `${'s'.repeat(33)}${PH}`,
    `Bearer a b${PH}`,
  ])
    t.ok(allRefused(inHeader('Authorization', value)), value)
})

t.test('gives no location to a placeholder in a header that stands twice (C10)', async t => {
  const found = find({
    headers: [
      ['Authorization', `Bearer ${PH}`],
      ['authorization', 'Bearer mine'],
    ],
  })
  const basic = find({
    headers: [
      ['Authorization', `Basic ${base64(`${PH}:`)}`],
      ['AUTHORIZATION', 'x'],
    ],
  })

  t.same(found, ['refused'])
  t.same(basic, ['refused'])
})

t.test('gives no location to a placeholder in a name, method or host', async t => {
  t.ok(allRefused(inHeader(PH, 'x')))
  t.ok(allRefused(find({ path: `/?${PH}=x` })))
  t.ok(allRefused(find({ path: `/?${PH}` })))
  t.ok(allRefused(find({ method: PH })))
  t.ok(allRefused(find({ host: `${PH.toLowerCase()}.example.com` })))
})

t.test('reports a malformed placeholder, which is never passed on in a head (rulings.md 8)', async t => {
  const typo = `${PH.slice(0, -1)}${PH.endsWith('0') ? '1' : '0'}`

  for (const text of ['xclk_r', 'xclk_s', typo, PH.slice(0, -1), `xclk_s${'a'.repeat(42)}`]) {
    t.same(inHeader('X-Api-Key', text), ['refused'], text)
    t.ok(allRefused(find({ path: `/a/${text}/b` })), text)
    t.ok(allRefused(find({ path: `/?a=${text}` })), text)
    t.same(inBasic(`${text}:`), ['refused'], text)
    t.same(inBasic(`a:${text}`), ['refused'], text)
  }
})

t.test('gives no location inside Basic to anything but a whole user or password', async t => {
  for (const decoded of [PH, `x ${PH}:`, `a:b${PH}c`, `a:${PH}${OTHER}`, `${PH} :a`, `:${PH}\n`, `a:b:${PH}`])
    t.ok(allRefused(inBasic(decoded)), decoded)
})

t.test(
  'refuses Basic whose base64 is not canonical, when a lenient reader finds a placeholder in it',
  async t => {
    const canonical = base64(`ab:${PH}`)
    const urlSafe = base64(`ÿÿÿ?>${PH}:`).replaceAll('+', '-').replaceAll('/', '_')

    for (const text of [
      canonical.replaceAll('=', ''),
      `${canonical}=`,
      `${canonical} `,
      ` ${canonical}`.repeat(1).replace(canonical, `${canonical.slice(0, 10)} ${canonical.slice(10)}`),
      `${canonical.slice(0, 9)}\t${canonical.slice(9)}`,
      `${canonical.slice(0, 9)}.${canonical.slice(9)}`,
      urlSafe,
    ]) {
      if (text === canonical) continue
      t.ok(allRefused(inHeader('Authorization', `Basic ${text}`)), text)
    }
    t.ok(allRefused(inHeader('Authorization', `Basic ${PH}`)), 'the placeholder itself, not encoded')
  },
)

t.test('gives no location in the query to anything but a whole value', async t => {
  for (const path of [
    `/?a=x+${PH}`,
    `/?a=${PH}%20`,
    `/?a=${PH}${OTHER}`,
    `/?a=b=${PH}`,
    `/?a=?${PH}`,
    `/?%zz=${PH}`,
  ])
    t.ok(allRefused(find({ path })), path)
})

t.test(
  'does not look twice the same: matching is case-sensitive, and another case is a disguise',
  async t => {
    t.ok(allRefused(inHeader('X-Api-Key', PH.toUpperCase())))
    t.ok(allRefused(inHeader('X-Api-Key', PH.replace('xclk', 'Xclk'))))
  },
)

// Fourteen ways to write the start of a placeholder, in six places (threat-model.md C5).
const each = (text: string, write: (code: number) => string) =>
  [...text].map(character => write(character.charCodeAt(0))).join('')
const hex = (code: number) => code.toString(16)
const DISGUISES: Readonly<Record<string, (text: string) => string>> = {
  'upper case': text => text.toUpperCase(),
  'one letter in upper case': text => text.replace('l', 'L'),
  'percent, whole, upper case': text => each(text, code => `%${hex(code).toUpperCase()}`),
  'percent, whole, lower case': text => each(text, code => `%${hex(code)}`),
  'percent, one character': text => text.replace('_', '%5f'),
  'percent twice': text => each(text, code => `%25${hex(code)}`),
  'percent, one character, twice': text => text.replace('x', '%2578'),
  'base64, first of a group': text => base64(text),
  'base64, second of a group': text => base64(`a${text}`),
  'base64url, third of a group': text => Buffer.from(`~~${text}`).toString('base64url'),
  'hex, lower case': text => Buffer.from(text).toString('hex'),
  'hex, upper case': text => Buffer.from(text).toString('hex').toUpperCase(),
  JSON: text => each(text, code => `\\u00${hex(code)}`),
  'UTF-16 in percent': text => each(text, code => `${String.fromCharCode(code)}%00`),
  'HTML, decimal': text => each(text, code => `&#${code};`),
  'HTML, hexadecimal': text => each(text, code => `&#x${hex(code)};`),
}
const PLACES: Readonly<Record<string, (text: string) => Parts>> = {
  'a bare header': text => ({ headers: [['X-Api-Key', text]] }),
  'a header with a scheme': text => ({ headers: [['Authorization', `Bearer ${text}`]] }),
  'a cookie': text => ({ headers: [['Cookie', `a=${text}; b=c`]] }),
  'the path': text => ({ path: `/bot${text}/send` }),
  'a query value': text => ({ path: `/?a=1&key=${text}` }),
  'a query name': text => ({ path: `/?${text}=1` }),
  Basic: text => ({ headers: [['Authorization', `Basic ${base64(`user:${text}`)}`]] }),
}
for (const [way, disguise] of Object.entries(DISGUISES)) {
  t.test(`refuses a placeholder written as ${way}`, async t => {
    for (const [where, place] of Object.entries(PLACES)) {
      t.ok(allRefused(find(place(disguise(PH)))), where)
      t.ok(allRefused(find(place(disguise(SEALED)))), `${where}, sealed`)
    }
  })
}

t.test('finds nothing in a head without placeholders, however odd', async t => {
  const found = find({
    path: '/a%2Fb/xclk_/xclk/%78?xclk_=1&a=%25%32&b=+&&=',
    headers: [
      ['Authorization', `Basic ${base64('user:pässword')}`],
      ['X-Env', 'xclk_ XCLK_HOME=1'],
      ['X-Json', '{"a":"\\u0078&#120;"}'],
      ['X-Hex', '78636c6b'],
    ],
  })

  t.same(found, [])
})

t.test('leaves Basic without a placeholder alone, canonical or not (acceptance 19)', async t => {
  for (const text of ['', 'Zm9v', 'Zm9vOmJhcg', 'not base64!', '====', base64('a:b')])
    t.same(inHeader('Authorization', `Basic ${text}`), [], text)
  t.same(inHeader('Authorization', 'Basic'), [])
})

t.test('finds a placeholder that is the whole of a header, bare, with a scheme, with a shape', async t => {
  const found = `header.authorization=${PH}`

  for (const value of [
    PH,
    `Bearer ${PH}`,
    `token  ${PH}`,
    `Bearer sk_live_${PH}`,
    `ghp_${PH}`,
    `GenieKey ${PH}`,
  ])
    t.same(inHeader('AUTHORIZATION', value), [found], value)
  t.same(inHeader('X-Api-Key', SEALED), [`header.x-api-key=${SEALED}`])
})

t.test('finds user and password of Basic, whatever the case of the scheme', async t => {
  t.same(inBasic(`${PH}:`), [`basic.user=${PH}`])
  t.same(inBasic(`:${PH}`), [`basic.password=${PH}`])
  t.same(inBasic(`x-access-token:ghp_${PH}`), [`basic.password=${PH}`])
  t.same(inBasic(`${PH}:${OTHER}`), [`basic.user=${PH}`, `basic.password=${OTHER}`])
  t.same(inHeader('authorization', `bASIC   ${base64(`${PH}:`)}`), [`basic.user=${PH}`])
})

t.test('finds query values by their decoded name, and every one of them', async t => {
  t.same(find({ path: `/p?a=1&api%5Fkey=${PH}&b=` }), [`query.api_key=${PH}`])
  t.same(find({ path: `/p?x+y=${PH}&z=sk_${OTHER}` }), [`query.x y=${PH}`, `query.z=${OTHER}`])
})

t.test(
  'finds placeholders in the path with other text around, and in the query of the same target',
  async t => {
    t.same(find({ path: `/bot${PH}/x${OTHER}y?k=${PH}` }), [`path=${PH}`, `path=${OTHER}`, `query.k=${PH}`])
  },
)

t.test('gives no location to a placeholder that stands behind a disguised one', async t => {
  const shape = base64(PH).slice(0, 9)

  t.ok(allRefused(inHeader('X-Api-Key', shape + PH)))
  t.ok(find({ path: `/?key=${shape}${PH}` }).includes('refused'))
})

t.test('tells of trailers whether they hold a placeholder in any spelling', async t => {
  for (const text of [PH, `a ${PH}`, 'xclk_r', PH.toUpperCase(), base64(PH), `%78${PH.slice(1)}`]) {
    t.equal(holdsPlaceholder([['X-Checksum', text]]), true, text)
  }
  t.equal(holdsPlaceholder([[PH, 'x']]), true)
  t.equal(holdsPlaceholder([['X-Checksum', 'xclk_ 100%']]), false)
})
