import t from 'tap'
import type { Location, Swap } from '../../src/model/decision.ts'
import type { HeaderList, RequestHead } from '../../src/model/message.ts'
import { SecretValue } from '../../src/model/secret.ts'
import { parseTenantId } from '../../src/model/tenant.ts'
import { MAX_GROWTH, type OpenedSecretLike, swapHead } from '../../src/swap/head.ts'
import { mintPlaceholder } from '../../src/swap/placeholder.ts'
import { EVERY_BYTE_VALUES, NASTY_VALUES } from '../support/nasty.ts'

const PH = mintPlaceholder()
const OTHER = mintPlaceholder()
const TENANT = parseTenantId('acme')
if (TENANT === undefined) throw new Error('acme is a name')
const SECRET = { tenant: TENANT, name: 'stripe', version: 1 }

const AUTHORIZATION: Location = { in: 'header', name: 'authorization' }
const USER: Location = { in: 'basic', part: 'user' }
const PASSWORD: Location = { in: 'basic', part: 'password' }
const PATH: Location = { in: 'path' }
const query = (name: string): Location => ({ in: 'query', name })

const swap = (location: Location, placeholder = PH): Swap => ({ placeholder, secret: SECRET, location })
const opened = (bytes: Buffer | string, shape = ''): OpenedSecretLike => ({
  value: new SecretValue(Buffer.from(bytes)),
  shape,
})
const head = (headers: HeaderList, path = '/'): RequestHead => ({
  method: 'GET',
  target: { scheme: 'https', host: 'api.example.com', port: 443 },
  path,
  headers,
})
const base64 = (text: string) => Buffer.from(text, 'latin1').toString('base64')
const authorization = (value: string) => head([['Authorization', value]])
const withValue = (value: OpenedSecretLike) => new Map([[PH, value]])

/** The value of the only header after a swap. */
const swapped = (value: string, location: Location, secret: OpenedSecretLike) =>
  swapHead(authorization(value), [swap(location)], withValue(secret)).head.headers[0]?.[1]
const swappedPath = (path: string, location: Location, secret: OpenedSecretLike) =>
  swapHead(head([], path), [swap(location)], withValue(secret)).head.path

const REFUSED = { code: 'SWAP_REFUSED' }
const UNFIT = { code: 'SWAP_VALUE_UNFIT' }

t.test('refuses a head that holds a placeholder which no swap names (C11)', async t => {
  const values = new Map([
    [PH, opened('secret-value')],
    [OTHER, opened('other-value')],
  ])
  const both = head([['Authorization', `Bearer ${PH}`]], `/?key=${OTHER}`)

  t.throws(() => swapHead(both, [], values), REFUSED)
  t.throws(() => swapHead(both, [swap(AUTHORIZATION)], values), REFUSED)
  t.throws(() => swapHead(both, [swap(AUTHORIZATION), swap(query('other'), OTHER)], values), REFUSED)
  t.throws(() => swapHead(both, [swap(AUTHORIZATION), swap(query('key'))], values), REFUSED)
})

t.test('refuses when a swap of the permit is no longer in the head', async t => {
  const both = [swap(AUTHORIZATION), swap(PATH, OTHER)]

  t.throws(() => swapHead(authorization(`Bearer ${PH}`), both, withValue(opened('secret-value'))), REFUSED)
  t.throws(() => swapHead(head([]), [swap(AUTHORIZATION)], withValue(opened('secret-value'))), REFUSED)
})

t.test('refuses a placeholder where none may stand, whatever the permit says', async t => {
  const cookie = head([['Cookie', `a=${PH}`]])

  t.throws(
    () => swapHead(cookie, [swap({ in: 'header', name: 'cookie' })], withValue(opened('secret-value'))),
    REFUSED,
  )
})

t.test('refuses a second placeholder where none may stand, beside one that may be swapped', async t => {
  const both = head([
    ['Authorization', `Bearer ${PH}`],
    ['Cookie', `a=${PH}`],
  ])

  t.throws(() => swapHead(both, [swap(AUTHORIZATION)], withValue(opened('secret-value'))), REFUSED)
})

t.test('refuses a swap whose value was not opened', async t => {
  t.throws(() => swapHead(authorization(PH), [swap(AUTHORIZATION)], new Map()), REFUSED)
})

t.test('refuses a whole-value place whose shape is not exactly that of the secret', async t => {
  for (const [shape, written] of [
    ['', 'sk_'],
    ['sk_live_', ''],
    ['sk_live_', 'sk_test_'],
    ['sk_live_', 'xsk_live_'],
  ]) {
    const secret = opened('secret-value', shape)
    const text = `${written}${PH}`

    t.throws(() => swapped(`Bearer ${text}`, AUTHORIZATION, secret), REFUSED, `header ${text}`)
    t.throws(() => swapped(`Basic ${base64(`${text}:`)}`, USER, secret), REFUSED, `basic ${text}`)
    t.throws(() => swappedPath(`/?key=${text}`, query('key'), secret), REFUSED, `query ${text}`)
  }
})

