import fc from 'fast-check'
import t from 'tap'
import { createBodyGuard } from '../../src/swap/guard.ts'
import { mintPlaceholder } from '../../src/swap/placeholder.ts'
import { cuts, pieces } from '../support/naive-replace.ts'

const PH = mintPlaceholder()
const SEALED = `xclk_s${'aZ0-_'.repeat(9)}`
const typo = `${PH.slice(0, -1)}${PH.endsWith('0') ? '1' : '0'}`

/** What a guard lets through, and whether it stopped. */
function run(chunks: readonly Buffer[]): { found: boolean; passed: string } {
  const guard = createBodyGuard()
  let passed = ''
  for (const chunk of chunks) {
    const out = guard.push(chunk)
    if (out === 'found') return { found: true, passed }
    passed += Buffer.concat(out).toString('latin1')
  }
  return { found: false, passed: passed + Buffer.concat(guard.flush()).toString('latin1') }
}

const bytes = (text: string) => Buffer.from(text, 'latin1')
const oneByOne = (text: string) => Array.from(bytes(text), byte => Buffer.from([byte]))

t.test('stops at a placeholder at every way to cut the body in two and in three', async t => {
  for (const placeholder of [PH, SEALED]) {
    const body = bytes(`{"k":"${placeholder}"}`)
    for (const parts of [2, 3] as const) {
      for (const offsets of cuts(body.length, parts)) {
        const { found, passed } = run(pieces(body, offsets))
        if (!found || !'{"k":"'.startsWith(passed)) t.fail(`cut at ${offsets}: ${passed}`)
      }
    }
    const { found, passed } = run(oneByOne(body.toString()))
    t.equal(found, true)
    t.equal(passed, '{"k":"', 'not one byte of the placeholder was passed on')
  }
})

t.test('says found again for everything that comes later', async t => {
  const guard = createBodyGuard()

  t.equal(guard.push(bytes(PH)), 'found')
  t.equal(guard.push(bytes('more')), 'found')
  t.same(guard.flush(), [])
})

t.test('finds a placeholder behind look-alikes and false starts', async t => {
  for (const before of [
    'xclk_',
    'xclk_r',
    'xxclk_',
    'xclk_xclk_r',
    typo,
    PH.slice(0, 33),
    'xclk_sxx',
    'xclk_s-',
  ])
    for (const chunks of [[bytes(before + PH)], oneByOne(before + PH)])
      t.equal(run(chunks).found, true, `${before}, ${chunks.length} chunks`)
})

t.test('lets look-alikes pass whole: they are not placeholders (rulings.md 8)', async t => {
  for (const text of [
    typo,
    PH.toUpperCase(),
    PH.slice(0, 33),
    `xclk_s${'a'.repeat(42)}.`,
    `xclk_s${'a'.repeat(42)}`,
    'xclk_',
    'xclk_r',
    'xclkxclk_xclk_rxclk_s',
  ]) {
    t.same(run([bytes(text)]), { found: false, passed: text })
    t.same(run(oneByOne(text)), { found: false, passed: text }, 'byte by byte')
  }
})

t.test('holds back nothing but the start of what may become a placeholder', async t => {
  const guard = createBodyGuard()
  const push = (text: string) => {
    const out = guard.push(bytes(text))
    return out === 'found' ? out : Buffer.concat(out).toString()
  }

  t.equal(push('data: one\n\n'), 'data: one\n\n')
  t.equal(push('data: x'), 'data: ')
  t.equal(push('y'), 'xy')
  t.equal(push('xclk_rABC'), '')
  t.equal(push('!'), 'xclk_rABC!')
  t.equal(push('xclk_s-_'), '')
  t.equal(push('.'), 'xclk_s-_.')
  t.equal(push('xclk_q'), 'xclk_q')
})

t.test('passes an ordinary chunk on without copying it', async t => {
  const chunk = bytes('plain bytes')

  const [out] = createBodyGuard().push(chunk)

  t.equal(out instanceof Buffer && out.buffer === chunk.buffer, true)
})

t.test('keeps no memory of a chunk that its owner uses again', async t => {
  const guard = createBodyGuard()
  const chunk = bytes(PH.slice(0, 20))
  guard.push(chunk)

  chunk.fill(0)

  t.equal(guard.push(bytes(PH.slice(20))), 'found')
})

t.test('passes every byte of any body without a placeholder, however it is cut', async t => {
  const part = fc.oneof(
    fc.constantFrom('x', 'xc', 'xclk_', 'xclk_r', 'xclk_s', typo, PH.slice(0, 30), '_', 'r'),
    fc.string({ maxLength: 5 }),
  )
  fc.assert(
    fc.property(
      fc.array(part, { maxLength: 12 }),
      fc.array(fc.nat(200), { maxLength: 6 }),
      (parts, offsets) => {
        const body = Buffer.from(parts.join('\u00e9'))
        const cutAt = offsets.filter(offset => offset <= body.length).sort((a, b) => a - b)
        const result = run(pieces(body, cutAt))
        return !result.found && result.passed === body.toString('latin1')
      },
    ),
    { numRuns: 1000 },
  )
  t.pass()
})
