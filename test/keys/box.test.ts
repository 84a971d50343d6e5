/**
 * Sealed boxes and sealed versions: format, key commitment, binding, padding.
 */
import { createCipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { randomBytes } from '../../src/base/random.ts'
import { open } from '../../src/keys/aead.ts'
import { BOX_OVERHEAD, openBox, sealBox } from '../../src/keys/box.ts'
import { deriveBoxKeys } from '../../src/keys/derive.ts'
import { encodeFields, encodeNumber } from '../../src/keys/encode.ts'
import { sealVersion, targetsDigest, unlockVersion, type VersionBinding } from '../../src/keys/envelope.ts'

const aKey = () => createSecretKey(randomBytes(32))
const BINDING = { purpose: 'secret', associated: Buffer.from('associated') } as const

t.test('refuses every format but its own: each of the other 255 header bytes', async t => {
  const key = aKey()
  const box = sealBox(key, BINDING, Buffer.from('value'))

  for (let format = 0; format < 256; format++) {
    const changed = Buffer.from(box)
    changed[0] = format
    t.equal(
      openBox(key, BINDING, changed)?.toString(),
      format === 1 ? 'value' : undefined,
      `format ${format}`,
    )
  }
})

t.test('refuses a box with any one bit changed, or cut anywhere', async t => {
  const key = aKey()
  const box = sealBox(key, BINDING, Buffer.from('value'))

  for (let bit = 0; bit < box.length * 8; bit++) {
    const changed = Buffer.from(box)
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    t.equal(openBox(key, BINDING, changed), undefined, `bit ${bit}`)
  }
  for (let end = 0; end < box.length; end++) t.equal(openBox(key, BINDING, box.subarray(0, end)), undefined)
})

t.test('refuses another key, another purpose and other associated data', async t => {
  const key = aKey()
  const box = sealBox(key, BINDING, Buffer.from('value'))

  t.equal(openBox(aKey(), BINDING, box), undefined)
  t.equal(openBox(key, { ...BINDING, purpose: 'wrap' }, box), undefined)
  t.equal(openBox(key, { ...BINDING, associated: Buffer.from('other') }, box), undefined)
  t.equal(openBox(key, BINDING, box)?.toString(), 'value')
})

t.test('refuses under the second key a ciphertext that AES-GCM alone opens under two', async t => {
  const [first, second] = [aKey(), aKey()]
  const salt = randomBytes(32)
  const [one, two] = [deriveBoxKeys(first, 'secret', salt), deriveBoxKeys(second, 'secret', salt)]
  const body = forTwoKeys(one.key, two.key)
  const binding = { purpose: 'secret', associated: Buffer.alloc(0) } as const
  t.ok(open(one.key, binding.associated, body), 'the forgery is good: it opens under the first key')
  t.ok(open(two.key, binding.associated, body), 'and under the second')

  const box = Buffer.concat([Buffer.from([1]), salt, one.commitment, body])

  t.ok(openBox(first, binding, box))
  t.equal(openBox(second, binding, box), undefined)
})

const aBinding = (): VersionBinding => ({
  storeId: Buffer.alloc(16, 1),
  tenant: 'acme',
  secretId: Buffer.alloc(16, 2),
  version: 1,
  targets: ['https://a.example.com:443', 'https://b.example.com:443'],
  expiresAt: 1_800_000_000_000,
})
const CONTENT = { value: Buffer.from('sk_live_value'), placeholder: 'xclk_rplaceholder', shape: 'sk_live_' }
const opened = (key: KeyObject, binding: VersionBinding, sealed: Uint8Array) =>
  unlockVersion(key, binding, sealed)?.open()

t.test('refuses a version that is bound to anything else', async t => {
  const key = aKey()
  const sealed = sealVersion(key, aBinding(), CONTENT)
  const others: Partial<VersionBinding>[] = [
    { storeId: Buffer.alloc(16, 9) },
    { tenant: 'acmf' },
    { secretId: Buffer.alloc(16, 9) },
    { version: 2 },
    { targets: ['https://a.example.com:443'] },
    { targets: ['https://a.example.com:443', 'https://b.example.com:443', 'https://evil.example:443'] },
    { targets: ['https://a.example.com:443\nhttps://b.example.com:443'] },
    { expiresAt: 1_800_000_000_001 },
    { expiresAt: undefined },
    { expiresAt: 0 },
  ]

  for (const other of others) t.equal(opened(key, { ...aBinding(), ...other }, sealed), undefined)

  const content = opened(key, aBinding(), sealed)
  t.equal(
    content?.value.use(bytes => bytes.toString()),
    'sk_live_value',
  )
  t.same([content?.placeholder, content?.shape], ['xclk_rplaceholder', 'sk_live_'])
})

t.test('each opening gives a copy of its own, and disposing of one leaves the next whole', async t => {
  const key = aKey()
  const version = unlockVersion(key, aBinding(), sealVersion(key, aBinding(), CONTENT))

  const first = version?.open()
  const bytes = first?.value.use(bytes => bytes)
  first?.value.dispose()

  t.ok(
    bytes?.every(byte => byte === 0),
    'the bytes are zero after dispose()',
  )
  t.equal(
    version?.open()?.value.use(bytes => bytes.toString()),
    'sk_live_value',
  )
})

t.test('the length of a sealed version is a multiple of 64 and tells nothing more', async () => {
  const key = aKey()
  const text = fc.string({ maxLength: 32 })
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), text, text, (value, placeholder, shape) => {
      const latin = { value, placeholder: ascii(placeholder), shape: ascii(shape) }
      const sealed = sealVersion(key, aBinding(), latin)
      const content = opened(key, aBinding(), sealed)
      const same = content?.value.use(bytes => bytes.equals(value))
      return (
        (sealed.length - BOX_OVERHEAD) % 64 === 0 &&
        same === true &&
        content?.placeholder === latin.placeholder &&
        content.shape === latin.shape
      )
    }),
    { numRuns: 200 },
  )
})

