/**
 * Places that keep the log, and disks that fail under them: no half line, nothing twice, nothing called durable that is not.
 */
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createFileSink, type Durability, type LogFile, openLogFile } from '../../src/audit/sinks/file.ts'
import { createStdoutSink } from '../../src/audit/sinks/stdout.ts'
import { createSink } from '../../src/audit/sinks.ts'
import { follow, parseRecord, readLast } from '../../src/audit/tail.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { hours } from '../../src/base/clock.ts'
import { manualClock } from '../support/clock.ts'
import { exchange, keys, recordsOf, trailAt, turns } from './fixtures.ts'

const publicKeys = [keys.publicKey]

type Fault = 'none' | 'full' | 'short' | 'sync' | 'open' | 'truncate'

/** A real file behind a disk that fails on demand. */
function faultyDisk() {
  const disk = { fault: 'none' as Fault, opened: 0, syncs: 0 }
  const failure = (code: string) => Object.assign(new Error('disk'), { code })
  const openFile = async (path: string): Promise<LogFile> => {
    if (disk.fault === 'open') throw failure('EMFILE')
    disk.opened++
    const file = await openLogFile(path)
    const write = async (bytes: Buffer, offset: number, length: number) => {
      if (disk.fault === 'full') throw failure('ENOSPC')
      if (disk.fault !== 'short') return file.write(bytes, offset, length, null)
      if (length > 100) return file.write(bytes, offset, length - 100, null) // then the disk is full
      throw failure('ENOSPC')
    }
    return {
      write: write as LogFile['write'],
      stat: file.stat.bind(file) as LogFile['stat'],
      close: () => file.close(),
      async truncate(length) {
        if (disk.fault === 'truncate') throw failure('EIO')
        await file.truncate(length)
      },
      async datasync() {
        disk.syncs++
        if (disk.fault === 'sync') throw failure('EIO')
        await file.datasync()
      },
    }
  }
  return { disk, openFile }
}

async function fileTrail(dir: string, durability: Durability = 'written') {
  const path = join(dir, 'audit.jsonl')
  const { disk, openFile } = faultyDisk()
  const sinks = [createFileSink({ path, required: true, durability, openFile })]
  // The limit has tests of its own; here the manual clock runs faster than the disk.
  const running = trailAt(path, { sinks, waitLimit: hours(1) })
  await running.trail.start()
  return { ...running, disk }
}

/** Waits in real turns and lets the retry timer run, until `done`. */
async function until(clock: { advance(millis: number): void }, done: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !done(); i++) {
    await turns(5)
    clock.advance(10)
    await new Promise(resolve => setImmediate(resolve))
  }
}

for (const fault of ['full', 'short', 'sync', 'open'] as const) {
  t.test(`a disk that fails (${fault}) and comes back leaves every record once, and whole`, async t => {
    const { trail, clock, disk, path } = await fileTrail(t.testdir(), 'fsync')
    disk.fault = fault === 'open' ? 'full' : fault
    let isDurable = false
    const record = exchange()
    const intent = trail.intend(record).then(() => {
      isDurable = true
    })
    await until(clock, () => disk.opened >= 3)
    if (fault === 'open') disk.fault = 'open'
    await turns(50)
    t.equal(isDurable, false)

    disk.fault = 'none'
    await until(clock, () => isDurable)
    await intent
    await trail.conclude(record)
    await trail.stop()

    const report = await verifyLog(path, { publicKeys })
    t.match(report, { ok: true, unfinished: 0, gaps: 0 })
    t.same(
      recordsOf(path).map(({ event }) => event),
      ['start', 'intent', 'outcome', 'stop', 'checkpoint'],
    )
  })
}

t.test('a half line is cut off before anything else is written, or nothing is', async t => {
  const { trail, clock, disk, path } = await fileTrail(t.testdir())
  const good = statSync(path).size
  disk.fault = 'short'
  const intent = trail.intend(exchange())
  await until(clock, () => disk.opened >= 2)
  t.ok(statSync(path).size > good, 'part of the line is there')

  disk.fault = 'truncate'
  const before = disk.opened
  await until(clock, () => disk.opened > before + 1)
  disk.fault = 'none'
  await until(clock, () => trail.stats()[0]?.queued === 0)
  await intent
  await trail.stop()

  t.match(await verifyLog(path, { publicKeys }), { ok: true })
})

t.test('with fsync a record waits for fdatasync, with written it does not', async t => {
  const slow = await fileTrail(t.testdir({ a: {} }), 'fsync')
  const before = slow.disk.syncs
  await slow.trail.intend(exchange())
  t.equal(slow.disk.syncs, before + 1)
  await slow.trail.stop()

  const fast = await fileTrail(t.testdir({ b: {} }))
  await fast.trail.intend(exchange())
  t.equal(fast.disk.syncs, 0)
  await fast.trail.stop()
})

t.test('the file is the owner’s alone, and a link in its place is refused', async t => {
  const dir = t.testdir({ other: '' })
  const { trail, path } = trailAt(join(dir, 'audit.jsonl'))
  await trail.start()
  await trail.stop()
  t.equal(statSync(path).mode & 0o777, 0o600)

  const linked = join(dir, 'linked.jsonl')
  symlinkSync(join(dir, 'other'), linked)

  await t.rejects(trailAt(linked).trail.start(), { code: 'AUDIT_UNAVAILABLE' })
})

