import fc from 'fast-check'
import t from 'tap'
import {
  isPlaceholder,
  maskPlaceholder,
  mintPlaceholder,
  PLACEHOLDER_LENGTH,
  scanPlaceholders,
} from '../../src/swap/placeholder.ts'

// Published vectors (rulings.md 8), computed with Python's zlib: the fourth digit group shows the zero padding of the checksum.
const VECTORS = [
  'xclk_r00000000000000000000000cGZyq',
  'xclk_rzzzzzzzzzzzzzzzzzzzzzz1o8cGL',
  'xclk_r0123456789ABCDEFGHIJKL2haAhO',
  'xclk_rCloakroomTestVector0011PjsyP',
  'xclk_rPadVector000000000018800BK8J',
]
const [PH = ''] = VECTORS
const SEALED = `xclk_s${'aZ0-_'.repeat(9)}`

t.test('refuses look-alikes: another case, length, alphabet, checksum or text around', async t => {
  const flipped = `${PH.slice(0, -1)}r`

  for (const text of [
    '',
    'xclk_r',
    flipped,
    PH.slice(1),
    PH.slice(0, -1),
    `${PH}0`,
    ` ${PH}`,
    `${PH}\n`,
    PH.toUpperCase(),
    PH.replace('xclk_r', 'xclk_s'),
    PH.replace('0', '-'),
  ])
    t.equal(isPlaceholder(text), false, JSON.stringify(text))
})

t.test('a change of any one character breaks the checksum', async t => {
  for (let i = 6; i < PLACEHOLDER_LENGTH; i++) {
    const other = PH[i] === 'x' ? 'y' : 'x'

    t.equal(isPlaceholder(PH.slice(0, i) + other + PH.slice(i + 1)), false, `character ${i}`)
  }
})

t.test('accepts the published vectors', async t => {
  for (const vector of VECTORS) t.equal(isPlaceholder(vector), true, vector)
})

t.test('mints placeholders that differ, pass their own check and use the whole alphabet', async t => {
  const minted = Array.from({ length: 500 }, mintPlaceholder)

  t.equal(new Set(minted).size, 500)
  t.ok(minted.every(isPlaceholder))
  t.ok(minted.every(text => text.length === PLACEHOLDER_LENGTH))
  t.equal(new Set(minted.map(text => text.slice(6, 28)).join('')).size, 62)
})

t.test('masks a placeholder to its kind and four characters, and anything else to nothing', async t => {
  t.equal(maskPlaceholder(PH), 'xclk_r…GZyq')
  t.equal(maskPlaceholder('sk_live_this-is-no-placeholder-but-a-value'), '…')
  t.equal(maskPlaceholder(''), '…')
})

t.test('reports what starts like a placeholder and does not parse', async t => {
  const text = `a xclk_rNOPE xclk_s${'a'.repeat(42)} xclk_s${'a'.repeat(4097)}.`

  t.same(
    scanPlaceholders(text).map(match => match.placeholder),
    [undefined, undefined, undefined],
  )
})

t.test('passes over text that only shares the anchor', async t => {
  t.same(scanPlaceholders('xclk_ xclk_a xclk_R xclk xclk-r clk_r'), [])
})

t.test('ends a sealed placeholder at the first byte that is not base64url', async t => {
  const text = `<${SEALED}.${SEALED}>`

  t.same(scanPlaceholders(text), [
    { start: 1, end: 1 + SEALED.length, placeholder: SEALED },
    { start: 2 + SEALED.length, end: 2 + 2 * SEALED.length, placeholder: SEALED },
  ])
})

t.test('finds a placeholder right behind a malformed start and two side by side', async t => {
  const [a = '', b = ''] = VECTORS

  t.same(
    scanPlaceholders(`xclk_r${a}${b}x`).map(match => match.placeholder),
    [undefined, a, b],
  )
})

t.test('finds exactly the placeholders that were put into any text (threat-model.md C3)', async t => {
  const clean = fc.string({ maxLength: 20 }).filter(text => !text.includes('xclk_') && !text.endsWith('x'))
  fc.assert(
    fc.property(fc.array(fc.tuple(clean, fc.boolean()), { maxLength: 8 }), parts => {
      const minted: string[] = []
      let text = ''
      for (const [before, withOne] of parts) {
        text += `${before}|`
        if (!withOne) continue
        minted.push(mintPlaceholder())
        text += minted.at(-1)
      }
      const found = scanPlaceholders(text)
      return (
        found.length === minted.length &&
        found.every(
          (match, i) => match.placeholder === minted[i] && text.slice(match.start, match.end) === minted[i],
        )
      )
    }),
  )
  t.pass()
})
