/**
 * The trail: intent before the act, outcome after, refusal within two seconds when it cannot be written (K1, K5).
 */
import { join } from 'node:path'
import t from 'tap'
import { MOST_BYTES, MOST_RECORDS } from '../../src/audit/queue.ts'
import { type AuditObserver, NO_OBSERVER } from '../../src/audit/sink.ts'
import { createSink } from '../../src/audit/sinks.ts'
import { systemClock } from '../../src/base/clock.ts'
import { isError } from '../../src/base/errors.ts'
import { manualClock } from '../support/clock.ts'
import { exchange, FaultySink, recordsOf, refusal, trailAt, turns } from './fixtures.ts'

const events = (records: readonly Record<string, unknown>[]) => records.map(record => record.event)

async function faulty(...sinks: FaultySink[]) {
  const used = sinks.length === 0 ? [new FaultySink()] : sinks
  const counted = { refused: 0, dropped: 0, retries: 0, written: 0, checkpoints: 0 }
  const observer: AuditObserver = {
    onWritten: (_sink, records) => {
      counted.written += records
    },
    onRetry: () => {
      counted.retries++
    },
    onDropped: (_sink, records) => {
      counted.dropped += records
    },
    onRefused: () => {
      counted.refused++
    },
    onCheckpoint: () => {
      counted.checkpoints++
    },
  }
  const running = trailAt('unused', { sinks: used, observer })
  await running.trail.start()
  return { ...running, sink: used[0] as FaultySink, counted }
}

t.test('refuses an intent before the trail was started and after it was stopped', async t => {
  const { trail } = trailAt('unused', { sinks: [new FaultySink()] })

  await t.rejects(trail.intend(exchange()), { code: 'AUDIT_UNAVAILABLE' })
  await trail.start()
  await trail.stop()
  await t.rejects(trail.intend(exchange()), { code: 'AUDIT_UNAVAILABLE' })
  await t.rejects(trail.note('secret.put', {}), { code: 'AUDIT_UNAVAILABLE' })
  t.match(trail.health(), { ok: false })
})

t.test('a trail without a required sink is not opened', async t => {
  t.throws(() => trailAt('unused', { sinks: [new FaultySink(false)] }), { code: 'INTERNAL_BROKEN_INVARIANT' })
})

t.test(
  'a log that hangs costs two seconds and then a refusal, and not one millisecond less or more',
  async t => {
    const { trail, clock, sink, counted } = await faulty()
    sink.mode = 'hang'
    let settled = 'no'
    const waiting = trail.intend(exchange()).then(
      () => {
        settled = 'resolved'
      },
      cause => {
        settled = isError(cause, 'AUDIT_UNAVAILABLE') ? 'refused' : 'other'
      },
    )
    await turns()

    clock.advance(1999)
    await turns()
    t.equal(settled, 'no')
    t.equal(trail.health().ok, true)
    clock.advance(1)
    await waiting

    t.equal(settled, 'refused')
    t.match(trail.health(), { ok: false, detail: 'the log cannot be written' })
    t.equal(counted.dropped, 0)
    sink.release()
  },
)

t.test(
  'while the log hangs new exchanges are refused at once, with a swap or without, and notes too',
  async t => {
    const { trail, clock, sink, counted } = await faulty()
    sink.mode = 'hang'
    const first = t.rejects(trail.intend(exchange()), { code: 'AUDIT_UNAVAILABLE' })
    await turns()
    clock.advance(2000)
    await first

    await t.rejects(trail.intend(exchange()), { code: 'AUDIT_UNAVAILABLE' })
    await t.rejects(trail.intend(exchange({ swaps: [] })), { code: 'AUDIT_UNAVAILABLE' })
    await t.rejects(trail.note('policy.reloaded', {}), { code: 'AUDIT_UNAVAILABLE' })

    t.equal(counted.refused, 2)
    sink.release()
  },
)

t.test(
  'one that joined later is refused with the oldest, so nobody waits longer than two seconds',
  async t => {
    const { trail, clock, sink } = await faulty()
    sink.mode = 'hang'
    const first = t.rejects(trail.intend(exchange()), { code: 'AUDIT_UNAVAILABLE' })
    await turns()
    clock.advance(1500)
    const second = t.rejects(trail.intend(exchange()), { code: 'AUDIT_UNAVAILABLE' })

    clock.advance(500)

    await Promise.all([first, second])
    sink.release()
  },
)

