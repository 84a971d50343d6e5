/**
 * The embedded store: the contract, and what is its own: restart, wrong key, cache, other processes, what lies in its files.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createWrappedKey } from '../../src/keys/wrapped-key.ts'
import { openEmbeddedStore } from '../../src/secrets/embedded.ts'
import type { Database } from '../../src/storage/database.ts'
import { insertKey } from '../../src/storage/meta.ts'
import { openSqlite } from '../../src/storage/sqlite.ts'
import { mintPlaceholder } from '../../src/swap/placeholder.ts'
import { secretStoreContract } from '../contract/secret-store.ts'
import { manualClock } from '../support/clock.ts'
import { findLeaks, makeCanary } from '../support/oracle.ts'
import { aProvider, aPut, aStore, openPlaceholder, ref } from '../support/store.ts'

secretStoreContract('embedded', (t, clock) => aStore(t, { clock }))

t.test('does not open with a root key that is not its own', async t => {
  const first = await aStore(t)
  await first.admin.put(aPut('acme/a', 'long enough'))
  await first.database.close()

  await t.rejects(aStore(t, { directory: first.directory }), { code: 'KEY_WRONG' })
})

t.test('opens after a restart with the same store id, secrets and placeholders', async t => {
  const first = await aStore(t)
  const { placeholder } = await first.admin.put(aPut('acme/a', 'long enough'))
  await first.database.close()

  const again = await aStore(t, first)

  t.equal(again.storeId, first.storeId)
  t.equal(await again.epoch(), 1)
  t.equal(await openPlaceholder(again, placeholder), 'long enough')
  t.equal(await again.admin.placeholder(ref('acme/a')), placeholder)
})

t.test('two openings of an empty database make one store', async t => {
  const first = await aStore(t)
  const database = openSqlite({ file: first.file })
  t.teardown(() => database.close())

  const second = await openEmbeddedStore({ database, provider: first.provider, clock: manualClock() })

  t.equal(second.storeId, first.storeId)
})

t.test('its files hold no value and no placeholder, in any encoding', async t => {
  const { admin, store, directory, database } = await aStore(t)
  const hidden: string[] = []
  for (let i = 0; i < 20; i++) {
    const canary = makeCanary('acme', `s${i % 7}`)
    hidden.push(canary, (await admin.put(aPut(`acme/s${i % 7}`, canary))).placeholder)
  }
  await admin.remove(ref('acme/s3'))
  await store.locate(hidden)
  const leaks = () =>
    readdirSync(directory).flatMap(name => {
      const bytes = readFileSync(join(directory, name))
      return hidden.flatMap(canary => findLeaks(bytes, canary).map(how => `${name}: ${how}`))
    })

  t.ok(readdirSync(directory).includes('store.db-wal'))
  t.same(leaks(), [])
  await database.close()
  t.same(leaks(), [], 'also after the checkpoint')
})

/** Counts what is asked of a database. */
function counting(): { wrap: (database: Database) => Database; count: () => number } {
  let asked = 0
  return {
    count: () => asked,
    wrap: database => ({
      ...database,
      query(sql, parameters) {
        asked++
        return database.query(sql, parameters)
      },
    }),
  }
}

t.test('a known and an unknown placeholder cost the same number of queries, cold and warm', async t => {
  const counter = counting()
  const { admin, store } = await aStore(t, { wrap: counter.wrap })
  const { placeholder } = await admin.put(aPut('acme/a', 'long enough'))
  const foreign = await admin.put(aPut('other/a', 'long enough'))
  const cost = async (asked: string) => {
    const before = counter.count()
    await store.locate([asked])
    return counter.count() - before
  }
  // The key of a tenant is unwrapped once in a process's life, before any of its placeholders is served.
  await store.locate([placeholder, foreign.placeholder])
  store.clear()

  for (const asked of [placeholder, foreign.placeholder, mintPlaceholder()]) {
    t.same([await cost(asked), await cost(asked), await cost(asked)], [1, 0, 0])
  }
})

