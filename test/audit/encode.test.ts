/**
 * One line, one object, whatever an attacker writes into a field; and every line below its cap (K3, K4).
 */
import { createSecretKey, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { EMPTY_CHAIN, linkRecord, readLine } from '../../src/audit/chain.ts'
import { encodeIntents, encodeNote, encodeOutcome, MAX_LINE_BYTES, quote } from '../../src/audit/encode.ts'
import { createFingerprint } from '../../src/audit/fingerprint.ts'
import { REASONS } from '../../src/model/decision.ts'
import type { ExchangeRecord } from '../../src/model/exchange.ts'
import { SecretValue } from '../../src/model/secret.ts'
import { exchange, swap } from './fixtures.ts'

// What has broken loggers, terminals and parsers before.
const HOSTILE = [
  '',
  '"',
  '\\',
  '\\"',
  '","event":"intent',
  '"}\n{"v":1,"seq":1}',
  'a\r\nb',
  'a\u0000b',
  '\u001b[2J\u001b[31mred',
  '\u009b31m',
  '\u0007\u0008\u007f',
  '\u2028\u2029',
  '\u202egnp.exe\u202c',
  '\u2066\u2067\u2069\u061c\u200e\u200f',
  '\ufeff\u200b\u200c\u200d\u2060',
  '\ud800',
  '\udfff\ud800',
  '😀'.repeat(300),
  'é'.repeat(300),
  '\u{e0041}\u{e0042}',
  '"'.repeat(5000),
  '\\'.repeat(5000),
  '\u0000'.repeat(5000),
  '__proto__',
  'constructor',
  '%00%0a%0d',
  '$' + '{jndi:ldap://x}',
  '<script>alert(1)</script>',
  "'; DROP TABLE audit; --",
  '../../../etc/passwd',
  'null',
  '1e400',
  'NaN',
  'x'.repeat(100_000),
]

function lineOf(members: string): string {
  return linkRecord(members, {
    after: EMPTY_CHAIN,
    time: '2026-11-23T00:00:00.000Z',
    instance: quote('pod', 128),
  }).line
}

function everywhere(text: string): ExchangeRecord {
  const bad = {
    secret: text,
    version: 1,
    placeholder: text,
    in: text,
    fingerprint: text,
    locationKind: 'header',
    stale: true,
  } as const
  return exchange({
    request: text,
    caller: text,
    tenant: text,
    rule: text,
    policy: text,
    target: text,
    method: text,
    path: text,
    trace: text,
    queryKeys: Array.from({ length: 30 }, () => text),
    swaps: Array.from({ length: 12 }, () => bad),
    intended: false,
  })
}

function faultOf(line: string): string | undefined {
  if (!/^[ -~]+$/.test(line)) return 'holds a byte outside printable ASCII'
  if (line.length + 1 > MAX_LINE_BYTES) return `has ${line.length + 1} bytes`
  const read = readLine(line)
  return read.kind === 'fault' ? read.what : undefined
}

t.test('one line is one object of printable ASCII below 4 KiB, whatever stands in any field', async t => {
  for (const text of HOSTILE) {
    const record = everywhere(text)
    for (const members of [
      ...encodeIntents(record),
      encodeOutcome(record),
      encodeNote('secret.put', { name: text, names: [text] }),
    ])
      t.equal(faultOf(lineOf(members)), undefined, `string ${HOSTILE.indexOf(text)}`)
  }
})

t.test('any string at all, in every field', async () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 400 }), text => {
      const record = everywhere(text)
      return [...encodeIntents(record), encodeOutcome(record)].every(
        members => faultOf(lineOf(members)) === undefined,
      )
    }),
    { numRuns: 300 },
  )
})

t.test('what fits comes back as it was', async () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', maxLength: 40 }),
      text => JSON.parse(quote(text, 600)) === text,
    ),
  )
})

t.test('what does not fit is cut between escapes and marked', async t => {
  for (const text of HOSTILE) {
    for (let cap = 12; cap < 40; cap++) {
      const quoted = quote(text, cap)
      t.ok(quoted.length <= cap + 2 && typeof JSON.parse(quoted) === 'string', `${cap}`)
    }
  }
  t.equal(JSON.parse(quote('x'.repeat(50), 16)), `${'x'.repeat(10)}…`)
})