t.test(
  'the limit is each exchange’s own: a late one does not end with an early one that got through',
  async t => {
    const { trail, clock, sink } = await faulty()
    sink.mode = 'hang'
    const first = trail.intend(exchange())
    await turns()
    clock.advance(1000)
    sink.release()
    await first
    sink.mode = 'hang'
    let isRefused = false
    const second = trail.intend(exchange()).catch(() => {
      isRefused = true
    })
    await turns()

    clock.advance(1999)
    await turns()
    t.equal(isRefused, false)
    clock.advance(1)
    await second

    t.equal(isRefused, true)
    sink.release()
  },
)

t.test('every intent that reaches the log after its refusal has an outcome there too', async t => {
  const { trail, clock, sink } = await faulty()
  sink.mode = 'hang'
  const written = exchange({ sent: false, intended: false })
  const queued = exchange({ sent: false, intended: false })
  const refused = [trail.intend(written)]
  await turns()
  refused.push(trail.intend(queued))
  clock.advance(2000)
  t.same(
    (await Promise.allSettled(refused)).map(({ status }) => status),
    ['rejected', 'rejected'],
  )
  const outcome = { kind: 'proxy_error', status: 503, error: 'AUDIT_UNAVAILABLE' } as const
  await trail.conclude({ ...written, outcome })
  await trail.conclude({ ...queued, outcome })

  sink.release()
  await turns()

  const of = (request: string) => events(sink.records.filter(record => record.request === request))
  t.same(of(written.request), ['intent', 'refused'])
  t.same(of(queued.request), ['refused'], 'what was not being written was taken out')
  t.equal(trail.health().ok, true)
})

t.test('a full disk refuses within two seconds and recovers by itself when there is room', async t => {
  const { trail, clock, sink, counted } = await faulty()
  sink.mode = 'fail'
  const refused = t.rejects(trail.intend(exchange()), { code: 'AUDIT_UNAVAILABLE' })
  for (let i = 0; i < 8; i++) {
    await turns()
    clock.advance(250)
  }
  await refused
  t.ok(counted.retries >= 7)

  sink.mode = 'ok'
  await turns()
  clock.advance(250)
  await turns()

  await trail.intend(exchange())
  t.equal(trail.health().ok, true)
})

t.test('a queue that is full refuses intents and keeps a place for every outcome that it owes', async t => {
  const { trail, clock, sink, counted } = await faulty()
  const early = exchange()
  await trail.intend(early)
  sink.mode = 'hang'
  const intents = Array.from({ length: MOST_RECORDS + 50 }, () => trail.intend(exchange()))
  intents.map(intent => intent.catch(() => undefined))
  t.match(trail.health(), { ok: false, detail: 'too many records wait' })
  t.ok(counted.refused > 50)

  await trail.conclude(early)
  await trail.conclude(refusal())

  t.equal(counted.dropped, 1, 'a refusal that nothing was promised for is counted, not kept')
  clock.advance(2000)
  await Promise.allSettled(intents)
  sink.release()
  await turns(200)
  t.same(events(sink.records.filter(record => record.request === early.request)), ['intent', 'outcome'])
  t.match(
    sink.records.find(record => record.event === 'audit.gap'),
    { cause: 'queue_full', records: 1 },
    'and the hole is in the log',
  )
})

t.test('an intent is durable when intend resolves, and not before', async t => {
  const { trail, sink } = await faulty()
  sink.mode = 'hang'
  const record = exchange()
  let isDone = false
  const done = trail.intend(record).then(() => {
    isDone = true
  })
  await turns()
  t.equal(isDone, false)

  sink.release()
  await done

  t.match(sink.records.at(-1), { event: 'intent', request: record.request })
})

t.test('every required sink must have the record', async t => {
  const file = new FaultySink()
  const stdout = new FaultySink(true, 'stdout')
  const { trail, clock } = await faulty(file, stdout)
  stdout.mode = 'hang'
  const refused = t.rejects(trail.intend(exchange()), { code: 'AUDIT_UNAVAILABLE' })
  await turns()

  clock.advance(2000)

  await refused
  stdout.release()
})

