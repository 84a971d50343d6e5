/**
 * The policy in force while files change and the audit trail cannot be written.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Policies } from '../../src/app/policies.ts'
import { CloakroomError } from '../../src/base/errors.ts'
import { createLog } from '../../src/base/log.ts'
import type { AuditFields } from '../../src/model/exchange.ts'
import { hashTexts } from '../../src/policy/compile.ts'
import { manualClock } from '../support/clock.ts'
import { policyFor, USUAL_POLICY, USUAL_RULE } from '../support/sidecar.ts'

const WITHOUT_GET = policyFor(USUAL_RULE.replace('GET, HEAD, ', ''))
const BAD = 'version: 1\nrules: nothing\n'

const turns = async () => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate)
}

type Noted = readonly [event: string, policy: unknown]

/** Policies over one file, with an audit trail that fails or hangs when told to. */
async function inHouse(t: {
  testdir(content: { 'policy.yaml': string }): string
  teardown(run: () => unknown): void
}) {
  const file = join(t.testdir({ 'policy.yaml': USUAL_POLICY }), 'policy.yaml')
  const clock = manualClock()
  const noted: Noted[] = []
  const fields: AuditFields[] = []
  const reloads: string[] = []
  const lines: string[] = []
  const audit: { mode: 'ok' | 'fail' | 'hang'; release: () => void } = {
    mode: 'ok',
    release: () => undefined,
  }
  const policies = new Policies({
    config: { policy: { files: [file] }, upstream: { allowAddresses: [] } },
    clock,
    log: createLog({
      level: 'debug',
      format: 'json',
      isTerminal: false,
      now: () => 0,
      write: line => void lines.push(line),
    }),
    async note(event, given) {
      if (audit.mode === 'fail') throw new CloakroomError('AUDIT_UNAVAILABLE', {})
      if (audit.mode === 'hang')
        await new Promise<void>(resolve => {
          audit.release = resolve
        })
      noted.push([event, given.policy])
      fields.push(given)
    },
    onReload: result => void reloads.push(result),
  })
  await policies.load()
  policies.watch()
  t.teardown(() => policies.close())
  const poll = async (until: () => boolean) => {
    const end = performance.now() + 10_000
    for (let i = 0; !until() && performance.now() < end; i++) {
      if (i % 200 === 0) clock.advance(2000) // now and then only: each is a look, and they queue
      await new Promise(setImmediate)
    }
  }
  return {
    policies,
    clock,
    audit,
    noted,
    fields,
    reloads,
    log: () => lines.join(''),
    write: (text: string) => writeFileSync(file, text),
    hashOf: (text: string) => hashTexts([{ file, text }]),
    poll,
    isInForce: (text: string) => policies.current().hash === hashTexts([{ file, text }]),
  }
}

t.test('the first policy is not in force when it cannot be recorded', async t => {
  const file = join(t.testdir({ 'policy.yaml': USUAL_POLICY }), 'policy.yaml')
  const policies = new Policies({
    config: { policy: { files: [file] }, upstream: { allowAddresses: [] } },
    clock: manualClock(),
    log: createLog({
      level: 'error',
      format: 'json',
      isTerminal: false,
      now: () => 0,
      write: () => undefined,
    }),
    note: () => Promise.reject(new CloakroomError('AUDIT_UNAVAILABLE', {})),
  })

  await t.rejects(policies.load(), { code: 'AUDIT_UNAVAILABLE' })

  t.equal(policies.holder.isLoaded(), false)
})

t.test(
  'a policy that meets an audit outage is in force at once, and recorded when the outage is over',
  async t => {
    const house = await inHouse(t)
    house.audit.mode = 'fail'

    house.write(WITHOUT_GET)
    await house.poll(() => house.isInForce(WITHOUT_GET))

    t.ok(house.isInForce(WITHOUT_GET))
    t.same(house.reloads, ['ok'], 'it is no bad policy')
    t.match(house.log(), /not recorded yet/)
    t.equal(house.noted.length, 1, 'the first one only')
    house.clock.advance(5000)
    await turns()
    t.equal(house.noted.length, 1)
    house.audit.mode = 'ok'
    house.clock.advance(1000)
    await turns()
    t.same(house.noted.slice(1), [['policy.loaded', house.hashOf(WITHOUT_GET)]])
    house.clock.advance(5000)
    await turns()
    t.equal(house.noted.length, 2, 'once')
  },
)