t.test('refuses padding that is not zero, not needed, or lengths that lead outside', async t => {
  const key = aKey()
  const fields = encodeFields(['value', 'placeholder', ''])
  const padded = (bytes: number, fill = 0) => Buffer.concat([fields, Buffer.alloc(bytes, fill)])
  const lying = Buffer.from(padded(64 - fields.length))
  lying.writeUInt32BE(0xffffffff, 0)
  const outside = [padded(64 - fields.length, 1), padded(128 - fields.length), lying, fields.subarray(0, 10)]

  for (const content of outside) t.equal(opened(key, aBinding(), sealRaw(key, content)), undefined)
  t.ok(opened(key, aBinding(), sealRaw(key, padded(64 - fields.length))), 'the right padding opens')
})

t.test('two lists of fields never encode to the same bytes', async t => {
  const field = fc.array(fc.string({ maxLength: 3 }), { maxLength: 4 })
  fc.assert(
    fc.property(field, field, (a, b) => {
      const isSame = a.length === b.length && a.every((text, i) => text === b[i])
      return encodeFields(a).equals(encodeFields(b)) === isSame
    }),
  )
  t.equal(encodeNumber(undefined).length, 0)
  t.equal(encodeNumber(2 ** 53 - 1).toString('hex'), '001fffffffffffff')
})

function ascii(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?')
}

/** Seals content as it is, under the binding of aBinding(). */
function sealRaw(key: KeyObject, content: Uint8Array): Buffer {
  const { storeId, tenant, secretId, version, targets, expiresAt } = aBinding()
  const digest = targetsDigest(targets)
  const number = encodeNumber
  const fields = [Buffer.from([1]), storeId, tenant, secretId, number(version), digest, number(expiresAt)]
  return sealBox(key, { purpose: 'secret', associated: encodeFields(fields) }, content)
}

// AES-GCM without additional data: tag = E(J0) + c1*H^3 + c2*H^2 + lengths*H. c1 is free; c2 is solved for equal tags.
function forTwoKeys(first: KeyObject, second: KeyObject): Buffer {
  const nonce = randomBytes(12)
  const c1 = toNumber(randomBytes(16))
  const lengths = toNumber(Buffer.concat([Buffer.alloc(8), Buffer.from('0000000000000100', 'hex')]))
  const parts = [first, second].map(key => {
    const h = toNumber(block(key, Buffer.alloc(16)))
    const square = multiply(h, h)
    const mask = toNumber(block(key, Buffer.concat([nonce, Buffer.from([0, 0, 0, 1])])))
    return { square, rest: mask ^ multiply(c1, multiply(square, h)) ^ multiply(lengths, h) }
  })
  const [one, two] = parts
  if (one === undefined || two === undefined) throw new Error('two keys')
  const c2 = multiply(one.rest ^ two.rest, inverse(one.square ^ two.square))
  const tag = one.rest ^ multiply(c2, one.square)
  return Buffer.concat([nonce, toBytes(c1), toBytes(c2), toBytes(tag)])
}

function block(key: KeyObject, input: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false)
  return Buffer.concat([cipher.update(input), cipher.final()])
}

// GF(2^128) of NIST SP 800-38D section 6.3: the leftmost bit is the lowest power.
function multiply(x: bigint, y: bigint): bigint {
  let product = 0n
  let v = y
  for (let bit = 127n; bit >= 0n; bit--) {
    if ((x >> bit) & 1n) product ^= v
    v = v & 1n ? (v >> 1n) ^ (0xe1n << 120n) : v >> 1n
  }
  return product
}

// x^(2^128 - 2)
function inverse(x: bigint): bigint {
  let result = 1n << 127n
  let power = x
  for (let i = 0; i < 127; i++) {
    power = multiply(power, power)
    result = multiply(result, power)
  }
  return result
}

function toNumber(bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString('hex')}`)
}

function toBytes(number: bigint): Buffer {
  return Buffer.from(number.toString(16).padStart(32, '0'), 'hex')
}
