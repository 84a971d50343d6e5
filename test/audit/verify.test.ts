/**
 * Every record of a 500-record log is edited, deleted, doubled, moved …: each time the verifier must name the place (K2).
 */
import { generateKeyPairSync } from 'node:crypto'
import { appendFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { linkRecord } from '../../src/audit/chain.ts'
import { verifyFiles, verifyLog } from '../../src/audit/verify.ts'
import { exchange, keys, linesOf, recordsOf, trailAt } from './fixtures.ts'

const RECORDS = 500
const publicKeys = [keys.publicKey]

async function writeLog(path: string, instance: string, pairs: number): Promise<string[]> {
  const { trail } = trailAt(path, { instance })
  await trail.start()
  for (let i = 0; i < pairs; i++) {
    const record = exchange({ path: `/v1/charges/${i}` })
    await trail.intend(record)
    await trail.conclude(record)
  }
  await trail.stop()
  return linesOf(path)
}

const dir = t.testdir()
const original = await writeLog(join(dir, 'a.jsonl'), 'pod-a', RECORDS / 2 - 2)
const other = await writeLog(join(dir, 'b.jsonl'), 'pod-b', RECORDS / 2 - 2)
const victim = join(dir, 'victim.jsonl')

async function firstFault(lines: readonly string[], anchors?: { seq: number; hash: string }[]) {
  writeFileSync(victim, lines.map(line => `${line}\n`).join(''))
  const report = await verifyFiles([victim], { publicKeys, ...(anchors === undefined ? {} : { anchors }) })
  const [fault] = report.faults
  return fault === undefined ? undefined : { file: fault.file, line: fault.line }
}

// Runs one mutation for each index and gives those that were not found where expected. Only the neighbourhood of the mutation is
// read (whole logs take a minute): what stands before it is the untouched log that the first test verifies.
async function missed(
  count: number,
  mutate: (i: number) => readonly string[],
  expected: (i: number) => number,
): Promise<string[]> {
  const wrong: string[] = []
  for (let i = 0; i < count; i++) {
    const from = Math.max(0, i - 4)
    writeFileSync(
      victim,
      `${mutate(i)
        .slice(from, i + 5)
        .join('\n')}\n`,
    )
    const { faults } = await verifyFiles([victim], { publicKeys, mayStartLater: from > 0 })
    const line = (faults[0]?.line ?? Number.NaN) + from
    if (line !== expected(i)) wrong.push(`record ${i + 1}: found at ${line}, expected at ${expected(i)}`)
  }
  return wrong
}

const at = (line: number) => ({ file: victim, line })
const without = (i: number) => original.filter((_, n) => n !== i)
const withAt = (i: number, line: string) => [...original.slice(0, i), line, ...original.slice(i)]
const replaced = (i: number, line: string) => original.map((old, n) => (n === i ? line : old))
const lineAt = (lines: readonly string[], i: number) => lines[i] ?? ''

t.test('a log that nobody touched verifies, and says what is signed', async t => {
  const report = await verifyLog(join(dir, 'a.jsonl'), { publicKeys })

  t.equal(original.length, RECORDS - 1)
  t.match(report, {
    ok: true,
    records: RECORDS - 1,
    signed: RECORDS - 1,
    unsigned: 0,
    unfinished: 0,
    gaps: 0,
  })
  t.same(report.faults, [])
})

// A record in the place of another, with a hash of its own that fits.
function forgedAt(i: number): string {
  const { seq, prev, time, instance } = JSON.parse(lineAt(original, i))
  const frame = { after: { seq: seq - 1, hash: prev }, time, instance: JSON.stringify(instance) }
  return linkRecord('"event":"outcome","outcome":"allowed"', frame).line
}

t.test('an edit of any record is found where it is', async t => {
  const edit = (i: number) => {
    const line = lineAt(original, i)
    const middle = Math.floor(line.length / 3)
    return replaced(i, `${line.slice(0, middle)}${line[middle] === 'x' ? 'y' : 'x'}${line.slice(middle + 1)}`)
  }

  t.same(await missed(original.length, edit, i => i + 1), [])
})

t.test('an edit with a hash made to fit is found at the next record', async t => {
  t.same(
    await missed(
      original.length - 1,
      i => replaced(i, forgedAt(i)),
      i => i + 2,
    ),
    [],
  )
})

t.test('a deletion is found where the hole is', async t => {
  t.same(await missed(original.length - 1, without, i => i + 1), [])
})

t.test('an insertion is found at the record that no longer follows', async t => {
  t.same(
    await missed(
      original.length,
      i => withAt(i, forgedAt(i)),
      i => i + 2,
    ),
    [],
  )
})

t.test('a duplicate is found at the second copy', async t => {
  t.same(
    await missed(
      original.length,
      i => withAt(i, lineAt(original, i)),
      i => i + 2,
    ),
    [],
  )
})

t.test('two records that changed places are found at the first', async t => {
  const exchanged = (i: number) =>
    original.map((line, n) => (n === i ? lineAt(original, i + 1) : n === i + 1 ? lineAt(original, i) : line))

  t.same(await missed(original.length - 1, exchanged, i => i + 1), [])
})

t.test('a record of another instance is found where it stands', async t => {
  t.same(
    await missed(
      original.length - 1,
      i => replaced(i + 1, lineAt(other, i + 1)),
      i => i + 2,
    ),
    [],
  )
})

t.test("a log that goes on with another instance's is found at the seam, also at a start record", async t => {
  for (const i of [1, 7, 250, 498]) {
    t.same(await firstFault([...original.slice(0, i), ...other.slice(i)]), at(i + 1), `from record ${i + 1}`)
  }
  t.same(await firstFault([...original, ...other]), at(original.length + 1), 'whole')
})

t.test('a cut before a checkpoint known from elsewhere is found, at any record', async t => {
  const last = JSON.parse(lineAt(original, original.length - 1))
  const anchors = [{ seq: last.seq, hash: last.hash }]
  const wrong: number[] = []
  for (let i = 0; i < original.length - 1; i++) {
    const fault = await firstFault(original.slice(0, i + 1), anchors)
    if (fault?.line !== i + 1) wrong.push(i + 1)
  }

  t.same(wrong, [])
})

t.test('a cut inside a record is found at that record', async t => {
  const path = join(dir, 'cut.jsonl')
  const bytes = readFileSync(join(dir, 'a.jsonl'))
  const wrong: number[] = []
  for (let i = 0; i < original.length; i++) {
    const end = original.slice(0, i + 1).join('\n').length
    writeFileSync(path, bytes.subarray(0, end - 1 - (i % 200)))
    const { faults } = await verifyFiles([path], { publicKeys })
    if (faults[0]?.line !== i + 1) wrong.push(i + 1)
  }

  t.same(wrong, [])
})

t.test(
  'what is cut after the last anchored checkpoint is not claimed: the report counts unsigned records',
  async t => {
    writeFileSync(victim, `${original.slice(0, 100).join('\n')}\n`)

    const report = await verifyFiles([victim], { publicKeys })

    t.match(report, { ok: true, records: 100, signed: 0, unsigned: 100 })
  },
)

t.test(
  'a record that is not as it was known elsewhere is found, although the log fits in itself',
  async t => {
    const { seq } = JSON.parse(lineAt(original, 41))

    t.same(await firstFault(original, [{ seq, hash: 'f'.repeat(64) }]), at(42))
    t.same(await firstFault(original, [{ seq: 9999, hash: 'f'.repeat(64) }]), at(original.length))
  },
)

t.test('the instance changes at a start record and nowhere else', async t => {
  const { seq, hash, time } = JSON.parse(lineAt(original, 9))
  const frame = { after: { seq, hash }, time, instance: '"pod-b"' }
  const joined = (event: string) => [...original.slice(0, 10), linkRecord(`"event":"${event}"`, frame).line]

  t.same(await firstFault(joined('outcome')), at(11))
  t.equal(await firstFault(joined('start')), undefined)
})

t.test('a log rewritten whole by somebody without the key is found at its checkpoint', async t => {
  const forger = generateKeyPairSync('ed25519').privateKey
  const path = join(dir, 'forged.jsonl')
  const { trail } = trailAt(path, { signingKey: forger })
  await trail.start()
  await trail.stop()

  const report = await verifyLog(path, { publicKeys })

  t.match(report.faults, [{ line: 3, what: 'is signed by a key that was not given' }])
})

t.test("a checkpoint's signature moved to another record does not fit", async t => {
  const signature = /"signature":"[^"]*"/
  const last = original.length - 1
  const stolen = signature.exec(lineAt(other, last))?.[0] ?? ''
  const { seq, prev, time, instance, key, open } = JSON.parse(lineAt(original, last))
  const frame = { after: { seq: seq - 1, hash: prev }, time, instance: JSON.stringify(instance) }
  const whole = linkRecord(`"event":"checkpoint","key":"${key}","open":${open}`, frame).line
  const body = whole.replace(/,"hash":"[0-9a-f]*"}$/, `,${stolen}}`)
  const { hash } = await import('node:crypto')
  const forged = `${body.slice(0, -1)},"hash":"${hash('sha256', body)}"}`

  writeFileSync(victim, `${replaced(last, forged).join('\n')}\n`)
  const report = await verifyFiles([victim], { publicKeys })

  t.match(report.faults, [{ line: last + 1, what: 'has a signature that does not fit' }])
  t.equal(report.signed, 0)
})

