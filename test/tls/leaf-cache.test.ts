import { X509Certificate } from 'node:crypto'
import type { SecureContext } from 'node:tls'
import t from 'tap'
import { days, minutes } from '../../src/base/clock.ts'
import { CloakroomError } from '../../src/base/errors.ts'
import { createLeafCache, type LeafCacheOptions } from '../../src/tls/leaf-cache.ts'
import { anAuthority } from '../support/certificates.ts'
import { manualClock } from '../support/clock.ts'

function aCache(options: Partial<LeafCacheOptions> = {}) {
  const clock = manualClock()
  const { authority } = anAuthority({ clock })
  const counts = { mints: 0, hits: 0, misses: 0, evictions: 0 }
  const cache = createLeafCache({
    authority,
    clock,
    onMint: () => counts.mints++,
    onCache: (_name, result) => (result === 'hit' ? counts.hits++ : counts.misses++),
    onEvict: () => counts.evictions++,
    ...options,
  })
  return { cache, clock, counts, authority }
}

function certificateOf(context: SecureContext): X509Certificate {
  return new X509Certificate((context.context as { getCertificate(): Buffer }).getCertificate())
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const cause = await promise.then(
    () => undefined,
    error => error,
  )
  return cause instanceof CloakroomError ? cause.code : String(cause)
}

t.test('new hosts beyond the burst are refused until the rate allows them', async t => {
  const { cache, clock, counts } = aCache({ mintRate: 2, mintBurst: 3 })
  for (const host of ['a.test', 'b.test', 'c.test']) await cache.contextFor(host)

  t.equal(await codeOf(cache.contextFor('d.test')), 'TLS_LEAF_REFUSED')
  await cache.contextFor('a.test') // known hosts cost nothing

  clock.advance(499)
  t.equal(await codeOf(cache.contextFor('d.test')), 'TLS_LEAF_REFUSED')
  clock.advance(1)
  await cache.contextFor('d.test')
  t.equal(counts.mints, 4)
})

t.test('a pause earns no more than the burst', async t => {
  const { cache, clock } = aCache({ mintRate: 2, mintBurst: 1 })
  clock.advance(minutes(10))
  await cache.contextFor('a.test')

  t.equal(await codeOf(cache.contextFor('b.test')), 'TLS_LEAF_REFUSED')
})

t.test('a refusal is not remembered', async t => {
  const { cache, clock } = aCache({ mintBurst: 0, mintRate: 1 })

  t.equal(await codeOf(cache.contextFor('a.test')), 'TLS_LEAF_REFUSED')
  t.equal(cache.size, 0)
  clock.advance(1000)
  t.equal(await codeOf(cache.contextFor('a.test')), 'TLS_LEAF_REFUSED') // the burst is the bound
})

t.test('an expired CA ends in its own error', async t => {
  const { cache, clock } = aCache()
  clock.advance(days(365))

  t.equal(await codeOf(cache.contextFor('a.test')), 'TLS_AUTHORITY_INVALID')
})

t.test('a hundred requests at once for one host mint once', async t => {
  const { cache, counts } = aCache()

  const contexts = await Promise.all(Array.from({ length: 100 }, () => cache.contextFor('a.test')))

  t.equal(new Set(contexts).size, 1)
  t.equal(counts.mints, 1)
  t.equal(counts.hits, 99)
})

t.test('a leaf is minted anew at half of its life, also when only the wall clock moved', async t => {
  const { cache, clock, counts } = aCache()
  const first = await cache.contextFor('a.test')

  clock.setWall(clock.now() + days(3.4))
  t.equal(await cache.contextFor('a.test'), first)
  clock.setWall(clock.now() + days(0.2))
  const renewed = await Promise.all(Array.from({ length: 100 }, () => cache.contextFor('a.test')))

  t.not(renewed[0], first)
  t.equal(new Set(renewed).size, 1)
  t.equal(counts.mints, 2)
})

t.test('the last days of a CA are lived in ever shorter leaves', async t => {
  const { cache, clock, counts, authority } = aCache()
  clock.advance(authority.notAfter - clock.now() - minutes(4))
  await cache.contextFor('a.test')

  clock.advance(minutes(1))
  await cache.contextFor('a.test')
  t.equal(counts.mints, 1)
  clock.advance(minutes(1))
  await cache.contextFor('a.test')
  t.equal(counts.mints, 2)
  clock.advance(minutes(2))
  t.equal(await codeOf(cache.contextFor('a.test')), 'TLS_AUTHORITY_INVALID')
})

t.test('the least recently used host goes first', async t => {
  const { cache, counts } = aCache({ max: 2 })
  await cache.contextFor('a.test')
  await cache.contextFor('b.test')
  await cache.contextFor('a.test')

  await cache.contextFor('c.test')
  await cache.contextFor('a.test')

  t.equal(cache.size, 2)
  t.equal(counts.evictions, 1)
  t.equal(counts.mints, 3)
})

t.test('no context speaks less than TLS 1.2', async t => {
  const { cache } = aCache()
  const native = (await cache.contextFor('a.test')).context as { getMinProto(): number }

  t.equal(native.getMinProto(), 0x0303)
})

t.test('after a change of CA every host gets a leaf of the new one', async t => {
  const { cache, clock } = aCache()
  const before = certificateOf(await cache.contextFor('a.test'))
  const next = anAuthority({ clock, commonName: 'Next' })

  cache.replaceAuthority(next.authority)
  const after = certificateOf(await cache.contextFor('a.test'))

  t.notOk(before.verify(new X509Certificate(next.certificatePem).publicKey))
  t.ok(after.verify(new X509Certificate(next.certificatePem).publicKey))
})