t.test(
  'intent and outcome say that a credential came from memory while the store could not be asked',
  async t => {
    const fresh = exchange()
    const stale = exchange({ swaps: [swap, { ...swap, stale: true }] })
    const members = (record: ExchangeRecord) =>
      [...encodeIntents(record), encodeOutcome(record)].map(text => JSON.parse(lineOf(text)).stale)

    t.same(members(fresh), [undefined, undefined])
    t.same(members(stale), [true, true])
  },
)

t.test('no swap is left out of the intents, however many and long they are', async () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 120 }), { minLength: 1, maxLength: 60 }), lengths => {
      const swaps = lengths.map((length, i) => ({ ...swap, secret: `t/${i}-${'n'.repeat(length)}` }))
      const lines = encodeIntents(exchange({ swaps })).map(lineOf)
      const named = lines.flatMap(line => JSON.parse(line).swaps as { secret: string }[])
      return (
        lines.every(line => faultOf(line) === undefined) &&
        named.map(({ secret }) => secret.split('-')[0]).join() === swaps.map((_, i) => `t/${i}`).join()
      )
    }),
    { numRuns: 50 },
  )
})

t.test('an outcome that lists swaps says how many did not fit', async t => {
  const swaps = Array.from({ length: 50 }, () => swap)

  const outcome = JSON.parse(lineOf(encodeOutcome(exchange({ swaps, intended: false, sent: false }))))

  t.equal(outcome.swaps.length + outcome.swaps_more, 50)
  t.equal(JSON.parse(lineOf(encodeOutcome(exchange({ swaps, intended: true })))).swaps, undefined)
})

t.test(
  'fields of the exchange that may not be known are absent, and numbers that are none do no harm',
  async t => {
    const bare: ExchangeRecord = {
      request: '01J',
      time: 0,
      entrance: 'absolute',
      swaps: [],
      sent: false,
      intended: false,
      bytesToUpstream: Number.NaN,
      bytesToCaller: Number.POSITIVE_INFINITY,
      redactions: 0,
      duration: Number.NaN,
      phases: { policy: 0, secret: 0, swap_request: 0, audit: 0 },
    }

    const record = JSON.parse(lineOf(encodeOutcome(bare)))

    t.match(record, {
      event: 'refused',
      outcome: 'proxy_error',
      bytes: { upstream: 0, caller: 0 },
      duration_ms: 0,
    })
    t.notOk(['caller', 'tenant', 'swaps', 'status', 'reason', 'query', 'path'].some(name => name in record))
  },
)

t.test('a refusal names at most four placeholders, and the line stays within its bounds', async t => {
  for (const text of HOSTILE) {
    const refused = Array.from({ length: 9 }, () => ({ secret: text, placeholder: text, in: text }))
    const line = lineOf(encodeOutcome({ ...everywhere(text), swaps: [], refused }))
    t.equal(faultOf(line), undefined, `string ${HOSTILE.indexOf(text)}`)
    t.equal(JSON.parse(line).refused.length, 4)
  }
})

t.test('every reason is written whole', async t => {
  for (const reason of REASONS) {
    const outcome = { kind: 'denied', status: 403, error: 'SWAP_REFUSED', reason } as const
    t.equal(JSON.parse(lineOf(encodeOutcome(exchange({ outcome })))).reason, reason)
  }
})

t.test('a note that is too long says that it was clipped', async t => {
  const fields = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`f${i}`, 'x'.repeat(400)]))

  const line = lineOf(encodeNote('policy.reloaded', fields))

  t.equal(JSON.parse(line).clipped, true)
  t.equal(faultOf(line), undefined)
})

t.test('a fingerprint depends on the key and on the value, and shows neither', async t => {
  const value = () => new SecretValue(Buffer.from('sk_live_1234567890'))
  const [one, two] = [1, 2].map(() => createFingerprint(createSecretKey(randomBytes(32))))

  t.match(one?.(value()), /^hmac:[0-9a-f]{32}$/)
  t.equal(one?.(value()), one?.(value()))
  t.not(one?.(value()), two?.(value()))
  t.not(one?.(value()), one?.(new SecretValue(Buffer.from('sk_live_1234567891'))))
})