t.test('a change by another process is noticed within half a second', async t => {
  const clock = manualClock()
  const mine = await aStore(t, { clock })
  const { placeholder } = await mine.admin.put(aPut('acme/a', 'first value'))
  const theirs = await aStore(t, mine)
  const unknown = mintPlaceholder()
  await mine.store.locate([placeholder, unknown])

  await theirs.admin.setState(ref('acme/a'), 'revoked')
  clock.advance(500)

  t.equal((await mine.store.locate([placeholder]))[0]?.state, 'revoked')
})

t.test('two processes that write in turn never lose a change', async t => {
  const mine = await aStore(t)
  const theirs = await aStore(t, mine)

  for (let i = 0; i < 10; i++)
    await (i % 2 === 0 ? mine : theirs).admin.put(aPut('acme/a', `value number ${i}`))
  await Promise.all([...new Array(10).keys()].map(i => mine.admin.put(aPut('acme/b', `value number ${i}`))))

  t.equal((await mine.admin.describe(ref('acme/a'))).ref.version, 10)
  t.equal((await theirs.admin.describe(ref('acme/b'))).ref.version, 10)
  t.equal(await theirs.epoch(), 20)
})

t.test('serves from its cache while the database cannot be asked, up to maxStale, then refuses', async t => {
  const clock = manualClock()
  let isBroken = false
  const breakable = (database: Database): Database => ({
    ...database,
    changedElsewhere() {
      if (isBroken) throw new Error('disk')
      return database.changedElsewhere()
    },
  })
  const { admin, store } = await aStore(t, { clock, wrap: breakable, maxStale: 10_000 })
  const { placeholder } = await admin.put(aPut('acme/a', 'long enough'))
  await store.locate([placeholder])
  isBroken = true

  clock.advance(10_000)
  t.equal(await openPlaceholder({ store }, placeholder), 'long enough')
  clock.advance(1000)
  await t.rejects(store.locate([placeholder]), { code: 'SECRET_STORE_UNAVAILABLE' })
  await t.rejects(store.get({ ...ref('acme/a'), version: 1 }, new AbortController().signal), {
    code: 'SECRET_STORE_UNAVAILABLE',
  })
  isBroken = false
  clock.advance(500)
  t.equal(await openPlaceholder({ store }, placeholder), 'long enough')
})

t.test('what is served while the database cannot be asked is marked, and counted as stale', async t => {
  const clock = manualClock()
  let isBroken = false
  const breakable = (database: Database): Database => ({
    ...database,
    changedElsewhere() {
      if (isBroken) throw new Error('disk')
      return database.changedElsewhere()
    },
  })
  const results: string[] = []
  const { admin, store } = await aStore(t, {
    clock,
    wrap: breakable,
    onCache: (cache, result) => void (cache === 'secret' && results.push(result)),
  })
  const { placeholder } = await admin.put(aPut('acme/a', 'long enough'))
  const serve = async () => {
    results.length = 0
    await store.locate([placeholder])
    const opened = await store.get({ ...ref('acme/a'), version: 1 }, new AbortController().signal)
    opened.value.dispose()
    return [opened.stale, ...results]
  }

  t.same(await serve(), [undefined, 'miss'])
  t.same(await serve(), [undefined, 'hit'])
  isBroken = true
  t.same(await serve(), [undefined, 'hit'], 'within the half second of the last answer')
  clock.advance(500)
  t.same(await serve(), [true, 'stale'])
  t.same(await serve(), [true, 'stale'])
  isBroken = false
  clock.advance(500)
  t.same(await serve(), [undefined, 'hit'])
})

t.test('with maxStale 0 nothing is served while the database cannot be asked', async t => {
  const clock = manualClock()
  const broken = (database: Database): Database => ({
    ...database,
    changedElsewhere: () => {
      throw new Error('disk')
    },
  })
  const { admin, store } = await aStore(t, { clock, wrap: broken, maxStale: 0 })
  const { placeholder } = await admin.put(aPut('acme/a', 'long enough'))

  clock.advance(500)

  await t.rejects(store.locate([placeholder]), { code: 'SECRET_STORE_UNAVAILABLE' })
})

