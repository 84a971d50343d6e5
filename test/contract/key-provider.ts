/**
 * The contract of src/keys/provider.ts, for every provider.
 */
import t, { type Test } from 'tap'
import { randomBytes } from '../../src/base/random.ts'
import type { KeyProvider } from '../../src/keys/provider.ts'

export function keyProviderContract(name: string, make: (t: Test) => Promise<KeyProvider>): void {
  t.test(`key provider contract: ${name}`, async t => {
    t.test('does not unwrap with other associated data, or what was changed', async t => {
      const provider = await make(t)
      const wrapped = await provider.wrap(randomBytes(32), Buffer.from('here'))

      await t.rejects(provider.unwrap(wrapped, Buffer.from('there')), { code: 'KEY_WRONG' })
      for (let at = 0; at < wrapped.length; at += 7) {
        const changed = Buffer.from(wrapped)
        changed[at] = (changed[at] ?? 0) ^ 0x80
        await t.rejects(provider.unwrap(changed, Buffer.from('here')), { code: 'KEY_WRONG' }, `byte ${at}`)
      }
    })

    t.test('does not unwrap what another root key wrapped', async t => {
      const [one, other] = [await make(t), await make(t)]
      const wrapped = await one.wrap(randomBytes(32), Buffer.from('here'))

      await t.rejects(other.unwrap(wrapped, Buffer.from('here')), { code: 'KEY_WRONG' })
      t.not(one.id, other.id)
    })

    t.test('never wraps a key to the same bytes twice, and never shows it', async t => {
      const provider = await make(t)
      const key = randomBytes(32)

      const [one, two] = [
        await provider.wrap(key, Buffer.alloc(0)),
        await provider.wrap(key, Buffer.alloc(0)),
      ]

      t.notOk(one.equals(two))
      t.notOk(one.includes(key.subarray(0, 8)))
    })

    t.test('gives back what it got, in memory of its own', async t => {
      const provider = await make(t)
      const key = randomBytes(32)

      const opened = await provider.unwrap(await provider.wrap(key, Buffer.from('here')), Buffer.from('here'))

      t.ok(opened.equals(key))
      t.equal(opened.buffer.byteLength, 32)
    })
  })
}
