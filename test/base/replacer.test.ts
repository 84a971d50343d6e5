import fc from 'fast-check'
import t from 'tap'
import { createReplacer, type Replacement } from '../../src/base/replacer.ts'
import { cuts, naiveReplace, pieces } from '../support/naive-replace.ts'

const replacement = (pattern: string, by: string): Replacement => ({
  pattern: Buffer.from(pattern, 'latin1'),
  by: Buffer.from(by, 'latin1'),
})

function streamed(replacements: readonly Replacement[], chunks: readonly Buffer[]): string {
  const stream = createReplacer(replacements).stream()
  const out = chunks.map(chunk => Buffer.from(stream.push(chunk)))
  return Buffer.concat([...out, stream.flush()]).toString('latin1')
}

t.test('refuses a pattern too short to search for', async t => {
  t.throws(() => createReplacer([replacement('a', 'b')]), { code: 'INTERNAL_BROKEN_INVARIANT' })
})

t.test('does not look again at what it put in', async t => {
  const { bytes, count } = createReplacer([replacement('ab', 'xaby'), replacement('xa', '!!')]).replaceAll(
    Buffer.from('abab'),
  )

  t.equal(bytes.toString(), 'xabyxaby')
  t.equal(count, 2)
})

t.test('returns the very bytes where nothing matches', async t => {
  const bytes = Buffer.from('nothing to see here')
  const replacer = createReplacer([replacement('secret', 'x')])

  t.equal(replacer.replaceAll(bytes).bytes, bytes)
  t.equal(replacer.stream().push(bytes).buffer, bytes.buffer)
})

t.test('takes the leftmost match, and the longest of those that start together', async t => {
  const patterns = [replacement('bcd', '2'), replacement('abc', '1'), replacement('abcdef', '3')]

  t.equal(createReplacer(patterns).replaceAll(Buffer.from('abcd bcdef abcdef')).bytes.toString(), '1d 2ef 3')
})

t.test('finds a pattern that begins inside a failed attempt', async t => {
  const patterns = [replacement('aaab', 'X'), replacement('abab', 'Y')]

  t.equal(createReplacer(patterns).replaceAll(Buffer.from('aaaaab abaabab')).bytes.toString(), 'aaX abaY')
})

t.test('gives the same at each of the ways to cut a text in two and in three', async t => {
  const patterns = [
    replacement('abcabd', '<1>'),
    replacement('abc', '<2>'),
    replacement('cabcab', '<3>'),
    replacement('bd-', '<4>'),
  ]
  const text = Buffer.from('xabcabcabd-abcabdabcab cabcabcabcabd-ab')
  const expected = naiveReplace(text, patterns).toString()

  for (const parts of [2, 3] as const) {
    for (const offsets of cuts(text.length, parts)) {
      if (streamed(patterns, pieces(text, offsets)) !== expected) t.fail(`cut at ${offsets}`)
    }
  }
  t.equal(streamed(patterns, pieces(text, Array.from(text.keys()))), expected, 'byte by byte')
})

t.test('holds back nothing but what may become a pattern', async t => {
  const stream = createReplacer([replacement('secret', '*'), replacement('retry', '+')]).stream()

  t.equal(stream.push(Buffer.from('data: hello\n\n')).toString(), 'data: hello\n\n')
  t.equal(stream.push(Buffer.from('data: sec')).toString(), 'data: ')
  t.equal(stream.push(Buffer.from('ond')).toString(), 'second')
  t.equal(stream.push(Buffer.from(' secre')).toString(), ' ')
  t.equal(stream.push(Buffer.from('t')).toString(), '*')
  t.equal(stream.flush().toString(), '')
  t.equal(stream.count, 1)
})

t.test('holds nothing back that a match has used up', async t => {
  const stream = createReplacer([replacement('abc', '*'), replacement('bcXYZ', '+')]).stream()

  t.equal(stream.push(Buffer.from('abcXY')).toString(), '*XY')
})

t.test('keeps no memory of a chunk that its owner uses again', async t => {
  const stream = createReplacer([replacement('secret', '*')]).stream()
  const chunk = Buffer.from('xsec')

  stream.push(chunk)
  chunk.fill(0)

  t.equal(stream.push(Buffer.from('ret')).toString(), '*')
})

t.test('overwrites its patterns and what it holds back when it is disposed of', async t => {
  const secret = replacement('secret', '*')
  const replacer = createReplacer([secret])
  const stream = replacer.stream()
  stream.push(Buffer.from('secre'))

  stream.dispose()
  replacer.dispose()

  t.same(secret.pattern, Buffer.alloc(6))
  t.equal(stream.flush().length, 0)
  t.equal(replacer.replaceAll(Buffer.from('secret')).count, 0)
})

t.test('agrees with a replacer too simple to be wrong, on any patterns, texts and cuts', async t => {
  // Two letters and long texts make overlaps, prefixes of each other and false starts the rule and not the exception.
  const word = (max: number) => fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 2, maxLength: max })
  const text = fc
    .array(fc.oneof(word(3), word(12)), { maxLength: 20 })
    .map(parts => Buffer.from(parts.join('')))
  const patterns = fc.array(fc.tuple(word(9), fc.constantFrom('', '1', 'ab', 'long replacement')), {
    minLength: 1,
    maxLength: 6,
  })
  fc.assert(
    fc.property(patterns, text, fc.array(fc.nat(60), { maxLength: 8 }), (rows, bytes, offsets) => {
      const unique = [...new Map(rows)].map(([pattern, by]) => replacement(pattern, by))
      const cutAt = offsets.filter(offset => offset <= bytes.length).sort((a, b) => a - b)
      return streamed(unique, pieces(bytes, cutAt)) === naiveReplace(bytes, unique).toString('latin1')
    }),
    { numRuns: 2000 },
  )
  t.pass()
})

t.test('agrees with it on arbitrary bytes and long patterns too', async t => {
  const bytes = fc.uint8Array({ minLength: 2, maxLength: 90 }).map(part => Buffer.from(part))
  fc.assert(
    fc.property(
      fc.array(bytes, { minLength: 1, maxLength: 4 }),
      fc.array(fc.oneof(bytes, fc.nat(3)), { maxLength: 8 }),
      fc.nat(100),
      (needles, parts, cut) => {
        const patterns = needles.map((pattern, i) => ({ pattern, by: Buffer.from(`<${i}>`) }))
        const text = Buffer.concat(
          parts.map(part => (typeof part === 'number' ? (needles[part] ?? Buffer.alloc(1)) : part)),
        )
        const offsets = [Math.min(cut, text.length)]
        return streamed(patterns, pieces(text, offsets)) === naiveReplace(text, patterns).toString('latin1')
      },
    ),
    { numRuns: 500 },
  )
  t.pass()
})
