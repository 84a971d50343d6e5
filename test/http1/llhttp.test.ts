/**
 * Two parsers, one meaning: where the codec and Node's llhttp both read a message, they read the same one; and what llhttp refuses
 * the codec refuses too, but for the few cases that stand here with a reason.
 *
 * CLOAKROOM_FUZZ_MUTANTS makes it run longer, CLOAKROOM_FUZZ_SEED repeats a run.
 */
import { METHODS } from 'node:http'
import t from 'tap'
import { isForbiddenTrailer } from '../../src/http1/trailers.ts'
import { aRequestJudge, judgeResponse, type SecondOpinion } from './llhttp.ts'
import { diceOf, mutantOf, SEEDS } from './mutation.ts'
import { latin1, type Reading, readRequest, readResponse } from './reading.ts'
import { REQUEST_CASES } from './request-corpus.ts'
import { RESPONSE_CASES } from './response-corpus.ts'

type Message = Extract<Reading<Head>, { kind: 'message' }>

type Head = { readonly minor: number; readonly headers: unknown } & (
  | { readonly method: string; readonly rawTarget: string }
  | { readonly status: number; readonly reason: string }
)

/** The bytes of the first message alone: what follows would be judged in the same turn and spoil the opinion. */
function own(input: string, read: Reading<Head>): Buffer {
  return latin1(read.kind === 'message' ? input.slice(0, input.length - read.rest.length) : input)
}

type Exception = {
  readonly why: string
  readonly applies: (read: Message, input: string) => boolean
}

// What the codec reads and llhttp refuses, and why that is right.
const EXCEPTIONS: readonly Exception[] = [
  {
    why: 'llhttp has a fixed list of methods; a method that it does not know has one meaning all the same',
    applies: read => 'method' in read.head && !METHODS.includes(read.head.method),
  },
  {
    why: 'llhttp parses chunk extensions; we drop them unread, and no byte that could end the line passes',
    applies: (read, input) => read.framing.kind === 'chunked' && /[\r\n][0-9A-Fa-f]+;/.test(input),
  },
  {
    why: 'llhttp frames by trailers; we only list them, and isForbiddenTrailer drops these',
    applies: read => read.trailers.some(([name]) => isForbiddenTrailer(name)),
  },
  {
    why: 'llhttp takes no HTAB after chunked; RFC 9110 5.6.3 makes it a blank like SP',
    applies: (_read, input) => /chunked *\t/i.test(input),
  },
]
const SEED = Number(process.env.CLOAKROOM_FUZZ_SEED ?? 20261123)
const MUTANTS = Number(process.env.CLOAKROOM_FUZZ_MUTANTS ?? 1500)
const used = new Set<Exception>()

function compare(read: Reading<Head>, opinion: SecondOpinion, input: string): string | undefined {
  if (read.kind !== 'message') return undefined
  if (opinion.kind === 'refused') {
    const exception = EXCEPTIONS.find(({ applies }) => applies(read, input))
    if (exception === undefined) return 'llhttp refuses what the codec reads'
    used.add(exception)
    return undefined
  }
  const { head } = read
  const start = 'method' in head ? [head.method, head.rawTarget] : [head.status, head.reason]
  const body = opinion.body === undefined ? undefined : read.body
  const mine = { start, minor: head.minor, headers: head.headers, body, trailers: read.trailers }
  const { kind: _, ...theirs } = opinion
  return JSON.stringify(mine) === JSON.stringify(theirs)
    ? undefined
    : `read otherwise: ${JSON.stringify(mine)} and ${JSON.stringify(theirs)}`
}

t.test('requests mean to the codec what they mean to llhttp', async t => {
  const judge = await aRequestJudge()
  t.teardown(() => judge.close())

  for (const [name, input] of REQUEST_CASES) {
    const read = readRequest([latin1(input)])
    const why = compare(read, await judge.judge(own(input, read)), input)
    t.equal(why ?? 'agreed', 'agreed', name)
  }
})

t.test('responses mean to the codec what they mean to llhttp', async t => {
  for (const [name, input, , method = 'GET'] of RESPONSE_CASES) {
    const read = readResponse([latin1(input)], method)
    const why = compare(read, await judgeResponse(own(input, read), method), input)
    t.equal(why ?? 'agreed', 'agreed', name)
  }
})

t.test('mutants that the codec reads mean the same to llhttp', async t => {
  const judge = await aRequestJudge()
  t.teardown(() => judge.close())
  const dice = diceOf(SEED)
  let judged = 0

  for (let i = 0; i < MUTANTS && t.passing(); i++) {
    const input = mutantOf(SEEDS[dice(SEEDS.length)] ?? '', dice)
    const read = readRequest([latin1(input)])
    if (read.kind !== 'message') continue
    judged++
    const why = compare(read, await judge.judge(own(input, read)), input)
    if (why !== undefined) t.fail(`seed ${SEED}: ${JSON.stringify(input)}: ${why}`)
  }

  t.ok(judged > MUTANTS / 20, `${judged} were judged`)
})

t.test('each exception is still one', async t => {
  for (const exception of EXCEPTIONS) t.ok(used.has(exception), exception.why)
})