t.test('an optional sink that hangs costs nothing, and the hole is told when it is back', async t => {
  const file = new FaultySink()
  const stdout = new FaultySink(false, 'stdout')
  const { trail, counted } = await faulty(file, stdout)
  stdout.mode = 'hang'
  const long = 'x'.repeat(250)
  for (let i = 0; i < 12_000 && counted.dropped === 0; i += 200) {
    await Promise.all(
      Array.from({ length: 200 }, async () => {
        const record = exchange({ path: long })
        await trail.intend(record)
        await trail.conclude(record)
      }),
    )
  }
  t.ok(counted.dropped > 0, 'its backlog is bounded')
  t.equal(trail.health().ok, true)

  stdout.release()
  await turns(100)

  t.match(
    file.records.findLast(record => record.event === 'audit.gap'),
    { cause: 'sink_behind', sink: 'stdout', records: counted.dropped },
  )
})

t.test('a request without a swap writes its outcome alone', async t => {
  const { trail, sink } = await faulty()
  const record = exchange({ swaps: [], intended: false })

  await trail.intend(record)
  await trail.conclude(record)
  await turns()

  t.same(events(sink.records), ['start', 'outcome'])
})

t.test('records that arrive while a write is under way share the next', async t => {
  const { trail, sink } = await faulty()
  sink.mode = 'hang'
  const first = trail.intend(exchange())
  await turns()
  const before = sink.writes
  const rest = Array.from({ length: 100 }, () => trail.intend(exchange()))

  sink.release()
  await Promise.all([first, ...rest])

  t.equal(sink.writes - before, 1)
  t.equal(sink.records.length, 102)
})

t.test(
  'an exchange with more swaps than a line holds gets several intents, and none is left out',
  async t => {
    const { trail, sink } = await faulty()
    const swaps = Array.from({ length: 40 }, (_, i) => ({
      ...exchange().swaps[0],
      secret: `acme/secret-${i}`,
    })) as ReturnType<typeof exchange>['swaps']

    await trail.intend(exchange({ swaps }))

    const named = sink.records.flatMap(record => (record.swaps ?? []) as { secret: string }[])
    t.same(
      named.map(({ secret }) => secret),
      swaps.map(({ secret }) => secret),
    )
    t.ok(Math.max(...sink.text.split('\n').map(line => line.length)) < 4096)
  },
)

t.test(
  'an intent of several lines is durable with its last one, also when they fall into two writes',
  async t => {
    const { trail, sink } = await faulty()
    sink.mode = 'hang'
    const first = trail.intend(exchange())
    await turns()
    const others = Array.from({ length: 255 }, () => trail.intend(exchange()))
    const swaps = Array.from({ length: 40 }, () => exchange().swaps).flat()
    let isDone = false
    const long = trail.intend(exchange({ swaps })).then(() => {
      isDone = true
    })
    for (let write = 0; write < 2; write++) {
      sink.release()
      sink.mode = 'hang'
      await turns()
    }

    t.same((await Promise.all([first, ...others])).length, 256)
    t.equal(isDone, false, 'its first line is there, the rest is not')
    sink.release()
    await long
  },
)

t.test('the queue is bounded in bytes too', async t => {
  const { trail, clock, sink } = await faulty()
  sink.mode = 'hang'
  const large = Object.fromEntries(Array.from({ length: 6 }, (_, i) => [`f${i}`, 'x'.repeat(500)]))

  const notes = Array.from({ length: MOST_BYTES / 3000 }, () => trail.note('policy.reloaded', large))

  t.ok(notes.length < MOST_RECORDS)
  t.match(trail.health(), { ok: false, detail: 'too many records wait' })
  const settled = Promise.allSettled(notes)
  clock.advance(2000)
  await settled
  sink.release()
})

