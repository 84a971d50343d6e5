/**
 * The lock between a private sidecar and those who use it.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'
import { claimUse, shareUse } from '../../src/storage/use-lock.ts'
import { aDirectory } from '../support/directory.ts'

t.test('is claimed only when nobody holds a share, and shared only when nobody claims it', async t => {
  const directory = aDirectory(t)
  const [one, two] = [shareUse(directory), shareUse(directory)]

  t.equal(claimUse(directory), undefined, 'two use it')
  one?.release()
  t.equal(claimUse(directory), undefined, 'one uses it')
  two?.release()
  const claim = claimUse(directory)
  t.ok(claim, 'nobody uses it')
  t.equal(shareUse(directory), undefined, 'it is ending')
  claim?.release()
  const again = shareUse(directory)
  t.ok(again, 'it has ended')
  again?.release()
})

t.test('a share ends with its process, also with one that is killed', async t => {
  const directory = aDirectory(t)
  const file = join(import.meta.dirname, '../../src/storage/use-lock.ts')
  const script = `const { shareUse } = await import(process.argv[1]); globalThis.hold = shareUse(process.argv[2]);
    process.stdout.write('held'); setInterval(() => {}, 1000)`
  const holder = spawn(process.execPath, ['--input-type=module', '-e', script, file, directory])
  await once(holder.stdout, 'data')

  const before = claimUse(directory)
  holder.kill('SIGKILL')
  await once(holder, 'exit')
  const after = claimUse(directory)

  t.equal(before, undefined)
  t.ok(after)
  after?.release()
})

t.test('refuses a directory that others may use', async t => {
  const directory = join(aDirectory(t), 'missing')

  t.throws(() => shareUse(directory), { code: 'STORAGE_UNSAFE' })
})
