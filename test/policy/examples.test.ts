/**
 * The example policies: each compiles and passes the tests that it carries, and none of them opens for anybody as it stands.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadPolicy } from '../../src/policy/load.ts'

const EXAMPLES = join(import.meta.dirname, '..', '..', 'config', 'policies')

for (const name of readdirSync(EXAMPLES).filter(file => file.endsWith('.yaml'))) {
  t.test(`${name} compiles, passes its tests, and holds no password`, async t => {
    const policy = await loadPolicy([join(EXAMPLES, name)], { now: Date.UTC(2026, 10, 23) })

    t.ok(policy.rules.length > 0 && policy.tests.length >= 4)
    t.ok([...policy.callers.values()].every(({ passwordHashes }) => passwordHashes.length === 0))
  })
}
