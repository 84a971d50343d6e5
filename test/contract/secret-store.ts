/**
 * The contract of src/secrets/store.ts, for every store.
 */
import t, { type Test } from 'tap'
import type { Clock } from '../../src/base/clock.ts'
import type { SecretAdmin, SecretStore } from '../../src/secrets/store.ts'
import { isPlaceholder, mintPlaceholder } from '../../src/swap/placeholder.ts'
import { manualClock } from '../support/clock.ts'
import { aPut, openPlaceholder, ref, tenant, withoutShape } from '../support/store.ts'

export type ContractStore = { readonly store: SecretStore; readonly admin: SecretAdmin }

export function secretStoreContract(
  name: string,
  make: (t: Test, clock: Clock) => Promise<ContractStore>,
): void {
  t.test(`secret store contract: ${name}`, async t => {
    refusals(t, make)
    life(t, make)
    listing(t, make)
  })
}

type Make = (t: Test, clock: Clock) => Promise<ContractStore>
const signal = () => new AbortController().signal

function refusals(t: Test, make: Make): void {
  t.test('refuses values that cannot be a credential, unless forced', async t => {
    const { admin } = await make(t, manualClock())
    const unfit = [
      'short',
      'with\rreturn',
      'with\nnewline',
      'with\0zero....',
      'tab\tinside',
      'delete\x7finside',
      ' outer space',
      'outer space ',
    ]

    for (const value of unfit) {
      await t.rejects(admin.put(aPut('acme/a', value)), { code: 'SECRET_INVALID' }, JSON.stringify(value))
      await t.resolves(admin.put(aPut('acme/a', value, { force: true })), JSON.stringify(value))
    }
  })

  t.test('refuses empty and overlong values and placeholders, also when forced', async t => {
    const { admin } = await make(t, manualClock())
    const never = ['', 'x'.repeat(65_537), mintPlaceholder(), `Bearer ${mintPlaceholder()}`]

    for (const value of never) {
      await t.rejects(admin.put(aPut('acme/a', value, { force: true })), { code: 'SECRET_INVALID' })
    }
    await t.resolves(admin.put(aPut('acme/a', 'x'.repeat(65_536))))
  })

  t.test('refuses names, shapes, targets and times that are not acceptable', async t => {
    const clock = manualClock()
    const { admin } = await make(t, clock)
    const faults = [
      { name: 'UPPER' },
      { name: '' },
      { name: 'a/b' },
      { shape: 'x'.repeat(33) },
      { shape: 'a b' },
      { shape: 'xclk_' },
      { shape: 'sk_XCLK_r' },
      { targets: [] },
      { targets: ['http://api.example.com'] },
      { targets: ['https://api.example.com/path'] },
      { targets: ['https://user@api.example.com'] },
      { targets: ['https://*.example.com'] },
      { targets: ['api.example.com'] },
      { expiresAt: clock.now() },
      { expiresAt: Number.NaN },
      { expiresAt: clock.now() + 1000, notBefore: clock.now() + 1000 },
      { notBefore: -1 },
    ]

    for (const fault of faults) {
      await t.rejects(
        admin.put(aPut('acme/a', 'long enough', fault)),
        { code: 'SECRET_INVALID' },
        JSON.stringify(fault),
      )
    }
    t.same(await admin.list({ limit: 10 }), [], 'nothing was put')
  })

  t.test('errors never quote a value', async t => {
    const { admin } = await make(t, manualClock())

    const cause = await admin.put(aPut('acme/a', 'CANARY\nCANARY')).catch((cause: unknown) => cause)

    t.notMatch(`${String(cause)}${JSON.stringify(cause)}`, 'CANARY')
  })

  t.test('knows no placeholder that it did not make', async t => {
    const { store, admin } = await make(t, manualClock())
    const { placeholder } = await admin.put(aPut('acme/a', 'long enough'))

    const found = await store.locate([mintPlaceholder(), placeholder, `${placeholder}x`, ''])

    t.same(
      found.map(info => info?.ref.name),
      [undefined, 'a', undefined, undefined],
    )
  })

  t.test('opens nothing that is disabled, revoked, removed, expired or not valid yet', async t => {
    const clock = manualClock()
    const { store, admin } = await make(t, clock)
    const open = async (name: string) => store.get({ ...ref(name), version: 1 }, signal())
    const refused = { code: 'SWAP_REFUSED' }
    for (const name of ['acme/disabled', 'acme/revoked', 'acme/removed'])
      await admin.put(aPut(name, 'long enough'))
    await admin.put(aPut('acme/expiring', 'long enough', { expiresAt: clock.now() + 1000 }))
    await admin.put(aPut('acme/early', 'long enough', { notBefore: clock.now() + 1000 }))
    for (const name of ['acme/disabled', 'acme/revoked', 'acme/removed', 'acme/expiring'])
      await t.resolves(open(name))

    await admin.setState(ref('acme/disabled'), 'disabled')
    await admin.setState(ref('acme/revoked'), 'revoked')
    await admin.remove(ref('acme/removed'))
    await t.rejects(open('acme/early'), refused)
    clock.advance(1000)

    for (const name of ['acme/disabled', 'acme/revoked', 'acme/removed', 'acme/expiring']) {
      await t.rejects(open(name), refused, name)
    }
    await t.resolves(open('acme/early'))
    await t.rejects(open('acme/never-there'), refused)
    await t.rejects(store.get({ ...ref('other/early'), version: 1 }, signal()), refused)
    await t.rejects(store.get({ ...ref('acme/early'), version: 2 }, signal()), refused)
  })

  t.test('opens nothing for who has gone away', async t => {
    const { store, admin } = await make(t, manualClock())
    await admin.put(aPut('acme/a', 'long enough'))

    await t.rejects(store.get({ ...ref('acme/a'), version: 1 }, AbortSignal.abort(new Error('gone'))), {
      message: 'gone',
    })
  })

  t.test('answers by name for secrets that are not there', async t => {
    const { admin } = await make(t, manualClock())
    const missing = { code: 'SECRET_NOT_FOUND' }

    await t.rejects(admin.describe(ref('acme/a')), missing)
    await t.rejects(admin.versions(ref('acme/a')), missing)
    await t.rejects(admin.placeholder(ref('acme/a')), missing)
    await t.rejects(admin.setState(ref('acme/a'), 'disabled'), missing)
    await t.rejects(admin.remove(ref('acme/a')), missing)
  })
}

