/**
 * The store of the vectors, opened by this program: a format that has been written once stays readable.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { openKeyFile } from '../../src/keys/file.ts'
import { openSealed } from '../../src/keys/sealed-file.ts'
import { openSqlite } from '../../src/storage/sqlite.ts'
import { aDirectory } from '../support/directory.ts'
import { aStore, openPlaceholder, ref } from '../support/store.ts'

type Row = Record<string, string | number | null>
const BLOBS = ['value', 'wrapped', 'id', 'placeholder_index', 'mac', 'secret_id', 'sealed']
const TABLES = ['meta', 'store_keys', 'tenant_keys', 'secrets', 'secret_versions']
const vectors = JSON.parse(
  readFileSync(join(import.meta.dirname, '..', 'vectors', 'seal', 'store.json'), 'utf8'),
)

t.test('opens the store, the key file and the sealed file of the vectors', async t => {
  const directory = aDirectory(t)
  const keyFile = join(directory, 'root.key')
  writeFileSync(keyFile, vectors.keyFile, { mode: 0o400 })
  const provider = await openKeyFile(keyFile)
  fill(join(directory, 'store.db'))
  writeFileSync(join(directory, 'sealed'), Buffer.from(vectors.sealedFile.bytes, 'hex'), { mode: 0o400 })

  const vault = await aStore(t, { directory, provider })

  t.equal(provider.id, vectors.providerId)
  t.equal(await vault.epoch(), 5)
  const stripe = vectors.opened['acme/stripe/2']
  t.equal(hex(await openPlaceholder(vault, stripe.placeholder)), stripe.value)
  t.equal(await vault.admin.placeholder(ref('acme/stripe')), stripe.shape + stripe.placeholder)
  t.equal((await vault.admin.describe(ref('acme/short'))).state, 'disabled')
  const content = await openSealed(provider, { path: join(directory, 'sealed'), name: 'ca-key' })
  t.equal(content.toString('hex'), vectors.sealedFile.content)
})

t.test('the schema has the columns of the vectors and no others', async t => {
  const file = join(aDirectory(t), 'store.db')
  await openSqlite({ file }).close()
  const raw = new DatabaseSync(file)
  t.teardown(() => raw.close())

  for (const table of TABLES) {
    const columns = raw.prepare('SELECT name FROM pragma_table_info(?)').all(table)
    const known = columns.map(column => String(column.name))
    t.same(known.sort(), Object.keys(vectors[table][0]).sort(), table)
  }
})

function fill(file: string): void {
  openSqlite({ file }).close()
  const raw = new DatabaseSync(file)
  for (const table of TABLES) {
    for (const row of vectors[table] as Row[]) {
      const names = Object.keys(row)
      const marks = names.map(() => '?').join(', ')
      const values = names.map(name =>
        BLOBS.includes(name) ? Buffer.from(String(row[name]), 'hex') : (row[name] ?? null),
      )
      raw.prepare(`INSERT INTO ${table} (${names.join(', ')}) VALUES (${marks})`).run(...values)
    }
  }
  raw.close()
}

function hex(text: string | undefined): string | undefined {
  return text === undefined ? undefined : Buffer.from(text, 'latin1').toString('hex')
}
