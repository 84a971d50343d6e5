/**
 * docs/seal-format.md, read by somebody who has the page and node:crypto, and nothing of ours.
 */
import { createDecipheriv, createHash, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import t from 'tap'

type Column = string | number | null
type Row = Record<string, Column>
type Store = { readonly keyFile: string; readonly providerId: string } & Record<
  'meta' | 'store_keys' | 'tenant_keys' | 'secrets' | 'secret_versions',
  Row[]
>

// ---- the reader ----
const hex = (column: Column | undefined) => Buffer.from(String(column), 'hex')
const FORMAT = Buffer.from([1])
const NOTHING = Buffer.alloc(0)

function u64(n: Column | undefined): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(n ?? 0))
  return n === null ? NOTHING : bytes
}

function F(...fields: (Buffer | Column | undefined)[]): Buffer {
  return Buffer.concat(
    fields.flatMap(field => {
      const bytes = Buffer.isBuffer(field) ? field : Buffer.from(String(field))
      const length = Buffer.alloc(4)
      length.writeUInt32BE(bytes.length)
      return [length, bytes]
    }),
  )
}

const hkdf = (key: Buffer, salt: Buffer, info: string, n: number) =>
  Buffer.from(hkdfSync('sha256', key, salt, `cloakroom/1/${info}`, n))
const MAC = (key: Buffer, message: Buffer) => createHmac('sha256', key).update(message).digest()

function openBox(key: Buffer, purpose: string, associated: Buffer, box: Buffer): Buffer {
  if (box.length < 93 || box[0] !== 1) throw new Error('format')
  const okm = hkdf(key, box.subarray(1, 33), purpose, 64)
  if (!timingSafeEqual(okm.subarray(32), box.subarray(33, 65))) throw new Error('commitment')
  const cipher = createDecipheriv('aes-256-gcm', okm.subarray(0, 32), box.subarray(65, 77), {
    authTagLength: 16,
  })
  cipher.setAAD(associated).setAuthTag(box.subarray(-16))
  return Buffer.concat([cipher.update(box.subarray(77, -16)), cipher.final()])
}

function fields(bytes: Buffer, count: number): { fields: Buffer[]; rest: Buffer } {
  const found: Buffer[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    const end = at + 4 + bytes.readUInt32BE(at)
    found.push(bytes.subarray(at + 4, end))
    at = end
  }
  return { fields: found, rest: bytes.subarray(at) }
}

function readRootKey(text: string): Buffer {
  const [mark, key = '', check] =
    text
      .split('\n')
      .filter(line => line !== '' && !line.startsWith('#'))[0]
      ?.split(' ') ?? []
  if (mark !== 'cloakroom-root-key-v1' || crc32(`${mark} ${key}`).toString(16).padStart(8, '0') !== check)
    throw new Error('key file')
  return Buffer.from(key, 'base64url')
}

const wrappingKey = (root: Buffer) => hkdf(root, NOTHING, 'wrap', 32)
const storeIdOf = (store: Store) => hex(store.meta.find(row => row.name === 'store_id')?.value)

function unwrap(
  store: Store,
  kind: 'store-key' | 'tenant-key',
  owner: Column | undefined,
  version: Column | undefined,
): Buffer {
  const table = kind === 'store-key' ? store.store_keys : store.tenant_keys
  const row = table.find(row => row.owner === owner && row.version === version)
  const associated = F(
    FORMAT,
    kind,
    storeIdOf(store),
    row?.owner,
    u64(row?.version),
    row?.provider,
    u64(row?.created_at),
  )
  return openBox(wrappingKey(readRootKey(store.keyFile)), 'wrap', associated, hex(row?.wrapped))
}

function checkMac(store: Store, tenant: Column | undefined, row: Row, message: Buffer): void {
  const rowKey = hkdf(unwrap(store, 'tenant-key', tenant, row.key_version), NOTHING, 'row', 32)
  if (!timingSafeEqual(MAC(rowKey, message), hex(row.mac))) throw new Error('row')
}