function life(t: Test, make: Make): void {
  t.test('a revoked secret stays revoked, and takes no new version', async t => {
    const { admin } = await make(t, manualClock())
    await admin.put(aPut('acme/a', 'long enough'))
    await admin.setState(ref('acme/a'), 'revoked')

    await t.rejects(admin.setState(ref('acme/a'), 'active'), { code: 'SECRET_INVALID' })
    await t.rejects(admin.put(aPut('acme/a', 'another one')), { code: 'SECRET_INVALID' })
    t.equal((await admin.describe(ref('acme/a'))).state, 'revoked')
  })

  t.test('neither widens nor narrows targets unless told to', async t => {
    const { admin } = await make(t, manualClock())
    const [a, b, c] = ['https://a.example.com', 'https://b.example.com', 'https://c.example.com']
    await admin.put(aPut('acme/a', 'long enough', { targets: [a] }))

    await t.rejects(admin.put(aPut('acme/a', 'long enough', { targets: [a, b] })), {
      code: 'SECRET_TARGETS_WIDENED',
    })
    t.same((await admin.describe(ref('acme/a'))).ref.version, 1)
    const widened = await admin.put(aPut('acme/a', 'long enough', { targets: [b, b], widen: true }))
    await t.rejects(admin.put(aPut('acme/a', 'long enough', { targets: [b] })), {
      code: 'SECRET_TARGETS_NARROWED',
    })
    await t.rejects(admin.put(aPut('acme/a', 'long enough', { targets: [c], narrow: true })), {
      code: 'SECRET_TARGETS_WIDENED',
    })
    const same = await admin.put(aPut('acme/a', 'long enough', { targets: [b, a] }))
    const narrowed = await admin.put(aPut('acme/a', 'long enough', { targets: [b], narrow: true }))
    const replaced = await admin.put(
      aPut('acme/a', 'long enough', { targets: [c], narrow: true, widen: true }),
    )

    t.same(widened.targets, ['https://a.example.com:443', 'https://b.example.com:443'])
    t.same(widened.removed, [])
    t.same(same.targets, widened.targets)
    t.same(narrowed.targets, ['https://b.example.com:443'])
    t.same(narrowed.removed, ['https://a.example.com:443'])
    t.same(replaced.targets, ['https://c.example.com:443'])
  })

  t.test('an expiry outlives a rotation unless a new one is given', async t => {
    const clock = manualClock()
    const { admin } = await make(t, clock)
    const ends = clock.now() + 10_000
    await admin.put(aPut('acme/a', 'long enough', { expiresAt: ends }))

    t.equal((await admin.put(aPut('acme/a', 'second one'))).expiresAt, ends)
    t.equal((await admin.put(aPut('acme/a', 'third one', { expiresAt: null }))).expiresAt, undefined)
    await admin.put(aPut('acme/a', 'fourth one', { expiresAt: ends }))
    clock.advance(10_000)
    await t.rejects(admin.put(aPut('acme/a', 'fifth one')), { code: 'SECRET_INVALID' })
  })

  t.test(
    'a second put is a new version under the same placeholder, with the same targets and shape',
    async t => {
      const { store, admin } = await make(t, manualClock())
      const first = await admin.put(aPut('acme/a', 'first value', { shape: 'sk_live_' }))
      const again = { ...ref('acme/a'), value: Buffer.from('second value') }

      const second = await admin.put(again)

      t.equal(second.placeholder, first.placeholder)
      t.ok(isPlaceholder(withoutShape(first.placeholder)))
      t.match(first.placeholder, /^sk_live_xclk_r/)
      t.same(second, { ...first, ref: { ...first.ref, version: 2 } })
      t.equal(await openPlaceholder({ store }, withoutShape(second.placeholder)), 'second value')
      await t.rejects(admin.put({ ...again, shape: 'other_' }), { code: 'SECRET_INVALID' })
    },
  )

  t.test('an exchange that began before a new version finishes on its own version', async t => {
    const { store, admin } = await make(t, manualClock())
    await admin.put(aPut('acme/a', 'value number 1'))
    const [before] = await store.locate([withoutShape(await admin.placeholder(ref('acme/a')))])

    await admin.put(aPut('acme/a', 'value number 2'))
    const pinned = await store.get({ ...ref('acme/a'), version: before?.ref.version ?? 0 }, signal())

    t.equal(
      pinned.value.use(bytes => bytes.toString()),
      'value number 1',
    )
    await admin.put(aPut('acme/a', 'value number 3'))
    await t.rejects(
      store.get({ ...ref('acme/a'), version: 1 }, signal()),
      { code: 'SWAP_REFUSED' },
      'retired',
    )
  })

  t.test('keeps ten versions with their stages, newest first', async t => {
    const { admin } = await make(t, manualClock())
    for (let i = 1; i <= 12; i++) await admin.put(aPut('acme/a', `value number ${i}`))

    const versions = await admin.versions(ref('acme/a'))

    t.same(
      versions.map(({ version }) => version),
      [12, 11, 10, 9, 8, 7, 6, 5, 4, 3],
    )
    t.same(
      versions.slice(0, 4).map(({ stage }) => stage),
      ['current', 'previous', 'retired', 'retired'],
    )
  })

  t.test('removed and put anew, a secret has a new placeholder and the old one is unknown', async t => {
    const { store, admin } = await make(t, manualClock())
    const { placeholder } = await admin.put(aPut('acme/a', 'first value'))
    t.equal(await openPlaceholder({ store }, placeholder), 'first value')

    await admin.remove(ref('acme/a'))
    const anew = await admin.put(aPut('acme/a', 'second value'))

    t.equal(await openPlaceholder({ store }, placeholder), undefined)
    t.equal(await openPlaceholder({ store }, anew.placeholder), 'second value')
  })

  t.test('a change is in force for the very next call', async t => {
    const { store, admin } = await make(t, manualClock())
    const { placeholder } = await admin.put(aPut('acme/a', 'first value'))
    const state = async () => (await store.locate([placeholder]))[0]?.state
    t.equal(await state(), 'active')

    await admin.setState(ref('acme/a'), 'disabled')
    t.equal(await state(), 'disabled')
    await admin.setState(ref('acme/a'), 'active')
    t.equal(await state(), 'active')
  })

  t.test('every byte of a value comes back as it went in, each time in memory of its own', async t => {
    const { store, admin } = await make(t, manualClock())
    const value = Buffer.from([...new Array(256).keys()].reverse())
    await admin.put({ ...aPut('acme/a', ''), value, force: true })

    const [one, two] = [
      await store.get({ ...ref('acme/a'), version: 1 }, signal()),
      await store.get({ ...ref('acme/a'), version: 1 }, signal()),
    ]
    one.value.dispose()

    t.ok(two.value.use(bytes => bytes.equals(value)))
    t.equal(two.placeholder, await admin.placeholder(ref('acme/a')))
    t.equal(two.shape, '')
  })
}

