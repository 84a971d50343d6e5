import fc from 'fast-check'
import t from 'tap'
import { createReplacer } from '../../src/base/replacer.ts'
import { SecretValue } from '../../src/model/secret.ts'
import { formsOf, SHORTEST_REDACTED } from '../../src/redact/forms.ts'
import { createRedactor, type SentSecret } from '../../src/redact/redactor.ts'
import { cuts, naiveReplace, pieces } from '../support/naive-replace.ts'
import { NASTY_VALUES } from '../support/nasty.ts'
import { findLeaks, makeCanary } from '../support/oracle.ts'

const PH = 'xclk_r0123456789ABCDEFGHIJKL2haAhO'
const OTHER = 'xclk_rCloakroomTestVector0011PjsyP'
const CANARY = makeCanary('acme', 'stripe')
const ODD = 'wJalr"XUt/K7\\MD+bPx RfiCY<é>&EX~'

const sent = (value: string | Buffer, placeholder = PH, shape = ''): SentSecret => ({
  value: new SecretValue(Buffer.from(value)),
  placeholder,
  shape,
})

function redact(secrets: readonly SentSecret[], chunks: readonly (Buffer | string)[]): string {
  const body = createRedactor(secrets, []).body()
  const out = chunks.map(chunk => Buffer.from(body.push(Buffer.from(chunk))))
  return Buffer.concat([...out, body.flush()]).toString('latin1')
}

const hexEach = (text: string, write: (code: string) => string) =>
  Array.from(Buffer.from(text), byte => write(byte.toString(16).padStart(2, '0'))).join('')
const formEncoded = (text: string) => new URLSearchParams({ a: text }).toString().slice(2)
const asciiJson = (text: string) =>
  JSON.stringify(text)
    .slice(1, -1)
    .replace(/[^\x00-\x7e]/g, character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)

const dotnetJson = (text: string) =>
  JSON.stringify(text)
    .slice(1, -1)
    .replace(/\\"|[&'+<>`]|[^\x00-\x7e]/g, part => {
      const code = part
        .charCodeAt(part.length - 1)
        .toString(16)
        .toUpperCase()
      return `\\u${code.padStart(4, '0')}`
    })
const asLatin1 = (text: string) => Buffer.from(text).toString('latin1')

