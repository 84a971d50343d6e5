/**
 * The first policy: recorded before it counts (threat-model.md B9, K1). A later one: test/policy/adopt.test.ts.
 */
import { join } from 'node:path'
import t from 'tap'
import { Policies } from '../../src/app/policies.ts'
import { CloakroomError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import type { Config } from '../../src/config/schema.ts'
import { STRIPE } from '../policy/support.ts'
import { manualClock } from '../support/clock.ts'

t.test('a first policy that cannot be recorded is not put in force', async t => {
  const file = join(t.testdir({ 'policy.yaml': STRIPE }), 'policy.yaml')
  let isFull = true
  const policies = new Policies({
    config: { policy: { files: [file] }, upstream: { allowAddresses: [] } } as unknown as Config,
    clock: manualClock(),
    log: silentLog,
    note: async () => {
      if (isFull) throw new CloakroomError('AUDIT_UNAVAILABLE', {})
    },
  })

  await t.rejects(policies.load(), { code: 'AUDIT_UNAVAILABLE' })
  t.throws(() => policies.current(), { code: 'POLICY_NOT_LOADED' })

  isFull = false
  await policies.load()
  t.equal(policies.current().rules.length, 1)
  await policies.close()
})