t.test('refuses a value that would make the request grow past the limit (C9)', async t => {
  const large = opened('a'.repeat(MAX_GROWTH / 2 + 1))
  const twice = head([], `/${PH}/${PH}`)

  t.throws(() => swapHead(twice, [swap(PATH)], withValue(large)), UNFIT)
  t.equal(swappedPath(`/${PH}`, PATH, large)?.length, MAX_GROWTH / 2 + 2)
})

t.test('says which secret and place did not fit, and never the value', async t => {
  try {
    swapped(`Bearer ${PH}`, AUTHORIZATION, opened('hunter2\r\nX-Evil: 1'))
    t.fail('must refuse')
  } catch (cause) {
    t.match(cause, {
      code: 'SWAP_VALUE_UNFIT',
      details: { secret: 'acme/stripe', location: 'header.authorization' },
    })
    t.notMatch(String(cause), 'hunter2')
  }
})

t.test('a path value is one segment: slash, backslash, dots and NUL are refused (acceptance 22)', async t => {
  for (const value of ['a/b', '/', 'a\\b', '..', '../x', 'a..b', '.', '...', 'a\0b', 'a\nb', '']) {
    t.throws(() => swappedPath(`/bot${PH}/x`, PATH, opened(value)), UNFIT, JSON.stringify(value))
  }
})

t.test('a path value makes no dot segment with what stands around it, however a server reads it', async t => {
  for (const [before, value, after] of [
    ['', '%2e%2e', ''],
    ['', '.%2e', ''],
    ['', '%2E', ''],
    ['', '.;v=1', ''],
    ['', '%2e;v=1', ''],
    ['.', ';v=1', ''],
    ['.', '%2e', ''],
    ['', 'x%2f.%2e', ''],
    ['', 'x%5c.', '.'],
  ] as const) {
    const run = () => swappedPath(`/a/${before}${PH}${after}/x?y=1`, PATH, opened(value))
    t.throws(run, UNFIT, `${before} ${value} ${after}`)
  }
  t.equal(swappedPath(`/a/${PH}/x?y=/../`, PATH, opened('v1.2%')), '/a/v1.2%25/x?y=/../')
})

t.test('a semicolon of a path value begins no parameter of the segment', async t => {
  t.equal(swappedPath(`/bot${PH}/x`, PATH, opened('1:a;admin=1')), '/bot1:a%3Badmin=1/x')
})

t.test('a user of Basic holds no colon', async t => {
  t.throws(() => swapped(`Basic ${base64(`${PH}:x`)}`, USER, opened('a:b')), UNFIT)
  t.equal(swapped(`Basic ${base64(`x:${PH}`)}`, PASSWORD, opened('a:b')), `Basic ${base64('x:a:b')}`)
})

const HEADER_UNFIT = (text: string) => text === '' || /[\x00-\x1f\x7f]|^ | $/.test(text)
const ALL = [...NASTY_VALUES, ...EVERY_BYTE_VALUES]

t.test(`each of ${ALL.length} nasty values arrives byte for byte in a header, or is refused`, async t => {
  for (const bytes of ALL) {
    const text = bytes.toString('latin1')
    if (HEADER_UNFIT(text)) t.throws(() => swapped(`Bearer ${PH}`, AUTHORIZATION, opened(bytes)), UNFIT)
    else t.equal(swapped(`Bearer ${PH}`, AUTHORIZATION, opened(bytes)), `Bearer ${text}`)
  }
})

t.test(
  'each nasty value arrives byte for byte in Basic, and never moves the colon, or is refused',
  async t => {
    for (const bytes of ALL) {
      const text = bytes.toString('latin1')
      const unfit = text === '' || /[\x00-\x1f\x7f]/.test(text)
      const asUser = () => swapped(`Basic ${base64(`${PH}:pass`)}`, USER, opened(bytes))
      const asPassword = () => swapped(`Basic ${base64(`user:${PH}`)}`, PASSWORD, opened(bytes))

      if (unfit || text.includes(':')) t.throws(asUser, UNFIT)
      else t.equal(asUser(), `Basic ${base64(`${text}:pass`)}`)
      if (unfit) t.throws(asPassword, UNFIT)
      else t.equal(asPassword(), `Basic ${base64(`user:${text}`)}`)
    }
  },
)

const decodePercent = (text: string) =>
  text.replace(/%([0-9A-F]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))