function openVersion(store: Store, name: string): { value: string; placeholder: string; shape: string } {
  const [tenant, secretName, number] = name.split('/')
  const secret = store.secrets.find(row => row.tenant === tenant && row.name === secretName) ?? {}
  const version =
    store.secret_versions.find(row => row.secret_id === secret.id && row.version === Number(number)) ?? {}
  const id = storeIdOf(store)
  const targets = F(...String(version.targets).split('\n'))
  checkMac(
    store,
    tenant,
    secret,
    F(
      FORMAT,
      'secret',
      id,
      hex(secret.id),
      secret.tenant,
      secret.name,
      u64(secret.index_key),
      hex(secret.placeholder_index),
      secret.state,
      u64(secret.current_version),
      u64(secret.key_version),
      u64(secret.max_uses),
      u64(secret.uses_left),
      u64(secret.idle_expires_after),
      u64(secret.last_used_at),
      u64(secret.archived_at),
      u64(secret.held),
      secret.labels,
      u64(secret.created_at),
      u64(secret.updated_at),
      u64(secret.epoch),
    ),
  )
  checkMac(
    store,
    tenant,
    version,
    F(
      FORMAT,
      'version',
      id,
      secret.tenant,
      hex(version.secret_id),
      u64(version.version),
      version.stage,
      targets,
      u64(version.not_before),
      u64(version.expires_at),
      u64(version.key_version),
      u64(version.created_at),
      u64(version.epoch),
      hex(version.sealed),
    ),
  )
  const digest = createHash('sha256').update(targets).digest()
  const associated = F(
    FORMAT,
    id,
    secret.tenant,
    hex(secret.id),
    u64(version.version),
    digest,
    u64(version.expires_at),
  )
  const content = openBox(
    unwrap(store, 'tenant-key', tenant, version.key_version),
    'secret',
    associated,
    hex(version.sealed),
  )
  const {
    fields: [value, placeholder, shape],
    rest,
  } = fields(content, 3)
  if (content.length % 64 !== 0 || rest.length >= 64 || rest.some(byte => byte !== 0))
    throw new Error('padding')
  const index = MAC(unwrap(store, 'store-key', 'placeholder-index', secret.index_key), placeholder ?? NOTHING)
  if (!index.equals(hex(secret.placeholder_index))) throw new Error('index')
  return { value: String(value?.toString('hex')), placeholder: String(placeholder), shape: String(shape) }
}
// ---- end of the reader ----

const VECTORS = join(import.meta.dirname, '..', 'vectors', 'seal')
const read = (name: string) => JSON.parse(readFileSync(join(VECTORS, name), 'utf8'))

t.test('the reader opens every version of the store in the vectors', async t => {
  const { opened, ...store } = read('store.json')

  for (const [name, expected] of Object.entries(opened)) t.same(openVersion(store, name), expected, name)
  t.equal(Object.keys(opened).length, 4)
})

t.test('the reader refuses every change in the vectors', async t => {
  for (const change of read('refused.json').cases) {
    const store = read('store.json')
    const [tenant, name, version] = change.version.split('/')
    const secret = store.secrets.find((row: Row) => row.tenant === tenant && row.name === name)
    const isMeant = (row: Row) => row.secret_id === secret.id && row.version === Number(version)
    const row = change.table === 'secrets' ? secret : store.secret_versions.find(isMeant)
    if ('set' in change) row[change.column] = change.set
    else row[change.column] = flipped(row[change.column], change.flip)

    t.throws(() => openVersion(store, change.version), change.why)
  }
})

t.test('the reader checks the epoch and the provider id, and opens the sealed file', async t => {
  const store = read('store.json')
  const root = readRootKey(store.keyFile)
  const epoch = hex(store.meta.find((row: Row) => row.name === 'epoch').value)
  const message = F(FORMAT, 'epoch', storeIdOf(store), epoch.subarray(0, 8))
  const sealed = hex(store.sealedFile.bytes)
  const mark = Buffer.from('cloakroom-sealed-file-v1\n')
  const {
    fields: [wrapped = NOTHING],
    rest,
  } = fields(sealed.subarray(mark.length), 1)
  const associated = F(FORMAT, 'sealed-file', store.sealedFile.name)

  const fileKey = openBox(wrappingKey(root), 'wrap', associated, wrapped)

  t.same(MAC(unwrap(store, 'store-key', 'epoch', 1), message), epoch.subarray(8))
  t.equal(store.providerId, `file-${hkdf(root, NOTHING, 'key-id', 8).toString('hex')}`)
  t.same(sealed.subarray(0, mark.length), mark)
  t.equal(openBox(fileKey, 'file', associated, rest).toString('hex'), store.sealedFile.content)
})

function flipped(column: string, at: number): string {
  const bytes = hex(column)
  const index = at < 0 ? bytes.length + at : at
  bytes[index] = (bytes[index] ?? 0) ^ 1
  return bytes.toString('hex')
}