// As independent encoders write a value: the redactor has code of its own for each.
const ECHOES: readonly [name: string, encode: (text: string) => string][] = [
  ['as it is', text => text],
  ['base64', text => Buffer.from(text).toString('base64')],
  ['base64 in a text, second of a group', text => Buffer.from(`a${text}tail`).toString('base64')],
  ['base64 in a text, third of a group', text => Buffer.from(`ab${text}tail`).toString('base64')],
  ['base64 in a text, first of a group', text => Buffer.from(`abc${text}tail`).toString('base64')],
  ['base64url', text => Buffer.from(text).toString('base64url')],
  ['base64url in a text', text => Buffer.from(`a${text}b`).toString('base64url')],
  ['hex', text => Buffer.from(text).toString('hex')],
  ['hex, upper case', text => Buffer.from(text).toString('hex').toUpperCase()],
  ['percent', text => encodeURIComponent(text)],
  ['percent, lower case', text => encodeURIComponent(text).replace(/%../g, code => code.toLowerCase())],
  [
    'percent, strict',
    text =>
      encodeURIComponent(text).replace(/[!'()*]/g, c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`),
  ],
  ['form', formEncoded],
  ['JSON', text => JSON.stringify(text).slice(1, -1)],
  ['JSON of PHP', text => JSON.stringify(text).slice(1, -1).replaceAll('/', '\\/')],
  [
    'JSON of Go',
    text =>
      asciiJson(text)
        .replace(/\\u00e9/g, 'é')
        .replace(/[<>&]/g, c => `\\u00${hexEach(c, x => x)}`),
  ],
  ['JSON of Python', asciiJson],
  ['JSON of .NET', dotnetJson],
  ['JSON of Python that read latin1', text => asciiJson(asLatin1(text))],
  ['JSON of .NET that read latin1', text => dotnetJson(asLatin1(text))],
  ['UTF-8 of a server that read latin1', text => JSON.stringify(asLatin1(text)).slice(1, -1)],
]

for (const [name, encode] of ECHOES) {
  t.test(`takes out a credential echoed as ${name}`, async t => {
    for (const value of [
      CANARY,
      ODD,
      ODD.replace('é', ''),
      'a'.repeat(SHORTEST_REDACTED),
      `${CANARY}x`,
      `${CANARY}xy`,
    ]) {
      const echo = encode(value)
      const out = redact([sent(value)], [`{"echo":"${echo}"}`])

      t.notMatch(out, echo)
      t.same(
        findLeaks(Buffer.from(out, 'latin1'), value).filter(leak => leak === 'raw'),
        [],
      )
    }
    t.same(
      findLeaks(`{"echo":"${encode(CANARY)}"}`, CANARY).length > 0,
      true,
      'the oracle knows this encoding',
    )
    t.same(findLeaks(redact([sent(CANARY)], [`{"echo":"${encode(CANARY)}"}`]), CANARY), [])
  })
}

t.test('does not touch a value shorter than eight bytes, or text that is only like it', async t => {
  const text = 'pass1 hunter2 hunter HUNTER22 retnuh22'

  t.equal(redact([sent('hunter2'), sent('pass1'), sent('hunter22', OTHER)], [text]), text)
})

t.test('puts the placeholder back in a form that decodes, where the whole value was encoded', async t => {
  const secret = [sent(CANARY, PH, 'sk_live_')]
  const shown = `sk_live_${PH}`

  t.equal(redact(secret, [CANARY]), shown)
  for (const value of [CANARY, `${CANARY}x`, `${CANARY}xy`]) {
    const secret = [sent(value, PH, 'sk_live_')]
    t.equal(redact(secret, [Buffer.from(value).toString('base64')]), Buffer.from(shown).toString('base64'))
    t.equal(
      redact(secret, [Buffer.from(value).toString('base64url')]),
      Buffer.from(shown).toString('base64url'),
    )
  }
  t.equal(redact(secret, [Buffer.from(CANARY).toString('hex')]), Buffer.from(shown).toString('hex'))
})

t.test('gives the caller its own Basic text back', async t => {
  const pair = (password: string) => Buffer.from(`user:${password}`).toString('base64')
  const redactor = createRedactor(
    [sent(CANARY)],
    [{ sent: Buffer.from(pair(CANARY)), original: Buffer.from(pair(PH)) }],
  )

  const { head, count } = redactor.head({
    status: 200,
    reason: 'OK',
    headers: [['X-Echo', `Basic ${pair(CANARY)}`]],
  })

  t.same(head.headers, [['X-Echo', `Basic ${pair(PH)}`]])
  t.equal(count, 1)
})

t.test(
  'looks at the reason, at names and values of headers and at trailers, and leaves the rest',
  async t => {
    const redactor = createRedactor([sent(CANARY)], [])
    const headers = [
      ['X-Echo', `a ${CANARY} b ${CANARY}`],
      [`x-${CANARY}`, 'x'],
      ['Location', `https://x.example/?key=${CANARY}`],
      ['Set-Cookie', 'a="b"'],
    ] as const

    const { head, count } = redactor.head({ status: 500, reason: `no ${CANARY}`, headers })

    t.equal(head.reason, `no ${PH}`)
    t.same(head.headers, [
      ['X-Echo', `a ${PH} b ${PH}`],
      [`x-${PH}`, 'x'],
      ['Location', `https://x.example/?key=${PH}`],
      ['Set-Cookie', 'a="b"'],
    ])
    t.equal(count, 5)
    t.same(redactor.headers([['X-T', CANARY]]), { headers: [['X-T', PH]], count: 1 })
  },
)

t.test('returns the very head and bytes where nothing is found', async t => {
  const redactor = createRedactor([sent(CANARY)], [])
  const head = { status: 200, reason: 'OK', headers: [['X-A', 'é\xff']] } as const
  const chunk = Buffer.from('plain')

  t.equal(redactor.head(head).head, head)
  t.equal(redactor.body().push(chunk).buffer, chunk.buffer)
})

t.test('tells several credentials of one exchange apart, also when one holds the other', async t => {
  const inner = 'inner-secret-value'
  const outer = `outer-${inner}-outer`

  const out = redact([sent(inner), sent(outer, OTHER)], [`${inner} ${outer} ${inner}`])

  t.equal(out, `${PH} ${OTHER} ${PH}`)
})

t.test('finds a credential in every form at every way to cut the answer in two', async t => {
  for (const [name, encode] of ECHOES) {
    const body = Buffer.from(`<${encode(ODD)}>${encode(ODD)}`)
    const whole = redact([sent(ODD)], [body])
    t.notMatch(whole, encode(ODD))
    for (const offsets of cuts(body.length, 2)) {
      if (redact([sent(ODD)], pieces(body, offsets)) !== whole) t.fail(`${name}, cut at ${offsets}`)
    }
    t.equal(redact([sent(ODD)], pieces(body, Array.from(body.keys()))), whole, `${name}, byte by byte`)
  }
})

t.test('finds a short credential at every way to cut the answer in three', async t => {
  const body = Buffer.from('a hunter22 aHVudGVyMjI= 68756e7465723232 hunter2')
  const whole = redact([sent('hunter22')], [body])

  for (const offsets of cuts(body.length, 3)) {
    if (redact([sent('hunter22')], pieces(body, offsets)) !== whole) t.fail(`cut at ${offsets}`)
  }
  t.equal(whole, `a ${PH} ${Buffer.from(PH).toString('base64')} ${Buffer.from(PH).toString('hex')} hunter2`)
})

t.test('an event of a stream is passed on at once, without waiting for the next (acceptance 42)', async t => {
  const body = createRedactor([sent(CANARY), sent(ODD)], []).body()

  for (const event of ['data: {"n":1}\n\n', 'data: [DONE]\n\n', ': ping\n\n']) {
    t.equal(body.push(Buffer.from(event)).toString(), event)
  }
})

t.test('agrees with a search too simple to be wrong, for any value, text and cut', async t => {
  const value = fc.uint8Array({ minLength: SHORTEST_REDACTED, maxLength: 24 }).map(part => Buffer.from(part))
  fc.assert(
    fc.property(value, fc.array(fc.nat(30), { maxLength: 6 }), fc.nat(300), (secret, choices, cut) => {
      const forms = formsOf(secret, Buffer.from(PH))
      const parts = choices.flatMap(choice => {
        const form = forms[choice % forms.length]?.pattern ?? Buffer.alloc(0)
        return [Buffer.from('-'), choice > 20 ? form.subarray(0, form.length / 2) : form]
      })
      const body = Buffer.concat(parts)
      const out = redact([sent(secret)], pieces(body, [Math.min(cut, body.length)]))
      return out === naiveReplace(body, forms).toString('latin1')
    }),
    { numRuns: 500 },
  )
  t.pass()
})

t.test('takes every nasty value of eight bytes or more out, whatever stands in it', async t => {
  for (const value of NASTY_VALUES.filter(bytes => bytes.length >= SHORTEST_REDACTED)) {
    const out = redact([sent(value)], [Buffer.concat([Buffer.from('<'), value, Buffer.from('>')])])
    t.equal(out, `<${PH}>`)
  }
})

t.test('reads the values when it is made, and keeps nothing of them when it is disposed of', async t => {
  const secret = sent(CANARY)
  const text = { sent: Buffer.from(`Basic-${CANARY}`), original: Buffer.from('x') }
  const redactor = createRedactor([secret], [text])
  secret.value.dispose()
  const body = redactor.body()
  t.equal(body.push(Buffer.from(CANARY)).toString(), PH)
  body.push(Buffer.from(CANARY.slice(0, 30)))

  redactor.dispose()

  t.ok(text.sent.every(byte => byte === 0))
  t.equal(body.flush().length, 0)
  t.equal(
    redactor.head({ status: 200, reason: CANARY, headers: [] }).count,
    0,
    'it has forgotten the credential',
  )
})

t.test('has no two equal patterns to search for in a plain key, and few of them', async t => {
  const forms = formsOf(Buffer.from(CANARY), Buffer.from(PH)).map(({ pattern }) => pattern.toString('latin1'))

  t.equal(new Set(forms).size, forms.length)
  t.ok(forms.length <= 8)
  t.doesNotThrow(() => createReplacer(formsOf(Buffer.from(ODD), Buffer.from(PH))))
})