t.test('a reload that cannot be recorded does not fail, and is recorded later', async t => {
  const house = await inHouse(t)
  house.audit.mode = 'fail'
  house.write(WITHOUT_GET)

  const summary = await house.policies.reload()

  t.equal(summary.hash, house.hashOf(WITHOUT_GET))
  t.ok(house.isInForce(WITHOUT_GET))
  house.audit.mode = 'ok'
  house.clock.advance(1000)
  await turns()
  t.same(house.noted[1], ['policy.loaded', house.hashOf(WITHOUT_GET)])
})

t.test('a change that is taken back while its record waits ends with the last content in force', async t => {
  const house = await inHouse(t)
  house.audit.mode = 'hang'
  house.write(WITHOUT_GET)
  await house.poll(() => house.isInForce(WITHOUT_GET))

  house.write(USUAL_POLICY)
  await house.poll(() => house.isInForce(USUAL_POLICY))

  t.ok(house.isInForce(USUAL_POLICY))
  house.audit.mode = 'ok'
  house.audit.release()
  await turns()
  t.ok(house.isInForce(USUAL_POLICY))
  const [first, second] = [house.hashOf(USUAL_POLICY), house.hashOf(WITHOUT_GET)]
  t.same(
    house.noted.map(([, policy]) => policy),
    [first, second, first],
    'recorded in this order',
  )
})

t.test('a change that was read by a reload and then taken back is noticed', async t => {
  const house = await inHouse(t)
  house.write(WITHOUT_GET)
  await house.policies.reload()

  house.write(USUAL_POLICY)
  await house.poll(() => house.isInForce(USUAL_POLICY))

  t.ok(house.isInForce(USUAL_POLICY))
})

t.test('reloads and looks run one after another: each reads when the one before has adopted', async t => {
  for (const next of ['reload', 'look'] as const) {
    const house = await inHouse(t)
    const newest = `${USUAL_POLICY}# newest\n`
    house.write(WITHOUT_GET)
    house.policies.holder.onReplace(({ hash }) => {
      if (hash === house.hashOf(WITHOUT_GET)) house.write(newest)
    })

    const first = house.policies.reload()
    const second = next === 'reload' ? house.policies.reload() : house.clock.advance(2000)
    await Promise.all([first, second])
    const end = performance.now() + 5000
    while (!house.isInForce(newest) && performance.now() < end) await new Promise(setImmediate)

    t.ok(house.isInForce(newest), next)
  }
})

t.test('a bad policy is told as a fault until good content is there, also the old one', async t => {
  const house = await inHouse(t)
  house.audit.mode = 'fail'

  house.write(BAD)
  await house.poll(() => house.policies.fault !== undefined)
  t.match(house.policies.fault, /rules/)
  t.ok(house.isInForce(USUAL_POLICY))
  await t.rejects(house.policies.reload(), { code: 'POLICY_INVALID' })
  house.write(USUAL_POLICY)
  await house.poll(() => house.policies.fault === undefined)

  t.equal(house.policies.fault, undefined)
  t.equal(house.reloads.at(-1), 'ok')
  house.audit.mode = 'ok'
  house.clock.advance(1000)
  await turns()
  t.equal(house.noted[1]?.[0], 'policy.refused')
})

t.test('records that wait have a bound, and the next says how many were left out', async t => {
  const house = await inHouse(t)
  house.audit.mode = 'fail'
  for (let i = 0; i < 130; i++) {
    house.write(`${USUAL_POLICY}# ${i}\n`)
    await house.policies.reload()
  }

  house.audit.mode = 'ok'
  house.clock.advance(1000)
  await turns()

  t.equal(house.noted.length, 101)
  t.match(house.fields[1], { left_out: 30 })
  t.equal(house.fields[2]?.left_out, undefined)
  t.equal(house.noted.at(-1)?.[1], house.hashOf(`${USUAL_POLICY}# 129\n`))
})

t.test('what waits is tried once more at the end', async t => {
  const house = await inHouse(t)
  house.audit.mode = 'fail'
  house.write(WITHOUT_GET)
  await house.policies.reload()
  house.audit.mode = 'ok'

  await house.policies.close()

  t.equal(house.noted[1]?.[1], house.hashOf(WITHOUT_GET))
  t.equal(house.clock.pendingTimers(), 0)
})