function listing(t: Test, make: Make): void {
  t.test('shows metadata and never a value', async t => {
    const { admin } = await make(t, manualClock())
    await admin.put(aPut('acme/long', `CANARY${'x'.repeat(40)}Q3xZ`))
    await admin.put(aPut('acme/short', 'CANARY0123Q3xZ'))
    await admin.put(aPut('acme/pem', `CANARY${'x'.repeat(40)}----`))

    const shown = [
      await admin.list({ limit: 10 }),
      await admin.describe(ref('acme/short')),
      await admin.versions(ref('acme/long')),
    ]
    const long = await admin.describe(ref('acme/long'))

    t.notMatch(JSON.stringify([shown, long]), 'CANARY')
    t.equal(long.masked, '••••••••Q3xZ')
    t.equal((await admin.describe(ref('acme/short'))).masked, '••••••••')
    t.equal((await admin.describe(ref('acme/pem'))).masked, '••••••••')
    t.match(long.maskedPlaceholder, /^xclk_r….{4}$/)
  })

  t.test('lists page by page in order, for one tenant or all', async t => {
    const { admin } = await make(t, manualClock())
    for (const name of ['b/1', 'a/2', 'a-b/1', 'a/1', 'c/1', 'a/10'])
      await admin.put(aPut(name, 'long enough'))

    const seen: string[] = []
    for (let after: string | undefined; ; after = seen.at(-1)) {
      const page = await admin.list({ limit: 2, ...(after === undefined ? {} : { after }) })
      if (page.length === 0) break
      seen.push(...page.map(item => `${item.ref.tenant}/${item.ref.name}`))
    }

    t.same(seen, ['a/1', 'a/10', 'a/2', 'a-b/1', 'b/1', 'c/1'])
    t.same(
      (await admin.list({ tenant: tenant('a'), limit: 9 })).map(item => item.ref.name),
      ['1', '10', '2'],
    )
    t.same(await admin.tenants(), [
      { tenant: 'a', secrets: 3 },
      { tenant: 'a-b', secrets: 1 },
      { tenant: 'b', secrets: 1 },
      { tenant: 'c', secrets: 1 },
    ])
  })

  t.test('imports many, also the same name twice, and tells what is durable', async t => {
    const { store, admin } = await make(t, manualClock())
    const names = [...new Array(150).keys()].map(i => `t${i % 3}/s${i % 140}`)
    const placeholders = new Map<string, string>()
    const steps: number[] = []

    const done = await admin.import(
      names.map((name, i) => aPut(name, `value number ${i}`)),
      progress => {
        steps.push(progress.done)
        for (const { ref, placeholder } of progress.results)
          placeholders.set(`${ref.tenant}/${ref.name}`, placeholder)
      },
    )

    t.equal(done, 150)
    t.equal(steps.at(-1), 150)
    t.ok(steps.length >= 3, 'in several transactions')
    for (const [name, placeholder] of placeholders) {
      t.equal(await openPlaceholder({ store }, placeholder), `value number ${names.lastIndexOf(name)}`)
    }
  })

  t.test('an import that meets a fault keeps what it told of, and nothing of the batch at fault', async t => {
    const { admin } = await make(t, manualClock())
    const many = [...new Array(100).keys()].map(i => aPut(`acme/s${i}`, i === 80 ? 'short' : 'long enough'))
    let told = 0

    await t.rejects(
      admin.import(many, ({ done }) => {
        told = done
      }),
      { code: 'SECRET_INVALID' },
    )

    t.ok(told > 0 && told <= 80)
    t.equal((await admin.list({ limit: 1000 })).length, told)
  })
}
