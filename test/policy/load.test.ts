/**
 * Reading, watching and replacing policies: real files, links as Kubernetes makes them, and a manual clock.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { seconds } from '../../src/base/clock.ts'
import { MAX_YAML_SIZE } from '../../src/base/yaml.ts'
import { hashTexts } from '../../src/policy/compile.ts'
import { createPolicyHolder } from '../../src/policy/holder.ts'
import { loadPolicy, readPolicyFiles } from '../../src/policy/load.ts'
import type { PolicyText } from '../../src/policy/source.ts'
import { watchPolicyFiles } from '../../src/policy/watch.ts'
import { manualClock } from '../support/clock.ts'
import { policyFrom, STRIPE } from './support.ts'

t.test('says of each file why it cannot be read', async t => {
  const dir = t.testdir({
    big: '#'.repeat(MAX_YAML_SIZE + 1),
    latin1: Buffer.from([0x61, 0xff]),
    folder: {},
    good: STRIPE,
  })
  execFileSync('mkfifo', [join(dir, 'pipe')])
  const files = ['missing', 'big', 'latin1', 'folder', 'pipe', 'good'].map(name => join(dir, name))

  const read = await readPolicyFiles(files)

  t.equal(read.kind, 'faults')
  if (read.kind !== 'faults') return
  t.same(
    read.faults.map(({ message }) => message),
    [
      'cannot be read: ENOENT',
      `is larger than ${MAX_YAML_SIZE} bytes`,
      'is not UTF-8',
      'is not a file',
      'is not a file',
    ],
  )
})

t.test('a policy with faults, or whose tests fail, is no policy', async t => {
  const failing = `${STRIPE}tests:\n  - given: { caller: billing, request: 'GET https://api.stripe.com/v1/charges' }\n    expect: { decision: deny }\n`
  const dir = t.testdir({ faulty: 'version: 2', failing, good: STRIPE })
  const load = (name: string) => loadPolicy([join(dir, name)], { now: 0 })

  await t.rejects(load('faulty'), { code: 'POLICY_INVALID', details: { faults: 1 } })
  await t.rejects(load('absent'), { code: 'POLICY_INVALID' })
  await t.rejects(load('failing'), { code: 'POLICY_TESTS_FAILED', details: { failed: 1, total: 1 } })
  t.equal((await load('good')).hash, hashTexts([{ file: '', text: STRIPE }]))
})

t.test('there is no policy before the first, and an exchange keeps the one it took', async t => {
  const holder = createPolicyHolder()
  t.throws(() => holder.snapshot(), { code: 'POLICY_NOT_LOADED' })
  const told: string[] = []
  holder.onReplace(policy => told.push(policy.hash))
  const first = policyFrom(STRIPE)
  const second = policyFrom(`${STRIPE}# changed\n`)

  holder.replace(first)
  const pinned = holder.snapshot()
  holder.replace(second)

  t.equal(pinned, first)
  t.equal(holder.snapshot(), second)
  t.same(told, [first.hash, second.hash])
})

function watching(t: { teardown(run: () => void): void }, files: readonly string[], text: string) {
  const clock = manualClock()
  const changes: (readonly PolicyText[])[] = []
  const unreadable: number[] = []
  const watch = watchPolicyFiles({
    files,
    clock,
    hash: hashTexts(files.map(file => ({ file, text }))),
    onChange: texts => changes.push(texts),
    onUnreadable: faults => unreadable.push(faults.length),
  })
  t.teardown(() => watch.close())
  return { clock, changes, unreadable, watch }
}

t.test('content decides: a touched file is no news, a changed one is told once', async t => {
  const dir = t.testdir({ 'policy.yaml': STRIPE })
  const file = join(dir, 'policy.yaml')
  const { changes, watch } = watching(t, [file], STRIPE)

  writeFileSync(file, STRIPE)
  await watch.check()
  t.equal(changes.length, 0)

  writeFileSync(file, `${STRIPE}# more\n`)
  await Promise.all([watch.check(), watch.check(), watch.check()])
  t.equal(changes.length, 1)
  t.equal(changes[0]?.[0]?.text, `${STRIPE}# more\n`)
})

t.test('a file that goes and comes back: told unreadable once, then its new content', async t => {
  const dir = t.testdir({ 'policy.yaml': STRIPE })
  const file = join(dir, 'policy.yaml')
  const { changes, unreadable, watch } = watching(t, [file], STRIPE)

  rmSync(file)
  await watch.check()
  await watch.check()
  t.same([changes.length, unreadable.length], [0, 1])

  writeFileSync(file, `${STRIPE}# again\n`)
  await watch.check()
  t.equal(changes.length, 1)
})

t.test('the poll finds what no event told: a Kubernetes link swap', async t => {
  const dir = t.testdir({ v1: { 'policy.yaml': STRIPE }, v2: { 'policy.yaml': `${STRIPE}# v2\n` } })
  symlinkSync('v1', join(dir, '..data'))
  symlinkSync('..data/policy.yaml', join(dir, 'policy.yaml'))
  const { clock, changes, watch } = watching(t, [join(dir, 'policy.yaml')], STRIPE)

  symlinkSync('v2', join(dir, '..data_tmp'))
  renameSync(join(dir, '..data_tmp'), join(dir, '..data'))
  clock.advance(seconds(2))
  await watch.check()

  t.match(changes, [[{ text: /# v2/ }]])
})

t.test('an event leads to a look after the debounce, without a poll', async t => {
  const dir = t.testdir({ 'policy.yaml': STRIPE })
  const file = join(dir, 'policy.yaml')
  const clock = manualClock()
  const changed = Promise.withResolvers<readonly PolicyText[]>()
  const watch = watchPolicyFiles({
    files: [file],
    clock,
    hash: hashTexts([{ file, text: STRIPE }]),
    onChange: changed.resolve,
    onUnreadable: () => undefined,
  })
  t.teardown(() => watch.close())
  const pending = clock.pendingTimers()

  writeFileSync(join(dir, 'new'), `${STRIPE}# event\n`)
  renameSync(join(dir, 'new'), file)
  while (clock.pendingTimers() === pending) await new Promise(setImmediate)
  clock.advance(100)

  t.match(await changed.promise, [{ text: /# event/ }])
})

t.test('survives that its directory is missing or replaced, and stops when closed', async t => {
  const dir = t.testdir({})
  const file = join(dir, 'sub', 'policy.yaml')
  const { clock, changes, watch } = watching(t, [file], STRIPE)

  clock.advance(seconds(2))
  mkdirSync(join(dir, 'sub'))
  writeFileSync(file, `${STRIPE}# there\n`)
  clock.advance(seconds(2))
  await watch.check()
  t.equal(changes.length, 1)

  watch.close()
  t.equal(clock.pendingTimers(), 0)
  writeFileSync(file, STRIPE)
  await watch.check()
  t.equal(changes.length, 1)
})
