/**
 * The strictness table of threat-model.md 1.E, both directions: every hostile message has one answer, however its bytes arrive.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { cuts, latin1, type Reading, readRequest, readResponse } from './reading.ts'
import { type CorpusCase, REQUEST_CASES } from './request-corpus.ts'
import { RESPONSE_CASES } from './response-corpus.ts'

const FOLDER = join(import.meta.dirname, '..', '..', 'src', 'http1')
const SOURCES = readdirSync(FOLDER)
  .map(file => readFileSync(join(FOLDER, file), 'utf8'))
  .join('')

const verdictOf = (reading: Reading<unknown>): string => {
  if (reading.kind === 'refused') return reading.code
  return reading.kind === 'message' ? 'read' : 'truncated'
}

// Long inputs test limits; cutting each at every byte would take minutes and show nothing new.
const CUT_AT_MOST = 400

t.test('the corpus is as large as it is meant to be', async t => {
  const hostile = (cases: readonly (readonly [string, string, string, ...unknown[]])[]) =>
    cases.filter(([, , verdict]) => verdict !== 'read').length
  const names = (cases: readonly (readonly [string, ...unknown[]])[]) => new Set(cases.map(([name]) => name))

  t.ok(hostile(REQUEST_CASES) >= 150, `${hostile(REQUEST_CASES)} requests`)
  t.ok(hostile(RESPONSE_CASES) >= 60, `${hostile(RESPONSE_CASES)} responses`)
  t.equal(names(REQUEST_CASES).size, REQUEST_CASES.length)
  t.equal(names(RESPONSE_CASES).size, RESPONSE_CASES.length)
})

t.test('each hostile request has its one answer', async t => {
  for (const [name, input, verdict] of REQUEST_CASES) {
    t.equal(verdictOf(readRequest([latin1(input)])), verdict, name)
  }
})

t.test('each hostile response has its one answer, and no body but its own', async t => {
  for (const [name, input, verdict, method, body] of RESPONSE_CASES) {
    const reading = readResponse([latin1(input)], method)

    t.equal(verdictOf(reading), verdict, name)
    if (reading.kind === 'message') t.equal(reading.body, body, name)
  }
})

t.test('a request means the same wherever its bytes are cut', async t => {
  const short = REQUEST_CASES.filter(([, input]) => input.length <= CUT_AT_MOST)

  for (const [name, input] of short) sameForAllCuts(t, name, input, readRequest)
})

t.test('a response means the same wherever its bytes are cut', async t => {
  const short = RESPONSE_CASES.filter(([, input]) => input.length <= CUT_AT_MOST)

  for (const [name, input, , method] of short) {
    sameForAllCuts(t, name, input, pieces => readResponse(pieces, method))
  }
})

t.test('a refusal for some bytes is the refusal for whatever follows them', async t => {
  const refusals = REQUEST_CASES.filter(([, , verdict]) => verdict !== 'read' && verdict !== 'truncated')

  for (const [name, input] of refusals as CorpusCase[]) {
    const whole = readRequest([latin1(input)])
    const followed = readRequest([latin1(`${input}GET /next HTTP/1.1\r\nHost: b.example\r\n\r\n`)])

    t.same(followed, whole, name)
  }
})

t.test('a refusal says one of our own phrases and never a byte of the input', async t => {
  const phrases = new Set<string>()
  for (const [, input] of REQUEST_CASES) {
    const reading = readRequest([latin1(input)])
    if (reading.kind === 'refused') phrases.add(reading.what)
  }
  for (const [, input, , method] of RESPONSE_CASES) {
    const reading = readResponse([latin1(input)], method)
    if (reading.kind === 'refused') phrases.add(reading.what)
  }

  for (const phrase of phrases) t.ok(SOURCES.includes(`'${phrase}'`), `a literal of our own: ${phrase}`)
})

function sameForAllCuts(
  t: Test,
  name: string,
  input: string,
  read: (pieces: readonly Buffer[]) => Reading<unknown>,
): void {
  const bytes = latin1(input)
  const whole = JSON.stringify(read([bytes]))
  const differing = cuts(bytes).filter(pieces => JSON.stringify(read(pieces)) !== whole)
  t.equal(differing.length, 0, name)
}
