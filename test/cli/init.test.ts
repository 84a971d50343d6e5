/**
 * `cloakroom init`: what it makes, that it never overwrites, and that it goes on after an interruption at any step.
 */
import {
  chmodSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { CloakroomError } from '../../src/base/errors.ts'
import { initialize } from '../../src/cli/init.ts'
import { cloakroom } from '../support/cli.ts'
import { aDirectory } from '../support/directory.ts'

const mode = (file: string): string => (statSync(file).mode & 0o777).toString(8)

function allFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort()
}

const MADE = [
  'cloakroom.yaml',
  'keys/audit.key.sealed',
  'keys/ca.key.sealed',
  'keys/root.key',
  'policy.yaml',
  'state/audit.pub.pem',
  'state/ca.pem',
  'state/lock.db',
  'state/store.db',
  'state/trust/bundle.pem',
  'state/trust/ca.pem',
  'state/trust/truststore.p12',
]

t.test('refuses a directory that is finished, and changes nothing in it', async t => {
  const directory = join(aDirectory(t), 'd')
  await initialize(directory)
  const before = allFiles(directory).map(file => readFileSync(join(directory, file)).toString('base64'))

  const again = await cloakroom(['init', directory])

  t.equal(again.code, 1)
  t.match(again.err, /error CONFIG_EXISTS/)
  t.same(
    allFiles(directory).map(file => readFileSync(join(directory, file)).toString('base64')),
    before,
  )
})

t.test('never makes a root key for a store that has lost its own', async t => {
  const directory = join(aDirectory(t), 'd')
  await initialize(directory)
  rmSync(join(directory, 'cloakroom.yaml'))
  rmSync(join(directory, 'keys/root.key'))

  await t.rejects(initialize(directory), { code: 'KEY_FILE_INVALID' })
  t.notOk(existsSync(join(directory, 'keys/root.key')))
  t.notOk(existsSync(join(directory, 'cloakroom.yaml')))
})

t.test('refuses a store that was made with another root key', async t => {
  const root = aDirectory(t)
  await initialize(join(root, 'one'))
  await initialize(join(root, 'two'))
  rmSync(join(root, 'one/cloakroom.yaml'))
  rmSync(join(root, 'one/keys/root.key'))
  cpSync(join(root, 'two/keys/root.key'), join(root, 'one/keys/root.key'))

  await t.rejects(initialize(join(root, 'one')), { code: 'KEY_WRONG' })
})

t.test('refuses directories for keys and state that others may use', async t => {
  const directory = aDirectory(t, { 'keys/.keep': '' })
  chmodSync(join(directory, 'keys'), 0o755)

  await t.rejects(initialize(directory), { code: 'STORAGE_UNSAFE' })
})

t.test('makes everything, readable by its owner alone where that matters', async t => {
  const directory = join(aDirectory(t), 'd')

  const { code, out } = await cloakroom(['init', directory])

  t.equal(code, 0)
  t.same(allFiles(directory), MADE)
  for (const file of ['keys', 'state']) t.equal(mode(join(directory, file)), '700', file)
  for (const file of MADE.filter(name => name.startsWith('keys/'))) {
    t.equal(mode(join(directory, file)), '400', file)
  }
  t.equal(mode(join(directory, 'state/store.db')), '600')
  t.match(out, /Back up .*root\.key/)
  t.match(out, /1\. .*secret put/)
  t.match(out, /3\. .*run/)
})

t.test('prints a report for machines', async t => {
  const directory = join(aDirectory(t), 'd')

  const { out } = await cloakroom(['init', directory, '--json'])

  t.match(JSON.parse(out), { directory, config: join(directory, 'cloakroom.yaml'), kept: [] })
})

t.test('goes on after an interruption at any step, and keeps what was made', async t => {
  const whole = join(aDirectory(t), 'd')
  await initialize(whole)
  // What is on the disk when the process is killed right after each step, in the order of src/cli/init.ts.
  const order = [
    'keys/root.key',
    'state/store.db',
    'keys/audit.key.sealed',
    'state/audit.pub.pem',
    'keys/ca.key.sealed',
    'state/ca.pem',
    'policy.yaml',
  ]
  for (const [i, step] of order.entries()) {
    const directory = join(aDirectory(t), 'd')
    cpSync(whole, directory, { recursive: true })
    for (const name of ['keys', 'state']) chmodSync(join(directory, name), 0o700)
    rmSync(join(directory, 'cloakroom.yaml'))
    rmSync(join(directory, 'state/trust'), { recursive: true })
    for (const later of order.slice(i + 1)) rmSync(join(directory, later))
    writeFileSync(join(directory, '.cloakroom.yaml.new'), 'half')
    const key = readFileSync(join(directory, 'keys/root.key'), 'utf8')

    await initialize(directory)

    t.same(allFiles(directory), MADE, `killed after ${step}`)
    t.equal(readFileSync(join(directory, 'keys/root.key'), 'utf8'), key, 'the root key stays')
    const opened = await cloakroom(['--config', directory, 'secret', 'list', '--json'])
    t.equal(opened.code, 0, opened.err)
  }
})

t.test('keeps a policy that is there', async t => {
  const directory = aDirectory(t, { 'policy.yaml': 'version: 1\n' })

  const report = await initialize(directory)

  t.equal(readFileSync(join(directory, 'policy.yaml'), 'utf8'), 'version: 1\n')
  t.same(report.kept, [join(directory, 'policy.yaml')])
})

t.test('lets only one of two runs at one time finish', async t => {
  const directory = join(aDirectory(t), 'd')

  const results = await Promise.allSettled([initialize(directory), initialize(directory)])

  const refused = results.flatMap(result => (result.status === 'rejected' ? [result.reason] : []))
  t.equal(refused.length, 1)
  t.ok(refused[0] instanceof CloakroomError)
})
