/**
 * The resolver: permits in, opened secrets out, nothing opened left behind.
 */
import t from 'tap'
import { Permit, type Swap } from '../../src/model/decision.ts'
import { SecretValue } from '../../src/model/secret.ts'
import { createResolver } from '../../src/secrets/resolve.ts'
import type { OpenedSecret, SecretStore } from '../../src/secrets/store.ts'
import { manualClock } from '../support/clock.ts'
import { aPut, aStore, tenant } from '../support/store.ts'

const TERMS = { rule: 'r', redact: true, limits: undefined, observed: undefined }
const aSwap = (name: string, placeholder = name): Swap => ({
  placeholder,
  secret: { tenant: tenant('acme'), name, version: 1 },
  location: { in: 'header', name: 'authorization' },
})
const aPermit = (swaps: readonly Swap[]) => Permit.grant(TERMS, tenant('acme'), swaps)

type Step = {
  readonly value: SecretValue
  readonly answer: PromiseWithResolvers<OpenedSecret>
  signal: AbortSignal
}

/** A store whose answers a test gives, by name of the secret. */
function aSlowStore() {
  const steps = new Map<string, Step>()
  const store: Pick<SecretStore, 'get'> = {
    get(ref, signal) {
      const step = {
        value: new SecretValue(Buffer.from(ref.name)),
        answer: Promise.withResolvers<OpenedSecret>(),
        signal,
      }
      steps.set(ref.name, step)
      return step.answer.promise
    },
  }
  const open = (name: string, placeholder = name) => {
    const step = steps.get(name)
    step?.answer.resolve({ value: step.value, placeholder, shape: '' })
  }
  const isDisposed = (name: string) => steps.get(name)?.value.use(bytes => bytes.length) === 0
  return { store, steps, open, isDisposed }
}

const idle = () => new AbortController().signal
const turns = async () => {
  for (let i = 0; i < 10; i++) await Promise.resolve()
}

t.test('ends the wait after the timeout, and disposes of what comes too late', async t => {
  const clock = manualClock()
  const { store, steps, open, isDisposed } = aSlowStore()
  const resolving = createResolver({ store, timeout: 1000, clock }).resolve(
    aPermit([aSwap('a'), aSwap('b')]),
    idle(),
  )

  open('a')
  await turns()
  clock.advance(1000)

  await t.rejects(resolving, { code: 'SECRET_STORE_TIMEOUT', details: { waited: 1000 } })
  t.ok(steps.get('b')?.signal.aborted)
  open('b')
  await turns()
  t.ok(isDisposed('a'))
  t.ok(isDisposed('b'))
  t.equal(clock.pendingTimers(), 0)
})

t.test('ends the wait when the exchange ends, and disposes of what comes too late', async t => {
  const clock = manualClock()
  const exchange = new AbortController()
  const { store, open, isDisposed } = aSlowStore()
  const resolving = createResolver({ store, timeout: 1000, clock }).resolve(
    aPermit([aSwap('a')]),
    exchange.signal,
  )

  exchange.abort(new Error('gone'))

  await t.rejects(resolving, { message: 'gone' })
  open('a')
  await turns()
  t.ok(isDisposed('a'))
  t.equal(clock.pendingTimers(), 0)
})

t.test('asks nothing for an exchange that has ended already', async t => {
  const { store, steps } = aSlowStore()
  const resolver = createResolver({ store, timeout: 1000, clock: manualClock() })

  await t.rejects(resolver.resolve(aPermit([aSwap('a')]), AbortSignal.abort(new Error('gone'))), {
    message: 'gone',
  })

  t.equal(steps.size, 0)
})

t.test('disposes of all that it opened when one fails', async t => {
  const clock = manualClock()
  const { store, steps, open, isDisposed } = aSlowStore()
  const resolving = createResolver({ store, timeout: 1000, clock }).resolve(
    aPermit([aSwap('a'), aSwap('b')]),
    idle(),
  )

  open('a')
  steps.get('b')?.answer.reject(new Error('no'))

  await t.rejects(resolving, { message: 'no' })
  t.ok(isDisposed('a'))
  t.equal(clock.pendingTimers(), 0)
})

t.test('refuses a secret that is sealed for another placeholder', async t => {
  const { store, open, isDisposed } = aSlowStore()
  const resolver = createResolver({ store, timeout: 1000, clock: manualClock() })
  const resolving = resolver.resolve(aPermit([aSwap('a')]), idle())

  open('a', 'another placeholder')

  await t.rejects(resolving, { code: 'SECRET_TAMPERED' })
  t.ok(isDisposed('a'))
})

t.test('a permit that crosses tenants opens nothing', async t => {
  const { store, steps } = aSlowStore()
  const resolver = createResolver({ store, timeout: 1000, clock: manualClock() })
  const foreign = Permit.grant(TERMS, tenant('other'), [aSwap('a')])
  const nobody = Permit.grant(TERMS, undefined, [aSwap('a')])

  await t.rejects(resolver.resolve(foreign, idle()), { code: 'INTERNAL_BROKEN_INVARIANT' })
  await t.rejects(resolver.resolve(nobody, idle()), { code: 'INTERNAL_BROKEN_INVARIANT' })

  t.equal(steps.size, 0)
})

t.test('opens each secret once, all at the same time, and leaves no timer', async t => {
  const clock = manualClock()
  const { store, steps, open } = aSlowStore()
  const permit = aPermit([aSwap('a'), aSwap('b'), aSwap('a')])
  const resolving = createResolver({ store, timeout: 1000, clock }).resolve(permit, idle())
  t.same([...steps.keys()], ['a', 'b'], 'both are asked for before either has answered')

  open('b')
  open('a')
  const opened = await resolving

  t.same([...opened.keys()], ['a', 'b'])
  t.equal(clock.pendingTimers(), 0)
})

t.test('resolves a permit without swaps to nothing', async t => {
  const { store } = aSlowStore()

  const opened = await createResolver({ store, timeout: 1000, clock: manualClock() }).resolve(
    aPermit([]),
    idle(),
  )

  t.equal(opened.size, 0)
})

t.test('resolves over the embedded store', async t => {
  const { store, admin } = await aStore(t)
  const { placeholder } = await admin.put(aPut('acme/a', 'long enough', { shape: 'sk_' }))
  const resolver = createResolver({ store, timeout: 1000, clock: manualClock() })

  const opened = await resolver.resolve(aPermit([aSwap('a', placeholder.slice(3))]), idle())

  const secret = opened.get(placeholder.slice(3))
  t.equal(secret?.shape, 'sk_')
  t.equal(
    secret?.value.use(bytes => bytes.toString()),
    'long enough',
  )
})