t.test('old files that were put away need a word', async t => {
  writeFileSync(victim, `${original.slice(10).join('\n')}\n`)

  const strict = await verifyFiles([victim], { publicKeys })
  const lenient = await verifyFiles([victim], { publicKeys, mayStartLater: true })

  t.match(strict.faults, [{ line: 1, what: 'follows a hole: records 1 to 10 are missing' }])
  t.match(lenient, { ok: true, records: original.length - 10, first: { seq: 11 } })
})

t.test('bytes that are no text, and a line without end, are faults and not crashes', async t => {
  const path = join(dir, 'garbage.jsonl')
  writeFileSync(path, Buffer.concat([Buffer.from([0xff, 0xfe, 0x00, 0x0a]), Buffer.alloc(300_000, 0x61)]))
  appendFileSync(path, '\n{}\n[]\nnull\n')

  const report = await verifyFiles([path], { publicKeys })

  t.same(
    report.faults.map(fault => fault.line),
    [1, 2, 3, 4, 5],
  )
})

t.test('a number changed at the end of a file by one bit is found', async t => {
  const path = join(dir, 'short.jsonl')
  writeFileSync(path, `${original.join('\n')}\n`)
  truncateSync(path, readFileSync(path).length - 1)

  const report = await verifyFiles([path], { publicKeys })

  t.match(report.faults, [{ line: original.length, what: 'is torn: the file ends inside a record' }])
  t.equal(recordsOf(join(dir, 'a.jsonl')).length, original.length)
})