t.test('a checkpoint follows a thousand records, a minute, and the end', async t => {
  const { trail, clock, sink, counted } = await faulty()
  clock.advance(60_000)
  await turns()
  t.same(events(sink.records), ['start', 'checkpoint'], 'a minute')
  clock.advance(600_000)
  await turns()
  t.equal(counted.checkpoints, 1, 'nothing new, nothing to sign')

  for (let i = 0; i < 5; i++) await Promise.all(Array.from({ length: 200 }, () => trail.intend(exchange())))
  t.equal(counted.checkpoints, 2, 'a thousand records')

  await trail.stop()
  t.same(events(sink.records.slice(-2)), ['stop', 'checkpoint'], 'the end')
  t.equal(clock.pendingTimers(), 0)
})

t.test('a stop does not wait forever for a log that hangs', async t => {
  const { trail, clock, sink } = await faulty()
  sink.mode = 'hang'
  const stopped = trail.stop()
  await turns()

  clock.advance(2000)

  await stopped
  t.equal(clock.pendingTimers(), 0)
})

t.test('a log that cannot be opened ends the start', async t => {
  const path = join(t.testdir({ file: 'x' }), 'file', 'audit.jsonl')
  const { trail } = trailAt(path)

  await t.rejects(trail.start(), { code: 'AUDIT_UNAVAILABLE' })
})

t.test('refuses the names of fields and events that would forge the frame', async t => {
  const { trail } = await faulty()

  for (const field of ['seq', 'hash', 'prev', 'signature', 'event', 'Bad', 'a-b'])
    t.throws(() => trail.note('secret.put', { [field]: 1 }), { code: 'INTERNAL_BROKEN_INVARIANT' }, field)
  for (const event of ['intent', 'outcome', 'checkpoint', 'audit.gap', 'start', 'x"y'])
    t.throws(() => trail.note(event, {}), { code: 'INTERNAL_BROKEN_INVARIANT' }, event)
})

t.test('the records of one exchange have the shape of interfaces.md', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const { trail } = trailAt(path, { startFields: { version: '0.1.0' } })
  await trail.start()
  const record = exchange({ queryKeys: ['expand'], redactions: 2 })
  await trail.intend(record)
  await trail.conclude(record)
  await trail.note('secret.put', {
    secret: 'acme/stripe',
    version: 3,
    targets: ['https://api.stripe.com:443'],
  })
  await trail.stop()

  const [start, intent, outcome, note, stop] = recordsOf(path)

  t.match(start, { v: 1, seq: 1, instance: 'pod-7f', event: 'start', version: '0.1.0', prev: '0'.repeat(64) })
  t.same(Object.keys(intent ?? {}), [
    ...['v', 'seq', 'time', 'instance', 'event', 'request', 'caller', 'tenant', 'rule', 'policy', 'target'],
    ...['method', 'path', 'query', 'swaps', 'trace', 'prev', 'hash'],
  ])
  t.match(intent, {
    event: 'intent',
    request: record.request,
    swaps: [{ secret: 'acme/stripe', version: 3, placeholder: 'xclk_r…Q3xZ', in: 'header.authorization' }],
  })
  t.match(outcome, {
    event: 'outcome',
    request: record.request,
    outcome: 'allowed',
    status: 200,
    bytes: { upstream: 312, caller: 1024 },
    redactions: 2,
    duration_ms: 12.346,
  })
  t.match(note, { event: 'secret.put', secret: 'acme/stripe', targets: ['https://api.stripe.com:443'] })
  t.match(stop, { event: 'stop', seq: 5 })
})

t.test('a refusal says what was refused and why', async t => {
  const { trail, sink } = await faulty()

  await trail.conclude(refusal())
  await turns()

  t.match(sink.records.at(-1), {
    event: 'refused',
    outcome: 'denied',
    status: 403,
    error: 'POLICY_DENIED',
    reason: 'path_not_allowed',
  })
})

t.test('works on the real clock and the real disk, and syncs when asked', async t => {
  const path = join(t.testdir(), 'audit.jsonl')
  const clock = manualClock()
  const sinks = [createSink({ kind: 'file', path, required: true }, 'fsync', clock)]
  const { trail } = trailAt(path, { sinks, clock: systemClock as never, observer: NO_OBSERVER })
  await trail.start()

  await Promise.all(Array.from({ length: 300 }, () => trail.intend(exchange())))
  await trail.stop()

  t.equal(recordsOf(path).filter(record => record.event === 'intent').length, 300)
})
