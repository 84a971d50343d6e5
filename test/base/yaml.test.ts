/**
 * The hardened YAML reader: what it refuses (threat-model.md B6, B8), where it points, and edits that keep comments.
 */
import t from 'tap'
import { editYaml, formatFault, formatPath, MAX_YAML_SIZE, parseYaml } from '../../src/base/yaml.ts'

const faultsOf = (text: string) => parseYaml(text, { file: 'x.yaml' }).faults.map(formatFault)

const REFUSED: readonly (readonly [name: string, text: string, fault: string])[] = [
  ['an anchor', 'a: &x 1', 'x.yaml:1:7: a: anchors are not allowed'],
  ['an anchor on a key', '&x a: 1', 'x.yaml:1:4: anchors are not allowed'],
  [
    'an alias',
    'a: &x 1\nb: *x',
    "x.yaml:2:4: b: aliases are not allowed\n  hint: if text is meant, quote it: '*x'",
  ],
  [
    'a text that begins with a star',
    'b: [*/api]',
    "x.yaml:1:5: b[0]: aliases are not allowed\n  hint: if text is meant, quote it: '*/api'",
  ],
  ['a merge key', '<<: {a: 1}', 'x.yaml:1:1: merge keys are not allowed'],
  ['a core tag', 'a: !!str 1', 'x.yaml:1:10: a: tags are not allowed'],
  ['a tag on a mapping', 'a: !!map {b: 1}', 'x.yaml:1:10: a: tags are not allowed'],
  ['the non-specific tag', 'a: ! 1', 'x.yaml:1:6: a: tags are not allowed'],
  ['a tag on a key', '! a: 1', 'x.yaml:1:3: tags are not allowed'],
  [
    'an unknown tag, which yaml only warns of',
    '!!js/function x',
    'x.yaml:1:1: unresolved tag: tag:yaml.org,2002:js/function',
  ],
  ['a switch to YAML 1.1', '%YAML 1.1\n---\na: no', 'x.yaml:1:1: directives are not allowed'],
  ['a tag directive', '%TAG ! tag:x\n---\na: 1', 'x.yaml:1:1: directives are not allowed'],
  ['a duplicate key', 'a: 1\na: 2\n', 'x.yaml:2:1: map keys must be unique'],
  ['a second document', 'a: 1\n---\nb: 1', 'x.yaml:2:1: the file holds more than one document'],
  ['__proto__ as a key', '__proto__: {a: 1}', 'x.yaml:1:1: this key is not allowed'],
  ['constructor as a quoted key', '{"constructor": 1}', 'x.yaml:1:2: this key is not allowed'],
  ['prototype deep inside', 'a:\n  - prototype: 1', 'x.yaml:2:5: a[0]: this key is not allowed'],
  ['a collection as a key', '? [a]\n: 1', 'x.yaml:1:3: a key must be text'],
  ['a number as a key', '1: 2', 'x.yaml:1:1: a key must be text'],
]

for (const [name, text, fault] of REFUSED) {
  t.test(`refuses ${name}`, async t => {
    const parsed = parseYaml(text, { file: 'x.yaml' })

    t.ok(parsed.faults.map(formatFault).includes(fault), name)
    t.equal(parsed.data, undefined)
  })
}

t.test('refuses a text above the size bound and takes one just below', async t => {
  const filled = `# ${'x'.repeat(MAX_YAML_SIZE - 2)}`

  t.same(faultsOf(filled), [])
  t.same(faultsOf(`${filled}x`), [`x.yaml:1:1: the file is larger than ${MAX_YAML_SIZE} bytes`])
})

t.test('refuses nesting deeper than 20 levels and takes 20', async t => {
  for (const open of ['- ', '[', '{a: ']) {
    const close = { '- ': '', '[': ']', '{a: ': '}' }[open] ?? ''

    t.same(faultsOf(open.repeat(20) + 1 + close.repeat(20)), [], `20 of ${open}`)
    t.match(faultsOf(open.repeat(21) + 1 + close.repeat(21)).join(), /nests deeper than 20 levels/)
  }
})

t.test('ends early on nesting bombs, before the recursive composer sees them', async t => {
  for (const bomb of ['[', '- ', '? ', '{a: ', '!a [', '[&a ']) {
    const text = bomb.repeat(Math.floor(MAX_YAML_SIZE / bomb.length))
    const started = performance.now()

    const faults = faultsOf(text)

    t.match(faults.join(), /nests deeper/, bomb)
    t.ok(performance.now() - started < 1000, `${bomb} ends within the second that B6 allows`)
  }
})

t.test('reads the 1.2 core schema: no is text, an empty value is null', async t => {
  const parsed = parseYaml('a: 1.5\nb: no\nc: 0x1F\nd: ~\ne:\nf: "1"\ng: true\n', { file: 'x.yaml' })

  t.same(parsed.data, { a: 1.5, b: 'no', c: 31, d: null, e: null, f: '1', g: true })
})

t.test('gives mappings without a prototype', async t => {
  const parsed = parseYaml('a: {b: 1}', { file: 'x.yaml' })

  const data = parsed.data as { a: object }
  t.equal(Object.getPrototypeOf(data), null)
  t.equal(Object.getPrototypeOf(data.a), null)
  t.equal(({} as Record<string, unknown>).b, undefined)
})

t.test('collects all faults of a text', async t => {
  t.equal(faultsOf('a: &x 1\nb: *x\nc: !t 1\n__proto__: 1\n').length >= 4, true)
})

t.test('tells the place of a value, of its key, and of the nearest parent', async t => {
  const parsed = parseYaml('top:\n  - name: x\n    list: [1, 22]\n', { file: 'x.yaml' })

  t.same(parsed.position(['top', 0, 'list', 1]), { line: 3, column: 15 })
  t.same(parsed.position(['top', 0, 'list'], 'key'), { line: 3, column: 5 })
  t.same(parsed.position(['top', 0, 'missing', 'deeper']), { line: 2, column: 5 })
  t.same(parsed.position([]), { line: 1, column: 1 })
})

t.test('never throws, whatever prefix of a document it gets', async t => {
  const text =
    '# c\na: {b: [1, "x\\n"], c: \'y\'}\nd:\n  - |\n    block\n  - >-\n    folded\n? e\n: &f !g *h\n'

  for (let end = 0; end <= text.length; end++) {
    const parsed = parseYaml(text.slice(0, end), { file: 'x.yaml' })
    t.ok(parsed.faults.length > 0 || parsed.data !== undefined, `cut at ${end}`)
  }
})

t.test('writes paths as people do', async t => {
  t.equal(formatPath(['rules', 1, 'swap', 0, 'in']), 'rules[1].swap[0].in')
  t.equal(formatPath([]), '')
})

t.test('an edit keeps comments, order and blank lines', async t => {
  const text = '# top\ncallers:\n  # first\n  - id: a # why\n\n  # second\n  - id: b\nrules: [] # none yet\n'

  const edited = editYaml(text, editor => {
    editor.append(['callers'], { id: 'c' })
    editor.set(['version'], 1)
    editor.remove(['callers', 1])
  })

  t.match(edited, /# top\ncallers:\n {2}# first\n {2}- id: a # why\n/)
  t.match(edited, /\n {2}- id: c\n/)
  t.match(edited, /# none yet/)
  t.notMatch(edited, /id: b/)
  t.same(faultsOf(edited), [])
})

t.test('an edit of a text with faults is refused', async t => {
  t.throws(() => editYaml('a: &x 1', () => undefined), { code: 'CLI_USAGE' })
})
