/**
 * Seeded mutants against a model of the grammar, and generated messages through the codec's own writing and reading.
 *
 * CLOAKROOM_FUZZ_MILLISECONDS makes it run longer, CLOAKROOM_FUZZ_SEED repeats a run: the seed is in the failure's name.
 */
import fc from 'fast-check'
import t from 'tap'
import { BodyWriter } from '../../src/http1/body-writer.ts'
import { type Framing, framingHeaders } from '../../src/http1/framing.ts'
import { isFieldValue, isOriginTarget, isReason, isToken } from '../../src/http1/grammar.ts'
import { isForbiddenTrailer } from '../../src/http1/trailers.ts'
import { writeRequestHead, writeResponseHead } from '../../src/http1/write.ts'
import type { HeaderList } from '../../src/model/message.ts'
import { readByModel } from './model.ts'
import { type Dice, diceOf, mutantOf, SEEDS } from './mutation.ts'
import { latin1, readRequest, readResponse } from './reading.ts'
import { REQUEST_CASES } from './request-corpus.ts'

const BUDGET = Number(process.env.CLOAKROOM_FUZZ_MILLISECONDS ?? 1500)
const SEED = Number(process.env.CLOAKROOM_FUZZ_SEED ?? 20261123)
const SMALL = REQUEST_CASES.map(([, input]) => input).filter(input => input.length <= 400)

type Outcome = { readonly reading: string; readonly byModel: string }

function outcomeOf(input: string, pieces: readonly Buffer[]): Outcome {
  const read = readRequest(pieces)
  const byModel = JSON.stringify(readByModel(input) ?? 'refused')
  if (read.kind !== 'message') return { reading: '"refused"', byModel }
  const { method, rawTarget, headers } = read.head
  const { body, trailers, rest } = read
  return { reading: JSON.stringify({ method, rawTarget, headers, body, trailers, rest }), byModel }
}

function randomCuts(bytes: Buffer, dice: Dice): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const next = at + 1 + dice(1 + dice(bytes.length))
    pieces.push(bytes.subarray(at, next))
    at = next
  }
  return pieces
}

t.test('the model and the codec agree on the whole corpus', async t => {
  for (const input of SMALL) {
    const { reading, byModel } = outcomeOf(input, [latin1(input)])

    if (reading !== byModel) t.equal(reading, byModel, JSON.stringify(input))
  }
})

t.test('mutants are read as the model reads them, however they are cut', async t => {
  const dice = diceOf(SEED)
  const until = performance.now() + BUDGET
  let mutants = 0
  let read = 0
  while (performance.now() < until && t.passing()) {
    const seed = dice(2) === 0 ? SEEDS[dice(SEEDS.length)] : SMALL[dice(SMALL.length)]
    const input = mutantOf(seed ?? '', dice)
    const whole = outcomeOf(input, [latin1(input)])
    const cut = outcomeOf(input, randomCuts(latin1(input), dice))
    mutants++
    if (whole.reading !== '"refused"') read++
    if (whole.reading !== whole.byModel || cut.reading !== whole.reading) {
      t.fail(`seed ${SEED}: ${JSON.stringify(input)}`, { whole, cut })
    }
  }

  t.ok(mutants > 500, `${mutants} mutants`)
  t.ok(read > mutants / 50 && read < mutants, `${read} of them were read`)
})

// Text of bytes, with those that matter more often than the rest.
const byteText = fc
  .array(
    fc.oneof(
      fc.constantFrom(...'\t !#%/:;,="\\_-a0Z~\x7f\x80\xe9\xff'),
      fc.integer({ min: 0, max: 255 }).map(code => String.fromCharCode(code)),
    ),
    { maxLength: 12 },
  )
  .map(characters => characters.join(''))
const token = fc.string({ minLength: 1, maxLength: 12 }).filter(isToken)
const fieldValue = byteText.filter(isFieldValue)
const isFree = (name: string): boolean => !/^(content[-_]length|transfer[-_]encoding)$/i.test(name)
const headers: fc.Arbitrary<HeaderList> = fc.array(fc.tuple(token.filter(isFree), fieldValue), {
  maxLength: 8,
})
const trailers = headers.map(list => list.filter(([name]) => !isForbiddenTrailer(name)))
const path = byteText.map(text => `/${text}`).filter(isOriginTarget)
const pieces = fc.array(
  fc.uint8Array({ maxLength: 40 }).map(bytes => Buffer.from(bytes)),
  { maxLength: 5 },
)

const SHAPES = ['length', 'chunked'] as const

function framingOf(shape: (typeof SHAPES)[number], body: readonly Buffer[]): Framing {
  return shape === 'chunked' ? { kind: 'chunked' } : { kind: 'length', length: Buffer.concat(body).length }
}

function bodyBytes(framing: Framing, body: readonly Buffer[], last: HeaderList): Buffer {
  const writer = new BodyWriter(framing)
  return Buffer.concat([...body.flatMap(piece => writer.frame(piece)), ...writer.end(last)])
}

t.test('a request that is written is read back as itself, with the next one behind it', async t => {
  const method = fc.constantFrom('GET', 'POST', 'DELETE', 'M-SEARCH')
  const anyRequest = fc.record({ method, path, headers, shape: fc.constantFrom(...SHAPES), pieces, trailers })

  fc.assert(
    fc.property(anyRequest, request => {
      const framing = framingOf(request.shape, request.pieces)
      const head = writeRequestHead(request.method, request.path, [
        ...request.headers,
        ...framingHeaders(framing),
      ])
      const bytes = Buffer.concat([
        head,
        bodyBytes(framing, request.pieces, request.trailers),
        latin1('GET /next'),
      ])

      const read = readRequest([bytes])

      const { method, path: rawTarget } = request
      const sent = { method, rawTarget, minor: 1, headers: [...request.headers, ...framingHeaders(framing)] }
      const body = Buffer.concat(request.pieces).toString('latin1')
      const last = request.shape === 'chunked' ? request.trailers : []
      t.strictSame(read, { kind: 'message', head: sent, framing, body, trailers: last, rest: 'GET /next' })
      return t.passing()
    }),
    { numRuns: 150 },
  )
})

t.test('a response that is written is read back as itself', async t => {
  const status = fc.integer({ min: 200, max: 599 }).filter(code => code !== 204 && code !== 304)
  const reason = byteText.filter(isReason)
  const minor = fc.constantFrom(0 as const, 1 as const)

  fc.assert(
    fc.property(minor, status, reason, headers, pieces, (minor, status, reason, headers, pieces) => {
      const framing = framingOf(minor === 1 ? 'chunked' : 'length', pieces)
      const list = [...headers, ...framingHeaders(framing)]
      const bytes = [writeResponseHead(minor, status, reason, list), bodyBytes(framing, pieces, [])]

      const read = readResponse([Buffer.concat(bytes)])

      t.strictSame(read.kind === 'message' && read.head, { minor, status, reason, headers: list })
      return t.passing()
    }),
    { numRuns: 150 },
  )
})
