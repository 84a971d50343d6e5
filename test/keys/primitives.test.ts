/**
 * The primitives against Wycheproof's vectors, and the rules of the one AEAD.
 */
import { createSecretKey } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { randomBytes } from '../../src/base/random.ts'
import { open, seal } from '../../src/keys/aead.ts'
import { hkdf, mac } from '../../src/keys/derive.ts'

const VECTORS = join(import.meta.dirname, '..', '..', '..', 'shared', 'vectors', 'wycheproof')

type Case = { readonly tcId: number; readonly result: string } & Readonly<Record<string, string>>
type Group = { readonly tests: readonly Case[] } & Readonly<Record<string, unknown>>

const hex = (text: string | undefined) => Buffer.from(text ?? '', 'hex')

/** Runs over a vector file; without it the test is skipped by name, and in CI it fails. */
function withVectors(name: string, run: (t: Test, groups: readonly Group[]) => void): void {
  const file = join(VECTORS, name)
  const isMissing = !existsSync(file)
  const skip = isMissing && process.env.CI === undefined ? `${name} is not in ../shared/vectors` : false
  t.test(`agrees with Wycheproof: ${name}`, { skip }, async t => {
    if (isMissing) t.fail(`${name} is missing from ../shared/vectors, and CI must have it`)
    else run(t, JSON.parse(readFileSync(file, 'utf8')).testGroups)
  })
}

withVectors('aes_gcm_test.json', (t, groups) => {
  let ours = 0
  for (const group of groups) {
    const isOurs = group.keySize === 256 && group.ivSize === 96 && group.tagSize === 128
    for (const vector of group.tests) {
      const key = createSecretKey(hex(vector.key))
      const sealed = Buffer.concat([hex(vector.iv), hex(vector.ct), hex(vector.tag)])
      if (!isOurs) {
        if (group.keySize !== 256) t.throws(() => open(key, hex(vector.aad), sealed), `case ${vector.tcId}`)
        else t.equal(open(key, hex(vector.aad), sealed), undefined, `case ${vector.tcId}: another nonce size`)
        continue
      }
      ours++
      const expected = vector.result === 'valid' ? vector.msg : undefined
      t.equal(open(key, hex(vector.aad), sealed)?.toString('hex'), expected, `case ${vector.tcId}`)
    }
  }
  t.equal(ours, 66)
})

withVectors('hkdf_sha256_test.json', (t, groups) => {
  for (const vector of groups.flatMap(group => group.tests)) {
    const derive = () =>
      hkdf(createSecretKey(hex(vector.ikm)), hex(vector.salt), hex(vector.info), Number(vector.size))

    if (vector.result === 'valid') t.equal(derive().toString('hex'), vector.okm, `case ${vector.tcId}`)
    else t.throws(derive, `case ${vector.tcId}`)
  }
})

withVectors('hmac_sha256_test.json', (t, groups) => {
  for (const group of groups) {
    for (const vector of group.tests) {
      const tag = mac(createSecretKey(hex(vector.key)), hex(vector.msg))
      const isValid = tag.subarray(0, Number(group.tagSize) / 8).equals(hex(vector.tag))

      t.equal(isValid, vector.result === 'valid', `case ${vector.tcId}`)
    }
  }
})

const aKey = () => createSecretKey(randomBytes(32))

t.test('refuses every truncation of a sealed text, and every longer one', async t => {
  const key = aKey()
  const sealed = seal(key, Buffer.from('aad'), Buffer.from('value'))

  for (let length = 0; length < sealed.length; length++) {
    t.equal(open(key, Buffer.from('aad'), sealed.subarray(0, length)), undefined, `${length} bytes`)
  }
  t.equal(open(key, Buffer.from('aad'), Buffer.concat([sealed, Buffer.alloc(1)])), undefined)
})

t.test('refuses a sealed text with any one bit changed, or other associated data', async t => {
  const key = aKey()
  const sealed = seal(key, Buffer.from('aad'), Buffer.from('value'))

  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const changed = Buffer.from(sealed)
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    t.equal(open(key, Buffer.from('aad'), changed), undefined, `bit ${bit}`)
  }
  t.equal(open(key, Buffer.from('aae'), sealed), undefined)
})

t.test('takes no key but one of 32 bytes', async t => {
  for (const length of [16, 24, 31, 33]) {
    const key = createSecretKey(randomBytes(length))
    t.throws(() => seal(key, Buffer.alloc(0), Buffer.alloc(1)), { code: 'INTERNAL_BROKEN_INVARIANT' })
    t.throws(() => open(key, Buffer.alloc(0), Buffer.alloc(40)), { code: 'INTERNAL_BROKEN_INVARIANT' })
  }
})

t.test('never seals two texts under one nonce', async t => {
  const key = aKey()
  const nonces = new Set<string>()

  for (let i = 0; i < 20_000; i++) {
    nonces.add(seal(key, Buffer.alloc(0), Buffer.alloc(0)).subarray(0, 12).toString('hex'))
  }

  t.equal(nonces.size, 20_000)
})

t.test('opens what it sealed, in memory of its own', async t => {
  const key = aKey()

  const opened = open(key, Buffer.from('aad'), seal(key, Buffer.from('aad'), Buffer.from('value')))

  t.equal(opened?.toString(), 'value')
  t.equal(opened?.buffer.byteLength, 5, 'not a slice of a shared pool')
})