t.test('each nasty value stays one value of the query, or is refused', async t => {
  for (const bytes of ALL) {
    const text = bytes.toString('latin1')
    const run = () => swappedPath(`/a?x=1&key=${PH}&y=%2F+`, query('key'), opened(bytes))
    if (text === '' || /[\x00-\x1f\x7f]/.test(text)) {
      t.throws(run, UNFIT)
      continue
    }
    const written = /^\/a\?x=1&key=([^&=#?+ ]*)&y=%2F\+$/.exec(run())?.[1]
    t.equal(decodePercent(written ?? ''), text)
  }
})

t.test('each nasty value stays one segment of the path, or is refused', async t => {
  for (const bytes of ALL) {
    const text = bytes.toString('latin1')
    const run = () => swappedPath(`/a%2Fb/bot${PH}/send?x=1`, PATH, opened(bytes))
    if (/[\x00-\x1f\x7f/\\]|\.\.|^\.?$/.test(text)) {
      t.throws(run, UNFIT)
      continue
    }
    const written = /^\/a%2Fb\/bot([^/?# \\;]*)\/send\?x=1$/.exec(run())?.[1]
    t.equal(decodePercent(written ?? ''), text)
  }
})

t.test('does not look again at what was put in (C4)', async t => {
  const values = new Map([
    [PH, opened(OTHER)],
    [OTHER, opened(PH)],
  ])
  const both = head([['Authorization', `Bearer ${PH}`]], `/${PH}/${OTHER}?a=${OTHER}`)
  const swaps = [swap(AUTHORIZATION), swap(PATH), swap(PATH, OTHER), swap(query('a'), OTHER)]

  const result = swapHead(both, swaps, values).head

  t.equal(result.headers[0]?.[1], `Bearer ${OTHER}`)
  t.equal(result.path, `/${OTHER}/${PH}?a=${PH}`)
})

t.test('returns the very head where there is nothing to swap', async t => {
  const plain = head([['Authorization', 'Bearer mine']], '/a?b=%zz&&=')

  t.equal(swapHead(plain, [], new Map()).head, plain)
})

t.test('changes the bytes of shape and placeholder and no other byte', async t => {
  const before = head(
    [
      ['HOST', 'api.example.com'],
      ['x-multi', 'a'],
      ['X-Multi', 'b'],
      ['AuthoriZation', `bEARER   sk_live_${PH}`],
      ['Cookie', 'a=b; c="d"'],
    ],
    '/a%2fb//c;p=1/%7e?b=2&b=1&c=+%20&&=',
  )

  const { head: after, forms } = swapHead(
    before,
    [swap(AUTHORIZATION)],
    withValue(opened('real', 'sk_live_')),
  )

  t.same(after, {
    ...before,
    headers: before.headers.map(([n, v]) => [n, v.replace(`sk_live_${PH}`, 'real')]),
  })
  t.same(forms, [])
})

t.test('the path takes a shape with it where one stands, and leaves other text (Telegram)', async t => {
  t.equal(swappedPath(`/bot${PH}/x`, PATH, opened('123:ABC')), '/bot123:ABC/x')
  t.equal(swappedPath(`/botsk_${PH}/x`, PATH, opened('123', 'sk_')), '/bot123/x')
  t.equal(swappedPath(`/a/${PH}${PH}.json`, PATH, opened('v')), '/a/vv.json')
})

t.test('swaps user and password of Basic and re-encodes only that header', async t => {
  const values = new Map([
    [PH, opened('the-user')],
    [OTHER, opened('the-password', 'ghp_')],
  ])
  const before = head([
    ['Authorization', `basic  ${base64(`${PH}:ghp_${OTHER}`)}`],
    ['X-Other', 'Zm9v'],
  ])

  const { head: after, forms } = swapHead(before, [swap(USER), swap(PASSWORD, OTHER)], values)

  t.same(after.headers, [
    ['Authorization', `basic  ${base64('the-user:the-password')}`],
    ['X-Other', 'Zm9v'],
  ])
  t.same(forms, [
    {
      sent: Buffer.from(base64('the-user:the-password')),
      original: Buffer.from(base64(`${PH}:ghp_${OTHER}`)),
    },
  ])
})

t.test('swaps the same placeholder at every place that the permit names', async t => {
  const before = head(
    [
      ['X-Api-Key', PH],
      ['Authorization', `token ${PH}`],
    ],
    `/${PH}?k=${PH}&l=${PH}`,
  )
  const locations: Location[] = [
    { in: 'header', name: 'x-api-key' },
    AUTHORIZATION,
    PATH,
    query('k'),
    query('l'),
  ]

  const { head: after } = swapHead(
    before,
    locations.map(each => swap(each)),
    withValue(opened('v&=')),
  )

  t.equal(after.path, '/v&=?k=v%26%3D&l=v%26%3D')
  t.same(
    after.headers.map(([, value]) => value),
    ['v&=', 'token v&='],
  )
})
