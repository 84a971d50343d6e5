/**
 * Schema faults told to a person: every one, with its place and what was probably meant, and no text that may be a secret.
 */
import t from 'tap'
import * as v from 'valibot'
import { nearest, validate } from '../../src/base/validate.ts'
import { formatFault, parseYaml } from '../../src/base/yaml.ts'

const Schema = v.strictObject({
  version: v.literal(1),
  mode: v.optional(v.picklist(['deny', 'observe'])),
  rules: v.optional(
    v.array(
      v.strictObject({
        id: v.string(),
        burst: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
        sha256: v.optional(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, 'must be 64 hexadecimal digits'))),
        only: v.optional(v.union([v.string(), v.array(v.string())])),
      }),
    ),
  ),
})

function faultsOf(text: string): readonly string[] {
  const result = validate(Schema, parseYaml(text, { file: 'x.yaml' }))
  return result.kind === 'faults' ? result.faults.map(formatFault) : []
}

t.test('reports every fault at once, in the order of the file', async t => {
  const text =
    'version: 2\nmoed: deny\nrules:\n  - burst: 0\n    brust: 1\n    zzz: 1\n  - id: 5\n    only: [1]\nmode: Observ\n'

  t.same(faultsOf(text), [
    'x.yaml:1:10: version: expected 1, found 2',
    'x.yaml:2:1: unknown key "moed"\n  hint: did you mean "mode"?',
    'x.yaml:4:5: rules[0].id: is required',
    'x.yaml:4:12: rules[0].burst: must be at least 1',
    'x.yaml:5:5: rules[0]: unknown key "brust"\n  hint: did you mean "burst"?',
    'x.yaml:6:5: rules[0]: unknown key "zzz"\n  hint: known here: id, burst, sha256, only',
    'x.yaml:7:9: rules[1].id: expected text, found a number',
    'x.yaml:8:12: rules[1].only[0]: expected text, found a number',
    'x.yaml:9:7: mode: expected "deny" or "observe", found "Observ"\n  hint: did you mean "observe"?',
  ])
})

t.test('never quotes a text outside a closed list: it could be a password in the wrong place', async t => {
  const canary = 'hunter2-hunter2-hunter2'

  const faults = faultsOf(
    `version: 1\nrules:\n  - id: a\n    sha256: ${canary}\n    burst: ${canary}\n`,
  ).join()

  t.match(faults, /64 hexadecimal digits/)
  t.match(faults, /expected a number, found text/)
  t.notMatch(faults, canary)
})

t.test('passes on the faults of the text itself', async t => {
  t.same(faultsOf('version: &x 1'), ['x.yaml:1:13: version: anchors are not allowed'])
})

t.test('says that an empty file is not a mapping', async t => {
  t.same(faultsOf(''), ['x.yaml:1:1: expected a mapping, found nothing'])
})

t.test('gives the value of a text without faults', async t => {
  const result = validate(Schema, parseYaml('version: 1\nrules: [{ id: a, burst: 2 }]', { file: 'x.yaml' }))

  t.same(result, { kind: 'valid', value: { version: 1, rules: [{ id: 'a', burst: 2 }] } })
})

t.test('suggests a word that is near and nothing that is not', async t => {
  t.equal(nearest('taget', ['id', 'target', 'methods']), 'target')
  t.equal(nearest('x', ['id', 'a']), undefined)
  t.equal(nearest('password', ['target', 'methods']), undefined)
})