t.test('rotation keeps the chain over all files, each of which ends in a checkpoint', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const clock = manualClock()
  const sinks = [createSink({ kind: 'file', path, required: true, rotateAfter: 200_000 }, 'written', clock)]
  const { trail } = trailAt(path, { sinks, clock })
  await trail.start()
  for (let i = 0; i < 12; i++) {
    await Promise.all(
      Array.from({ length: 200 }, async () => {
        const record = exchange()
        await trail.intend(record)
        await trail.conclude(record)
      }),
    )
  }
  await trail.stop()

  t.ok(existsSync(`${path}.1`) && existsSync(`${path}.2`))
  t.match(await verifyLog(path, { publicKeys }), { ok: true, gaps: 0, unfinished: 0, unsigned: 0 })
  t.equal(recordsOf(`${path}.1`).at(-1)?.event, 'checkpoint')
  t.match(recordsOf(`${path}.2`)[0], { event: 'rotated', file: 'audit.jsonl.1' })
  unlinkSync(`${path}.1`)
  const report = await verifyLog(path, { publicKeys })
  t.match(report.faults, [{ file: `${path}.2`, line: 1 }], 'a file that is missing is found')
})

t.test('a start after a rotation finds its place in the older file', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const first = trailAt(path).trail
  await first.start()
  await first.intend(exchange())
  await first.stop()
  renameSync(path, `${path}.1`)

  const second = trailAt(path).trail
  await second.start()
  await second.stop()

  t.match(await verifyLog(path, { publicKeys }), { ok: true, unfinished: 0, records: 8 })
})

t.test('a log that somebody took away is begun anew within a minute, and it says so', async t => {
  const { trail, clock, path } = await fileTrail(t.testdir())
  await trail.intend(exchange())
  renameSync(path, `${path}.1`)
  await trail.intend(exchange())

  clock.advance(60_000)
  await until({ advance: () => undefined }, () => existsSync(path))
  await trail.intend(exchange())
  await trail.stop()

  t.match(recordsOf(path)[0], { event: 'audit.gap', cause: 'sink_replaced' })
  t.match(await verifyLog(path, { publicKeys }), { ok: true, gaps: 1 })
})

t.test('stdout: a pipe that nobody reads holds up the log and not the process', async t => {
  const pipe = join(t.testdir(), 'pipe')
  execFileSync('mkfifo', [pipe])
  // Both ends, so that the open does not wait; not blocking, as a pipe is that another program has made so.
  const descriptor = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK)
  t.teardown(() => closeSync(descriptor))
  const clock = manualClock()
  const sink = createStdoutSink({ required: true, clock, descriptor })
  const lines = Buffer.from(`${'x'.repeat(299_999)}\n`)
  let isDone = false
  const done = sink.write(lines).then(() => {
    isDone = true
  })
  await until(clock, () => isDone)
  t.equal(isDone, false)

  const got: Buffer[] = []
  while (!isDone) {
    const chunk = Buffer.alloc(65_536)
    try {
      got.push(chunk.subarray(0, readSync(descriptor, chunk)))
    } catch {
      await turns(2) // empty: let the sink go on
    }
    clock.advance(5)
    await turns(2)
  }
  await done
  const rest = Buffer.alloc(300_000)
  const length = got.reduce((sum, chunk) => sum + chunk.length, 0)
  if (length < lines.length) got.push(rest.subarray(0, readSync(descriptor, rest)))

  t.same(Buffer.concat(got).equals(lines), true, 'every byte once and in order')
})

t.test('stdout: an error breaks the batch off, and the next try goes on at the same byte', async t => {
  const path = join(t.testdir({ out: '' }), 'out')
  const descriptor = openSync(path, 'a')
  const sink = createStdoutSink({ required: true, clock: manualClock(), descriptor })
  await sink.write(Buffer.from('one\n'))
  closeSync(descriptor)
  await t.rejects(sink.write(Buffer.from('two\n')), { code: 'EBADF' })
  t.equal(openSync(path, 'a'), descriptor, 'the same number again')

  await sink.write(Buffer.from('two\n'))

  t.equal(readFileSync(path, 'utf8'), 'one\ntwo\n')
  closeSync(descriptor)
})

t.test('the last records come oldest first, over files, and garbage is passed over', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const first = trailAt(path).trail
  await first.start()
  await first.stop()
  renameSync(path, `${path}.1`)
  const second = trailAt(path).trail
  await second.start()
  await second.stop()
  appendFileSync(path, 'garbage\n')

  const last = await readLast(path, 4)

  t.same(
    last.map(({ event }) => event.seq),
    [3, 4, 5, 6],
  )
  t.same(await readLast(path, 0), [])
  t.equal((await readLast(path, 1000)).length, 6)
  t.same(await readLast(join(t.testdirName, 'none.jsonl'), 5), [])
  t.equal(parseRecord('{"v":1}'), undefined)
})

t.test('follow gives what comes, once, over a rotation, until it is told to stop', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const { trail } = trailAt(path)
  await trail.start()
  const clock = manualClock()
  const stop = new AbortController()
  const seen: number[] = []
  const following = (async () => {
    for await (const { event } of follow(path, 1, { clock, signal: stop.signal })) seen.push(event.seq)
  })()
  const seenAll = (count: number) => until({ advance: () => clock.advance(250) }, () => seen.length >= count)

  await trail.intend(exchange())
  await trail.intend(exchange())
  await seenAll(2)
  await trail.intend(exchange())
  await trail.stop()
  renameSync(path, `${path}.1`)
  const second = trailAt(path).trail
  await second.start()
  await seenAll(9)
  stop.abort()
  await following
  await second.stop()

  t.same(seen, [2, 3, 4, 5, 6, 7, 8, 9, 10], 'the last three close what the first run left open')
})
