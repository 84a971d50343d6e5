/**
 * The embedded database: permissions, schema, transactions, the lock on the state directory.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { readColumns } from '../../src/storage/columns.ts'
import { MIGRATIONS, migrate } from '../../src/storage/migrate.ts'
import { ensurePrivateDirectory } from '../../src/storage/private-directory.ts'
import { openSqlite } from '../../src/storage/sqlite.ts'
import { lockState } from '../../src/storage/state-lock.ts'
import { aDirectory } from '../support/directory.ts'

const aDatabase = (t: Test, file = join(aDirectory(t), 'store.db')) => {
  const database = openSqlite({ file })
  t.teardown(() => database.close().catch(() => undefined))
  return database
}
const META = 'INSERT INTO meta (name, value) VALUES (?, ?)'

t.test('refuses a directory or file that others may use', async t => {
  const directory = aDirectory(t)
  const file = join(directory, 'store.db')
  await aDatabase(t, file).close()

  for (const mode of [0o750, 0o705, 0o710, 0o777]) {
    chmodSync(directory, mode)
    t.throws(() => openSqlite({ file }), { code: 'STORAGE_UNSAFE' }, mode.toString(8))
    t.throws(() => lockState(directory), { code: 'STORAGE_UNSAFE' }, mode.toString(8))
  }
  chmodSync(directory, 0o700)
  chmodSync(file, 0o640)
  t.throws(() => openSqlite({ file }), { code: 'STORAGE_UNSAFE' })
  t.equal(statSync(file).mode & 0o777, 0o640, 'refused, not mended')
})

t.test('refuses a directory or file that is a link or of another kind', async t => {
  const directory = aDirectory(t)
  mkdirSync(join(directory, 'real'), { mode: 0o700 })
  symlinkSync(join(directory, 'real'), join(directory, 'link'))
  writeFileSync(join(directory, 'file'), '', { mode: 0o600 })
  symlinkSync(join(directory, 'file'), join(directory, 'store.db'))

  t.throws(() => openSqlite({ file: join(directory, 'link', 'store.db') }), { code: 'STORAGE_UNSAFE' })
  t.throws(() => openSqlite({ file: join(directory, 'store.db') }), { code: 'STORAGE_UNSAFE' })
  t.throws(() => ensurePrivateDirectory(join(directory, 'file')), { code: 'STORAGE_UNSAFE' })
  t.throws(() => openSqlite({ file: join(directory, 'missing', 'store.db') }), { code: 'STORAGE_UNSAFE' })
  ensurePrivateDirectory(join(directory, 'new'))
  t.equal(statSync(join(directory, 'new')).mode & 0o777, 0o700)
})

t.test('every file of the store is readable by its owner alone', async t => {
  const directory = aDirectory(t)
  const database = aDatabase(t, join(directory, 'store.db'))
  await database.transaction([{ sql: META, parameters: ['x', Buffer.from('y')] }])

  t.same(readdirSync(directory).sort(), ['store.db', 'store.db-shm', 'store.db-wal'])
  for (const name of readdirSync(directory))
    t.equal(statSync(join(directory, name)).mode & 0o777, 0o600, name)
})

t.test('refuses a store of a newer version, and a database of another program', async t => {
  const directory = aDirectory(t)
  const file = join(directory, 'store.db')
  await aDatabase(t, file).close()
  const raw = new DatabaseSync(file)
  raw.exec('PRAGMA user_version = 99')
  raw.close()
  const other = join(directory, 'other.db')
  const foreign = new DatabaseSync(other)
  foreign.exec('CREATE TABLE things (a)')
  foreign.close()
  chmodSync(other, 0o600)
  writeFileSync(join(directory, 'text'), 'this is not a database at all '.repeat(100), { mode: 0o600 })

  t.throws(() => openSqlite({ file }), {
    code: 'STORAGE_TOO_NEW',
    details: { found: 99, known: MIGRATIONS.length },
  })
  t.throws(() => openSqlite({ file: other }), { code: 'STORAGE_FAILED' })
  t.throws(() => openSqlite({ file: join(directory, 'text') }), { code: 'STORAGE_FAILED' })
})

t.test('an upgrade copies the file first, runs missing steps once, and undoes a step that fails', async t => {
  const directory = aDirectory(t)
  const file = join(directory, 'store.db')
  await aDatabase(t, file).close()
  const raw = new DatabaseSync(file)
  t.teardown(() => raw.close())
  const better = [...MIGRATIONS, 'CREATE TABLE more (a) STRICT'.replace('(a)', '(a TEXT)')]
  const version = () => Object.values(raw.prepare('PRAGMA user_version').get() ?? {})[0]

  t.throws(() => migrate(raw, file, [...MIGRATIONS, 'CREATE TABLE half (a TEXT); nonsense']))
  t.equal(version(), MIGRATIONS.length)
  t.equal(raw.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'half'").get()?.n, 0)
  const copy = migrate(raw, file, better)
  const again = migrate(raw, file, better)

  t.equal(version(), better.length)
  t.equal(again, undefined)
  t.ok(copy !== undefined && existsSync(copy))
  t.equal(statSync(copy ?? '').mode & 0o777, 0o600)
  const before = new DatabaseSync(copy ?? '', { readOnly: true })
  t.equal(Object.values(before.prepare('PRAGMA user_version').get() ?? {})[0], MIGRATIONS.length)
  before.close()
})

for (const writer of ['here', 'thread'] as const) {
  t.test(`a transaction that fails or conflicts anywhere changes nothing (writer: ${writer})`, async t => {
    const database = openSqlite({ file: join(aDirectory(t), 'store.db'), writer })
    t.teardown(() => database.close())
    const one = { sql: META, parameters: ['a', Buffer.from('1')] }
    const update = 'UPDATE meta SET value = ? WHERE name = ?'
    const nothing = { sql: update, parameters: [Buffer.from('2'), 'missing'], changes: 1 }
    const count = async () => (await database.query('SELECT count(*) FROM meta', []))[0]?.[0]

    t.equal(await database.transaction([one, nothing]), 'conflict')
    t.equal(await count(), 0)
    await t.rejects(database.transaction([one, one]), {
      code: 'STORAGE_FAILED',
      details: { what: 'constraint failed' },
    })
    t.equal(await count(), 0)
    t.equal(await database.transaction([one]), 'done')
    t.equal(await count(), 1)
  })
}

t.test('a writer on a thread leaves the event loop free while it waits for a lock', async t => {
  const file = join(aDirectory(t), 'store.db')
  const database = openSqlite({ file, writer: 'thread' })
  t.teardown(() => database.close())
  await database.transaction([{ sql: META, parameters: ['first', Buffer.from('1')] }])
  const raw = new DatabaseSync(file)
  t.teardown(() => raw.close())
  raw.exec('BEGIN IMMEDIATE')

  const written = database.transaction([{ sql: META, parameters: ['second', Buffer.from('2')] }])
  const names = await database.query('SELECT name FROM meta', [])
  raw.exec('COMMIT')

  t.same(names, [['first']], 'a read in the meantime is answered')
  t.equal(await written, 'done')
})

t.test('a writer thread that cannot open the file fails the write by name, and so the next', async t => {
  const file = join(aDirectory(t), 'store.db')
  const database = openSqlite({ file, writer: 'thread' })
  t.teardown(() => database.close())
  const write = () => database.transaction([{ sql: META, parameters: ['a', Buffer.from('1')] }])
  for (const name of [file, `${file}-wal`, `${file}-shm`]) rmSync(name, { force: true })
  mkdirSync(file)

  await t.rejects(write(), { code: 'STORAGE_FAILED' })
  await t.rejects(write(), { code: 'STORAGE_FAILED' })
})

t.test('errors never quote the values of a statement', async t => {
  const database = aDatabase(t)

  const cause = await database
    .transaction([{ sql: META, parameters: ['CANARY', 'CANARY' as unknown as Uint8Array] }])
    .catch((cause: unknown) => cause)

  t.notMatch(`${String(cause)} ${JSON.stringify(cause)}`, 'CANARY')
})

t.test('tells when another connection has written, and not when it has itself', async t => {
  const file = join(aDirectory(t), 'store.db')
  const [mine, theirs] = [aDatabase(t, file), aDatabase(t, file)]

  await mine.transaction([{ sql: META, parameters: ['a', Buffer.from('1')] }])
  t.equal(mine.changedElsewhere(), false)
  await theirs.transaction([{ sql: META, parameters: ['b', Buffer.from('1')] }])

  t.equal(mine.changedElsewhere(), true)
  t.equal(mine.changedElsewhere(), false)
})

t.test('reads go on while another connection writes', async t => {
  const file = join(aDirectory(t), 'store.db')
  const database = aDatabase(t, file)
  const raw = new DatabaseSync(file)
  t.teardown(() => raw.close())

  raw.exec('BEGIN EXCLUSIVE')

  t.same(await database.query('SELECT name FROM meta', []), [])
})

t.test('syncs the write-ahead log at every commit, and trusts nothing in the file', async t => {
  const directory = aDirectory(t)
  const database = aDatabase(t, join(directory, 'store.db'))
  const pragma = async (name: string) => (await database.query(`PRAGMA ${name}`, []))[0]?.[0]

  t.equal(await pragma('journal_mode'), 'wal')
  t.equal(await pragma('synchronous'), 2)
  t.equal(await pragma('trusted_schema'), 0)
  t.equal(await pragma('temp_store'), 2)
  await t.rejects(database.query('SELECT "no such column"', []), { code: 'STORAGE_FAILED' })
})

t.test('columns of a wrong type are refused', async t => {
  for (const value of ['x', -1, 1.5, 2n, null, Number.MAX_SAFE_INTEGER + 1]) {
    t.throws(() => readColumns([value]).number(), { code: 'STORAGE_FAILED' }, String(value))
  }
  for (const value of [1, null, Buffer.from('x')])
    t.throws(() => readColumns([value]).text(), { code: 'STORAGE_FAILED' })
  for (const value of [1, null, 'x']) t.throws(() => readColumns([value]).bytes(), { code: 'STORAGE_FAILED' })
  t.throws(() => readColumns([]).optionalNumber(), { code: 'STORAGE_FAILED' })
  t.equal(readColumns([null]).optionalNumber(), undefined)
})

t.test('one process holds a state directory, until it lets go', async t => {
  const directory = aDirectory(t)
  const first = lockState(directory)

  t.throws(() => lockState(directory), { code: 'STORAGE_LOCKED', details: { directory } })
  first.release()
  first.release()

  t.doesNotThrow(() => lockState(directory).release())
})

t.test('the lock of a process that was killed is free at once', async t => {
  const directory = aDirectory(t)
  const source = join(import.meta.dirname, '..', '..', 'src', 'storage', 'state-lock.ts')
  const script = `const { lockState } = await import(${JSON.stringify(source)}); lockState(${JSON.stringify(directory)}); process.stdout.write('held'); setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'exit')
  await once(child.stdout, 'data')
  t.throws(() => lockState(directory), { code: 'STORAGE_LOCKED' })

  child.kill('SIGKILL')
  await ended

  t.doesNotThrow(() => lockState(directory).release())
})
