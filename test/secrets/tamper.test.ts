/**
 * Somebody with the database and without the keys: every column flipped, every pair of rows transplanted, 100 % refused.
 */
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { aPut, aStore, openPlaceholder, type TestStore } from '../support/store.ts'

type Value = null | number | bigint | string | Uint8Array
type Row = Record<string, Value>
type Column = { readonly table: string; readonly column: string }
type FullStore = TestStore & { readonly placeholders: readonly string[] }

const TENANTS = 5
const SECRETS = 5

/** Five tenants with five secrets each, every one with a value and a target of its own. */
async function aFullStore(t: Test): Promise<FullStore> {
  const vault = await aStore(t)
  const requests = [...new Array(TENANTS * SECRETS).keys()].map(i => {
    const [owner, name] = [Math.floor(i / SECRETS), i % SECRETS]
    const times = name === 1 ? { expiresAt: 2_000_000_000_000 + i, notBefore: 1000 + i } : {}
    const more = { ...times, targets: [`https://h${i}.example.com`] }
    return aPut(`t${owner}/s${name}`, `value of ${owner} ${name}`, more)
  })
  const placeholders: string[] = []
  await vault.admin.import(requests, ({ results }) =>
    placeholders.push(...results.map(result => result.placeholder)),
  )
  return { ...vault, placeholders }
}

/** Every column of the tables that secrets lie in. */
function columnsOf(raw: DatabaseSync): readonly Column[] {
  return ['secrets', 'secret_versions', 'tenant_keys'].flatMap(table =>
    raw
      .prepare('SELECT name FROM pragma_table_info(?)')
      .all(table)
      .map(row => ({ table, column: String(row.name) })),
  )
}

/** What the data path gives for placeholders now: the value, or `refused`. */
async function served(vault: FullStore, which = [...vault.placeholders.keys()]): Promise<readonly string[]> {
  vault.store.clear()
  const answers: string[] = []
  for (const i of which) {
    const opened = openPlaceholder(vault, vault.placeholders[i] ?? '')
    answers.push(await opened.then(value => value ?? 'refused').catch(() => 'refused'))
  }
  return answers
}

/** The attacker's own connection: without our constraints, and in no need of durability. */
function openRaw(t: Test, file: string): DatabaseSync {
  const raw = new DatabaseSync(file)
  raw.exec('PRAGMA synchronous = OFF; DROP INDEX secrets_by_name; DROP INDEX secrets_by_placeholder')
  t.teardown(() => raw.close())
  return raw
}

/** Another process: nothing of the keys is in its memory yet. */
async function reopened(t: Test, vault: FullStore): Promise<FullStore> {
  const { directory, provider, placeholders } = vault
  return { ...(await aStore(t, { directory, provider })), placeholders }
}

/** The places in `placeholders` that a row has to do with: one secret's, or all of a tenant's. */
function concerned(raw: DatabaseSync, { table }: Column, row: Row): number[] {
  const owner = (tenant: unknown) => Number(String(tenant).slice(1))
  if (table === 'tenant_keys') return [...new Array(SECRETS).keys()].map(i => owner(row.owner) * SECRETS + i)
  const id = row.id ?? row.secret_id ?? null
  const secret = raw.prepare('SELECT tenant, name FROM secrets WHERE id = ?').get(id)
  return [owner(secret?.tenant) * SECRETS + owner(secret?.name)]
}

t.test('a value is never served from a row of which any column was changed', async t => {
  const vault = await aFullStore(t)
  const right = await served(vault)
  const raw = openRaw(t, vault.file)
  let changes = 0

  for (const at of columnsOf(raw)) {
    for (const row of raw.prepare(`SELECT * FROM ${at.table} LIMIT 3`).all()) {
      const affected = concerned(raw, at, row)
      const other = changed(row[at.column] ?? null)
      update(raw, at, row, other)
      const looked = await served(at.table === 'tenant_keys' ? await reopened(t, vault) : vault)
      update(raw, at, { ...row, [at.column]: other }, row[at.column] ?? null)

      changes++
      const expected = right.map((value, i) => (affected.includes(i) ? 'refused' : value))
      t.same(looked, expected, `${at.table}.${at.column}`)
    }
  }
  t.ok(changes > 90, `${changes} changes`)
  t.same(await served(vault), right, 'and all is as it was')
})

