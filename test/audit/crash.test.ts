/**
 * A sidecar that dies at any moment: the chain goes on, and no intent stays open (K5).
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { verifyLog } from '../../src/audit/verify.ts'
import { exchange, keys, linesOf, recordsOf, trailAt } from './fixtures.ts'

const publicKeys = [keys.publicKey]
const WRITER = join(import.meta.dirname, 'writer-process.ts')
const signingKey = keys.privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64')

/** Runs the writer until it has sent `least` credentials, kills it, and tells which ones it sent. */
async function killedWriter(path: string, least: number): Promise<string[]> {
  const child = spawn(process.execPath, [WRITER, path, signingKey], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  for await (const chunk of child.stdout) {
    said += chunk
    if (said.split('\n').length > least) child.kill('SIGKILL')
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  return said.split('\n').slice(0, -1)
}

async function restart(path: string) {
  const { trail } = trailAt(path, { instance: 'crash' })
  await trail.start()
  await trail.stop()
}

t.test(
  'killed while it writes, three times: every credential that left has its intent, every intent an end',
  async t => {
    const path = join(t.testdir(), 'audit.jsonl')
    const sent: string[] = []
    for (const least of [50, 900, 3000]) {
      sent.push(...(await killedWriter(path, least)))
      await restart(path)
    }

    const report = await verifyLog(path, { publicKeys })

    t.same(report.faults, [])
    t.equal(report.unfinished, 0)
    t.equal(report.unsigned, 0)
    const records = recordsOf(path)
    const intents = new Set(records.filter(record => record.event === 'intent').map(record => record.request))
    t.same(
      sent.filter(request => !intents.has(request)),
      [],
      'no credential without its intent',
    )
    const unknown = records.filter(record => record.outcome === 'unknown')
    t.ok(unknown.length <= 3 * 16, `${unknown.length} unknown: at most what was under way`)
    t.equal(records.filter(record => record.event === 'audit.gap').length, 3)
  },
)

t.test('a last line cut at any byte is moved aside, said, and the chain goes on before it', async t => {
  const dir = t.testdir()
  const whole = join(dir, 'whole.jsonl')
  const { trail } = trailAt(whole)
  await trail.start()
  const open = exchange()
  await trail.intend(open)
  await trail.intend(exchange())
  const bytes = readFileSync(whole)
  const lastStart = bytes.lastIndexOf(0x0a, bytes.length - 2) + 1
  const wrong: string[] = []

  for (let end = lastStart + 1; end < bytes.length; end += 1) {
    const path = join(dir, `${end}.jsonl`)
    writeFileSync(path, bytes.subarray(0, end))
    const next = trailAt(path).trail
    await next.start()
    await next.stop()
    const report = await verifyLog(path, { publicKeys })
    const gap = recordsOf(path).find(record => record.event === 'audit.gap')
    const aside = readdirSync(dir).find(file => file.startsWith(`${end}.jsonl.torn-2-`))
    const kept = aside === undefined ? 0 : statSync(join(dir, aside)).size
    if (
      !report.ok ||
      report.unfinished !== 0 ||
      gap?.cause !== 'torn_record' ||
      gap.torn_bytes !== end - lastStart
    )
      wrong.push(`cut at ${end}: ${JSON.stringify(report.faults)}`)
    if (kept !== end - lastStart) wrong.push(`cut at ${end}: ${kept} bytes aside`)
  }
  await trail.stop()

  t.same(wrong, [])
})

t.test('zeros and half-written pages behind the last record, as a power cut leaves them', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  await restart(path)
  appendFileSync(
    path,
    Buffer.concat([
      Buffer.alloc(4096),
      Buffer.from('{"v":1,"seq"\n{"v":1,"hash":"00"}\n'),
      Buffer.alloc(100),
    ]),
  )

  await restart(path)

  t.match(await verifyLog(path, { publicKeys }), { ok: true, gaps: 1 })
})

t.test('a log that is no log is refused, and not touched', async t => {
  const path = join(t.testdir({ 'audit.jsonl': 'hello\nworld\n' }), 'audit.jsonl')

  await t.rejects(trailAt(path).trail.start(), { code: 'AUDIT_BROKEN' })

  t.equal(readFileSync(path, 'utf8'), 'hello\nworld\n')
})

t.test('a clean end needs no gap, and the chain continues', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  await restart(path)

  await restart(path)

  const records = recordsOf(path)
  t.same(
    records.map(record => record.event),
    ['start', 'stop', 'checkpoint', 'start', 'stop', 'checkpoint'],
  )
  t.match(await verifyLog(path, { publicKeys }), { ok: true, records: 6, signed: 6 })
})

t.test('an intent that was open long before the last checkpoint is closed too', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const { trail, clock } = trailAt(path)
  await trail.start()
  const long = exchange({ path: '/stream' })
  await trail.intend(long)
  for (let i = 0; i < 5; i++)
    await Promise.all(
      Array.from({ length: 300 }, async () => {
        const record = exchange()
        await trail.intend(record)
        await trail.conclude(record)
      }),
    )
  clock.advance(60_000)
  await trail.note('policy.reloaded', {})
  const lines = linesOf(path)
  t.ok(lines.filter(line => line.includes('"event":"checkpoint"')).length >= 3)
  const copy = `${path}.copy`
  writeFileSync(copy, `${lines.join('\n')}\n`)

  await restart(copy)

  const closed = recordsOf(copy).filter(record => record.outcome === 'unknown')
  t.match(closed, [{ request: long.request, event: 'outcome', path: '/stream', caller: 'billing' }])
  await trail.stop()
})

t.test('another name of the instance begins at a start record, and verifies', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  await restart(path)
  const { trail } = trailAt(path, { instance: 'renamed' })

  await trail.start()
  await trail.stop()

  t.match(await verifyLog(path, { publicKeys }), { ok: true, records: 6 })
})

t.test('an empty file is a new log', async t => {
  const path = join(t.testdir({ 'audit.jsonl': '' }), 'audit.jsonl')

  await restart(path)

  t.equal(recordsOf(path)[0]?.seq, 1)
  truncateSync(path, 0)
})
