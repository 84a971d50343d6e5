/**
 * The policy in force: recorded before it counts, replaced as a whole or kept (security.md B9, K1).
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Policies } from '../../src/app/policies.ts'
import { CloakroomError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import type { Config } from '../../src/config/schema.ts'
import { STRIPE } from '../policy/support.ts'
import { manualClock } from '../support/clock.ts'

t.test('a policy that cannot be recorded is not put in force, neither the first nor the next', async t => {
  const file = join(t.testdir({ 'policy.yaml': STRIPE }), 'policy.yaml')
  let isFull = true
  const reloads: string[] = []
  const policies = new Policies({
    config: { policy: { files: [file] }, upstream: { allowAddresses: [] } } as unknown as Config,
    clock: manualClock(),
    log: silentLog,
    note: async () => {
      if (isFull) throw new CloakroomError('AUDIT_UNAVAILABLE', {})
    },
    onReload: result => reloads.push(result),
  })

  await t.rejects(policies.load(), { code: 'AUDIT_UNAVAILABLE' })
  t.throws(() => policies.current(), { code: 'POLICY_NOT_LOADED' })

  isFull = false
  await policies.load()
  const { hash } = policies.current()

  isFull = true
  writeFileSync(file, `${STRIPE}# another\n`)
  await t.rejects(policies.reload(), { code: 'AUDIT_UNAVAILABLE' })
  t.equal(policies.current().hash, hash)

  isFull = false
  await policies.reload()
  t.not(policies.current().hash, hash)
  t.same(reloads, ['failed', 'ok'])
})