t.test('a value is never served from a row with a column of another row', async t => {
  const vault = await aFullStore(t)
  const right = await served(vault)
  const raw = openRaw(t, vault.file)
  let transplants = 0

  for (const at of columnsOf(raw)) {
    for (const [one, two] of pairs(raw.prepare(`SELECT * FROM ${at.table}`).all())) {
      if (sameValue(one[at.column], two[at.column])) continue
      const affected = [...concerned(raw, at, one), ...concerned(raw, at, two)]
      exchange(raw, at, one, two)
      const looked = await served(at.table === 'tenant_keys' ? await reopened(t, vault) : vault, affected)
      exchange(raw, at, swapped(at, one, two), swapped(at, two, one))

      transplants++
      if (looked.some(answer => answer !== 'refused')) t.fail(`${at.table}.${at.column}: ${looked}`)
    }
  }
  t.ok(transplants > 2000, `${transplants} transplants`)
  t.same(await served(vault), right, 'and all is as it was')
})

t.test('a deleted version, secret or tenant key is refused, never passed over', async t => {
  for (const table of ['secret_versions', 'secrets', 'tenant_keys']) {
    const vault = await aFullStore(t)
    const raw = openRaw(t, vault.file)
    raw.exec(`DELETE FROM ${table}`)

    t.ok(
      (await served(await reopened(t, vault))).every(answer => answer === 'refused'),
      table,
    )
  }
})

t.test('administration tells a changed row by name', async t => {
  const vault = await aFullStore(t)
  const raw = openRaw(t, vault.file)
  raw.exec("UPDATE secrets SET state = 'revoked' WHERE tenant = 't0' AND name = 's0'")
  const tampered = { code: 'SECRET_TAMPERED' }

  const list = vault.admin.list({ limit: 100 })

  await t.rejects(list, { ...tampered, details: { secret: 't0/s0' } })
  await t.rejects(vault.admin.put(aPut('t0/s0', 'long enough')), tampered)
})

t.test('an epoch that was set back is told at the start', async t => {
  const vault = await aFullStore(t)
  const raw = openRaw(t, vault.file)
  raw.prepare("UPDATE meta SET value = ? WHERE name = 'epoch'").run(Buffer.alloc(40))

  await t.rejects(reopened(t, vault), { code: 'SECRET_TAMPERED' })
  await t.rejects(vault.admin.put(aPut('t0/s0', 'long enough')), { code: 'SECRET_TAMPERED' })
})

t.test('a store id that was changed makes its keys useless', async t => {
  const vault = await aFullStore(t)
  const raw = openRaw(t, vault.file)
  raw.prepare("UPDATE meta SET value = ? WHERE name = 'store_id'").run(Buffer.alloc(16))

  await t.rejects(reopened(t, vault), { code: 'KEY_WRONG' })
})

function changed(value: Value): Value {
  if (value === null) return 1
  if (typeof value === 'string') return value === 'active' ? 'disabled' : `${value}x`
  if (!(value instanceof Uint8Array)) return Number(value) + 1
  const bytes = Buffer.from(value)
  bytes[0] = (bytes[0] ?? 0) ^ 1
  return bytes
}

function sameValue(a: Value | undefined, b: Value | undefined): boolean {
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0
  return a === b
}

function pairs(rows: readonly Row[]): readonly (readonly [Row, Row])[] {
  return rows.flatMap((one, i) => rows.slice(i + 1).map(two => [one, two] as const))
}

function update(raw: DatabaseSync, { table, column }: Column, row: Row, value: Value): void {
  const where = Object.keys(row).map(name => `${name} IS ?`)
  const sql = `UPDATE ${table} SET ${column} = ? WHERE ${where.join(' AND ')}`
  if (raw.prepare(sql).run(value, ...Object.values(row)).changes !== 1)
    throw new Error(`not one row: ${column}`)
}

function swapped({ column }: Column, row: Row, other: Row): Row {
  return { ...row, [column]: other[column] ?? null }
}

/** Exchanges one column of two rows, by way of a value that no row has: it may be part of a primary key. */
function exchange(raw: DatabaseSync, at: Column, one: Row, two: Row): void {
  const parked = parkedValue(one[at.column] ?? null)
  raw.exec('BEGIN')
  update(raw, at, one, parked)
  update(raw, at, two, one[at.column] ?? null)
  update(raw, at, { ...one, [at.column]: parked }, two[at.column] ?? null)
  raw.exec('COMMIT')
}

function parkedValue(value: Value): Value {
  if (typeof value === 'string') return `${value} parked`
  return value instanceof Uint8Array ? Buffer.concat([value, Buffer.from('parked')]) : 987_654_321
}
