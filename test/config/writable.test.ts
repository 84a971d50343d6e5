/**
 * Who else may change configuration and policy.
 */
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { writableByOthers } from '../../src/config/writable.ts'
import { aDirectory } from '../support/directory.ts'

const SAFE = 0o644

t.test('names files and directories that others may write to', async t => {
  const directory = aDirectory(t, { 'conf/cloakroom.yaml': '', 'policy/policy.yaml': '' })
  const file = join(directory, 'conf/cloakroom.yaml')
  const policy = join(directory, 'policy/policy.yaml')
  const files = [policy, join(directory, 'policy/missing.yaml')]
  for (const path of [file, policy]) chmodSync(path, SAFE)
  for (const name of ['conf', 'policy']) chmodSync(join(directory, name), 0o755)
  t.same(writableByOthers({ file, policy: { files } }), [])

  for (const [path, mode] of [
    [file, 0o664],
    [policy, 0o646],
    [join(directory, 'conf'), 0o775],
    [join(directory, 'policy'), 0o757],
  ] as const) {
    chmodSync(path, mode)
    const found = writableByOthers({ file, policy: { files } })
    chmodSync(path, path.endsWith('.yaml') ? SAFE : 0o755)

    t.same(found, [`${path} may be changed by others (mode 0${mode.toString(8)})`])
  }
})

t.test('a sticky directory lets nobody replace what is in it', async t => {
  const directory = aDirectory(t, { 'cloakroom.yaml': '' })
  const file = join(directory, 'cloakroom.yaml')
  chmodSync(file, SAFE)

  chmodSync(directory, 0o1777)

  t.same(writableByOthers({ file, policy: { files: [] } }), [])
})