t.test('its cache stays within its bytes, whatever is asked', async t => {
  const { admin, store } = await aStore(t, { cacheBytes: 64 * 1024 })
  const placeholders: string[] = []
  const many = [...new Array(60).keys()].map(i => aPut(`acme/s${i}`, 'x'.repeat(2000)))
  await admin.import(many, ({ results }) =>
    placeholders.push(...results.map(({ placeholder }) => placeholder)),
  )

  for (const placeholder of placeholders) await openPlaceholder({ store }, placeholder)
  for (let i = 0; i < 500; i++) await store.locate([mintPlaceholder()])

  t.ok(store.cachedBytes > 0 && store.cachedBytes <= 64 * 1024, String(store.cachedBytes))
  t.equal(await openPlaceholder({ store }, placeholders[0] ?? ''), 'x'.repeat(2000))
})

t.test('a row that was read before a change is not cached after it', async t => {
  const reached = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  let isHeld = false
  const slow = (database: Database): Database => ({
    ...database,
    async query(sql, parameters) {
      const rows = await database.query(sql, parameters)
      if (isHeld && sql.includes('placeholder_index = ?')) {
        reached.resolve()
        await released.promise
      }
      return rows
    },
  })
  const { admin, store } = await aStore(t, { wrap: slow })
  const { placeholder } = await admin.put(aPut('acme/a', 'long enough'))

  isHeld = true
  const early = store.locate([placeholder])
  await reached.promise
  isHeld = false
  await admin.setState(ref('acme/a'), 'revoked')
  released.resolve()
  await early

  t.equal((await store.locate([placeholder]))[0]?.state, 'revoked')
})

t.test('a wrong root key makes no second store of an existing one', async t => {
  const first = await aStore(t)
  await t.rejects(
    openEmbeddedStore({ database: first.database, provider: aProvider(), clock: manualClock() }),
    {
      code: 'KEY_WRONG',
    },
  )

  await t.resolves(
    openEmbeddedStore({ database: first.database, provider: first.provider, clock: manualClock() }),
  )
})

t.test('with a writer thread, a change is in force for the next call and survives a restart', async t => {
  const first = await aStore(t, { writer: 'thread' })
  const [kept, revoked] = [
    await first.admin.put(aPut('acme/kept', 'first value')),
    await first.admin.put(aPut('acme/revoked', 'second value')),
  ]
  t.equal(await openPlaceholder(first, revoked.placeholder), 'second value')

  await first.admin.setState(ref('acme/revoked'), 'revoked')
  const [info] = await first.store.locate([revoked.placeholder])
  await first.database.close()

  t.equal(info?.state, 'revoked')
  t.equal(await openPlaceholder(await aStore(t, first), kept.placeholder), 'first value')
})

t.test(
  'placeholders are found under an old index key, and move to the new one with their next version',
  async t => {
    const first = await aStore(t)
    const { placeholder } = await first.admin.put(aPut('acme/a', 'first value'))
    const place = { kind: 'store-key', storeId: Buffer.from(first.storeId, 'hex') } as const
    const name = { owner: 'placeholder-index', version: 2, createdAt: 0 }
    const { row } = await createWrappedKey(first.provider, place, name)
    await first.database.transaction([insertKey('store_keys', row)])
    await first.database.close()
    const counter = counting()
    const vault = await aStore(t, {
      directory: first.directory,
      provider: first.provider,
      wrap: counter.wrap,
    })

    t.equal(await openPlaceholder(vault, placeholder), 'first value', 'by the old key')
    await vault.admin.put(aPut('acme/a', 'second value'))
    t.equal(
      await openPlaceholder(
        await aStore(t, { directory: vault.directory, provider: vault.provider }),
        placeholder,
      ),
      'second value',
      'by the new key',
    )
    await vault.admin.remove(ref('acme/a'))
    const anew = await vault.admin.put(aPut('acme/a', 'third value'))
    t.equal(await openPlaceholder(vault, anew.placeholder), 'third value')

    t.equal(await openPlaceholder(vault, placeholder), undefined, 'what the old key led to is gone')
    const before = counter.count()
    await vault.store.locate([mintPlaceholder()])
    t.equal(counter.count() - before, 2, 'an unknown one is looked for under both')
  },
)
