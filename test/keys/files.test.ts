/**
 * Files with keys: the root key file and sealed files.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createKeyFile, formatKeyFile, openKeyFile, parseKeyFile } from '../../src/keys/file.ts'
import { KEY_PROVIDERS, openKeyProvider } from '../../src/keys/providers.ts'
import { openSealed, sealFile } from '../../src/keys/sealed-file.ts'
import { keyProviderContract } from '../contract/key-provider.ts'
import { aDirectory } from '../support/directory.ts'
import { aProvider } from '../support/store.ts'

const aKeyFile = async (t: Parameters<typeof aDirectory>[0]) => {
  const path = join(aDirectory(t), 'root.key')
  await createKeyFile(path)
  return path
}

t.test('refuses a key file that others may use in any way', async t => {
  const path = await aKeyFile(t)

  for (const mode of [0o440, 0o404, 0o420, 0o402, 0o410, 0o401, 0o644, 0o666, 0o777]) {
    chmodSync(path, mode)
    await t.rejects(openKeyFile(path), { code: 'KEY_FILE_UNSAFE' }, mode.toString(8))
  }
  for (const mode of [0o400, 0o600]) {
    chmodSync(path, mode)
    await t.resolves(openKeyFile(path), mode.toString(8))
  }
})

t.test('refuses a key file of another user', { skip: process.getuid?.() !== 0 && 'needs root' }, async t => {
  const path = await aKeyFile(t)
  const { chownSync } = await import('node:fs')
  chownSync(path, 12345, 0)

  await t.rejects(openKeyFile(path), { code: 'KEY_FILE_UNSAFE' })
})

t.test('refuses what is no file, is missing or is too long', async t => {
  const directory = aDirectory(t)
  mkdirSync(join(directory, 'folder'), { mode: 0o700 })
  writeFileSync(join(directory, 'long'), 'x'.repeat(5000), { mode: 0o600 })

  await t.rejects(openKeyFile(join(directory, 'folder')), { code: 'KEY_FILE_UNSAFE' })
  await t.rejects(openKeyFile(join(directory, 'missing')), { code: 'KEY_FILE_INVALID' })
  await t.rejects(openKeyFile(join(directory, 'long')), { code: 'KEY_FILE_INVALID' })
})

t.test('finds every single changed, missing or extra character in the line of a key file', async t => {
  const text = formatKeyFile(Buffer.alloc(32, 7))
  const start = text.indexOf('cloakroom-root-key-v1 ')

  let wrong = 0
  for (let at = start; at < text.length - 1; at++) {
    const other = text[at] === 'a' ? 'b' : 'a'
    const changed = [text.slice(0, at) + other + text.slice(at + 1), text.slice(0, at) + text.slice(at + 1)]
    for (const candidate of [...changed, text.slice(0, at) + other + text.slice(at)]) {
      if (parseKeyFile(Buffer.from(candidate)) !== undefined) wrong++
    }
  }

  t.equal(wrong, 0)
  t.equal(parseKeyFile(Buffer.from(`${text}${text}`)), undefined, 'two keys')
  t.equal(parseKeyFile(Buffer.from('')), undefined)
  t.equal(parseKeyFile(Buffer.from(text))?.equals(Buffer.alloc(32, 7)), true)
})

t.test('errors about key files never quote their content', async t => {
  const path = join(aDirectory(t), 'root.key')
  writeFileSync(path, 'cloakroom-root-key-v1 CANARYCANARYCANARY 00000000\n', { mode: 0o600 })

  const cause = await openKeyFile(path).then(
    () => undefined,
    (cause: unknown) => cause,
  )

  t.notMatch(`${String(cause)} ${JSON.stringify(cause)}`, 'CANARY')
})

t.test('never replaces a key file', async t => {
  const path = await aKeyFile(t)
  const before = readFileSync(path)

  await t.rejects(createKeyFile(path), { code: 'CONFIG_EXISTS' })

  t.same(readFileSync(path), before)
  t.notOk(existsSync(`${path}.new`), 'no draft is left')
})

t.test('makes a key file that only its owner can read, with the same provider after a restart', async t => {
  const path = await aKeyFile(t)
  symlinkSync(path, `${path}.link`) // a mounted secret is a link

  const ids = [await openKeyFile(path), await openKeyProvider({ kind: 'file', file: `${path}.link` })]

  t.equal(statSync(path).mode & 0o777, 0o400)
  t.equal(ids[0]?.id, ids[1]?.id)
  t.match(ids[0]?.id, /^file-[0-9a-f]{16}$/)
  t.same(KEY_PROVIDERS, ['file'])
})

t.test('a key file made after an interrupted attempt is whole', async t => {
  const path = join(aDirectory(t), 'root.key')
  writeFileSync(`${path}.new`, 'half of', { mode: 0o400 })

  await createKeyFile(path)

  await t.resolves(openKeyFile(path))
})

t.test('a sealed file opens under its own name and root key only', async t => {
  const provider = aProvider()
  const path = join(aDirectory(t), 'ca.key.sealed')
  await sealFile(provider, { path, name: 'ca-key' }, Buffer.from('private key'))

  await t.rejects(openSealed(aProvider(), { path, name: 'ca-key' }), { code: 'KEY_WRONG' })
  await t.rejects(openSealed(provider, { path, name: 'audit-signing-key' }), { code: 'KEY_WRONG' })
  t.equal((await openSealed(provider, { path, name: 'ca-key' })).toString(), 'private key')
  t.equal(statSync(path).mode & 0o777, 0o400)
  t.notMatch(readFileSync(path).toString('latin1'), 'private key')
})

t.test('a sealed file with any byte changed, or cut anywhere, does not open', async t => {
  const provider = aProvider()
  const directory = aDirectory(t)
  const path = join(directory, 'sealed')
  await sealFile(provider, { path, name: 'ca-key' }, Buffer.from('private key'))
  const whole = readFileSync(path)
  const copy = join(directory, 'copy')

  let opened = 0
  for (let at = 0; at < whole.length; at++) {
    const changed = Buffer.from(whole)
    changed[at] = (changed[at] ?? 0) ^ 1
    for (const bytes of [changed, whole.subarray(0, at)]) {
      writeFileSync(copy, bytes, { mode: 0o600 })
      await openSealed(provider, { path: copy, name: 'ca-key' }).then(
        () => opened++,
        () => undefined,
      )
    }
  }

  t.equal(opened, 0)
})

t.test('a sealed file is replaced only when asked, in one step', async t => {
  const provider = aProvider()
  const file = { path: join(aDirectory(t), 'sealed'), name: 'ca-key' }
  await sealFile(provider, file, Buffer.from('first'))

  await t.rejects(sealFile(provider, file, Buffer.from('second')), { code: 'CONFIG_EXISTS' })
  t.equal((await openSealed(provider, file)).toString(), 'first')
  await sealFile(provider, file, Buffer.from('second'), { replace: true })

  t.equal((await openSealed(provider, file)).toString(), 'second')
})

keyProviderContract('file', async t => openKeyFile(await aKeyFile(t)))
