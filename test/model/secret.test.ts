/**
 * The one type that holds a value: nothing prints it, and disposing of it overwrites it.
 */
import { format, inspect } from 'node:util'
import t from 'tap'
import { SecretValue } from '../../src/model/secret.ts'

const TEXT = 'sk_live_of_nobody_1234567890'

t.test('no way of printing or copying a value shows its bytes', async t => {
  const value = new SecretValue(Buffer.from(TEXT))
  const holder = { value }
  const shown: Record<string, string> = {
    template: `${value}`,
    concatenation: `a ${String(value)}`,
    JSON: JSON.stringify(holder),
    inspect: inspect(holder, { depth: 9, showHidden: true, getters: true }),
    '%s': format('%s', value),
    '%o': format('%o', holder),
    '%O': format('%O', value),
    '%j': format('%j', holder),
    members: JSON.stringify(Object.entries(Object.getOwnPropertyDescriptors(value))),
    clone: inspect(structuredClone(value)),
  }

  for (const [how, text] of Object.entries(shown)) {
    for (const encoding of ['latin1', 'hex', 'base64'] as const)
      t.notOk(text.includes(Buffer.from(TEXT).toString(encoding)), `${how}, ${encoding}`)
    t.notMatch(text, /115,\s*107/, `${how}, as numbers`)
  }
  t.equal(shown.template, '[secret]')
  t.equal(shown.JSON, '{"value":"[secret]"}')
})

t.test('disposing of a value overwrites the memory that it took over', async t => {
  const bytes = Buffer.from(TEXT)
  const value = new SecretValue(bytes)

  value.dispose()

  t.ok(bytes.equals(Buffer.alloc(TEXT.length)))
  t.equal(
    value.use(left => left.length),
    0,
  )
})
