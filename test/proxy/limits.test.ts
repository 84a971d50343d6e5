/**
 * Rates, counts at one time and guesses: whose they are, and that what is taken is given back once.
 */
import t from 'tap'
import { minutes, seconds } from '../../src/base/clock.ts'
import { Permit, type RuleLimits } from '../../src/model/decision.ts'
import { parseTenantId } from '../../src/model/tenant.ts'
import { GuessBudget, RuleLimiter } from '../../src/proxy/limits.ts'
import { manualClock } from '../support/clock.ts'

type Given = { readonly rule?: string; readonly tenant?: string; readonly swaps?: boolean }

/** What policy would give for a rule with these limits. */
function permitFor(
  limits: Partial<RuleLimits>,
  { rule = 'rule', tenant = 'acme', swaps = false }: Given = {},
) {
  const terms = {
    rule,
    redact: true,
    limits: { rate: undefined, burst: undefined, concurrency: undefined, ...limits },
    observed: undefined,
  }
  const owner = parseTenantId(tenant)
  if (owner === undefined) throw new Error('not a tenant')
  const secret = { tenant: owner, name: 'token', version: 1 }
  const swap = { placeholder: 'x', secret, location: { in: 'path' } } as const
  return Permit.grant(terms, owner, swaps ? [swap] : [])
}

const LIMITED = { code: 'POLICY_RATE_LIMITED' }

t.test('a rate is for each caller and rule apart, and fills up again with time', async t => {
  const clock = manualClock()
  const limiter = new RuleLimiter(clock)
  const slow = permitFor({ rate: 1, burst: 2 })

  limiter.take(slow, 'app')()
  limiter.take(slow, 'app')()

  t.throws(() => limiter.take(slow, 'app'), { ...LIMITED, details: { rule: 'rule', retryAfter: 1 } })
  t.doesNotThrow(() => limiter.take(slow, 'other'), 'another caller')
  t.doesNotThrow(() => limiter.take(permitFor({ rate: 1 }, { rule: 'second' }), 'app'), 'another rule')
  clock.advance(seconds(1))
  t.doesNotThrow(() => limiter.take(slow, 'app'))
  t.throws(() => limiter.take(slow, 'app'), LIMITED)
})

t.test('a tenant has a rate of its own only where a placeholder of it was shown', async t => {
  const limiter = new RuleLimiter(manualClock())
  const said = (tenant: string) => permitFor({ rate: 1, burst: 1 }, { tenant })
  const shown = (tenant: string) => permitFor({ rate: 1, burst: 1 }, { tenant, swaps: true })

  limiter.take(said('acme'), 'app')()
  limiter.take(shown('acme'), 'app')()

  t.throws(() => limiter.take(said('made-up'), 'app'), LIMITED)
  t.throws(() => limiter.take(shown('acme'), 'app'), LIMITED)
  t.doesNotThrow(() => limiter.take(shown('globex'), 'app'))
})

t.test('a place is taken once and given back once', async t => {
  const limiter = new RuleLimiter(manualClock())
  const two = permitFor({ concurrency: 2 })
  const first = limiter.take(two, 'app')
  limiter.take(two, 'app')

  t.throws(() => limiter.take(two, 'app'), LIMITED)
  first()
  first()
  limiter.take(two, 'app')
  t.throws(() => limiter.take(two, 'app'), LIMITED)
})

t.test('guesses are counted for each caller, and forgiven with time', async t => {
  const clock = manualClock()
  const budget = new GuessBudget(clock, 3)
  for (let i = 0; i < 3; i++) {
    budget.check('app')
    budget.spend('app')
  }

  t.throws(() => budget.check('app'), { code: 'SWAP_GUESSING' })
  t.doesNotThrow(() => budget.check('other'))
  clock.advance(minutes(1))
  t.doesNotThrow(() => budget.check('app'))
})
