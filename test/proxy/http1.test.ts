/**
 * One caller's connection over a pair of streams and a clock that stands still: what is read however it is cut, and every time limit.
 */
import { type Duplex, duplexPair } from 'node:stream'
import t from 'tap'
import { kib } from '../../src/base/size.ts'
import { bodyOf } from '../../src/model/message.ts'
import { Http1Connection } from '../../src/proxy/http1.ts'
import type { Http1Limits } from '../../src/proxy/http1-options.ts'
import type { Inbound } from '../../src/proxy/inbound.ts'
import { manualClock } from '../support/clock.ts'
import { headerOf, Peer } from '../support/peer.ts'

const LIMITS: Http1Limits = {
  head: { bytes: kib(8), count: 50, line: kib(4) },
  headTimeout: 10_000,
  keepAlive: 60_000,
  minUploadRate: 1024,
}

type Serve = (inbound: Inbound) => Promise<void>

function aConnection(serve: Serve = echo) {
  const clock = manualClock()
  const [here, there] = duplexPair({ allowHalfOpen: true })
  const connection = new Http1Connection(here, {
    clock,
    limits: LIMITS,
    facts: { entrance: 'absolute', presented: { isLoopback: true } },
    serve: inbound => serve(inbound),
  })
  let isClosed = false
  connection.onClosed(() => {
    isClosed = true
  })
  return { clock, connection, here, caller: new Peer(there as Duplex), isClosed: () => isClosed }
}

/** Answers with what was read of the request, or with the error's status. */
async function echo(inbound: Inbound): Promise<void> {
  const chunks: Buffer[] = []
  const { method, rawTarget } = inbound.head
  if (inbound.refused !== undefined) return answer(inbound, inbound.refused.status, '')
  await new Promise<void>((resolve, reject) => {
    inbound.body.start({
      write: chunk => chunks.push(Buffer.from(chunk)) > 0,
      end: trailers => {
        chunks.push(Buffer.from(trailers.map(([name]) => `+${name}`).join('')))
        resolve()
      },
      fail: reject,
    })
  }).then(
    () => answer(inbound, 200, `${method} ${rawTarget} ${Buffer.concat(chunks)}`),
    () => inbound.reset(),
  )
}

function answer(inbound: Inbound, status: number, body: string): Promise<void> {
  return inbound.respond({ status, reason: 'R', headers: [] }, bodyOf(Buffer.from(body)))
}

const turn = () => new Promise(resolve => setImmediate(resolve))

const STREAM = Buffer.from(
  'GET /1 HTTP/1.1\r\nHost: a\r\n\r\n' +
    'POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello' +
    'POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nX-T: 1\r\n\r\n' +
    'GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
  'latin1',
)
const ANSWERS = ['GET /1 ', 'POST /2 hello', 'POST /3 abcde+X-T', 'GET /4 ', 'end']

async function answersTo(pieces: readonly Buffer[]): Promise<string[]> {
  const { caller } = aConnection()
  for (const piece of pieces) {
    caller.write(piece)
    await turn()
  }
  const bodies: string[] = []
  for (let i = 0; i < 4; i++) bodies.push((await caller.answer()).body.toString())
  bodies.push((await caller.rest()).ending)
  return bodies
}

t.test('requests are read the same when their bytes are cut at any place, or at all', async t => {
  for (let cut = 1; cut < STREAM.length; cut++) {
    const answers = await answersTo([STREAM.subarray(0, cut), STREAM.subarray(cut)])
    if (answers.join() !== ANSWERS.join()) t.same(answers, ANSWERS, `cut at ${cut}`)
  }
  t.same(await answersTo(Array.from(STREAM, byte => Buffer.of(byte))), ANSWERS, 'byte by byte')
})

t.test('a head that does not come within its time is 408, from its first byte on', async t => {
  const { clock, caller } = aConnection()

  clock.advance(9_000)
  caller.write('GET / HT')
  await turn()
  clock.advance(9_999)
  t.equal(caller.pending.length, 0)
  clock.advance(1)

  t.equal((await caller.answer()).status, 408)
})

t.test('a connection without a byte, or idle, ends without one', async t => {
  const silent = aConnection()
  silent.clock.advance(10_000)
  t.same(await silent.caller.rest(), { bytes: Buffer.alloc(0), ending: 'end' })

  const idle = aConnection()
  idle.caller.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await idle.caller.answer()
  idle.clock.advance(59_999)
  await turn()
  t.equal(idle.caller.pending.length, 0)
  idle.clock.advance(1)
  t.same(await idle.caller.rest(), { bytes: Buffer.alloc(0), ending: 'end' })
})

t.test('an upload slower than the least rate is cut, one that keeps it up is not', async t => {
  const failures: unknown[] = []
  const { clock, caller } = aConnection(async inbound => {
    inbound.body.start({
      write: () => true,
      end: () => undefined,
      fail: cause => failures.push(cause),
    })
  })
  caller.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n')
  await turn()

  for (let i = 0; i < 3; i++) {
    caller.write(Buffer.alloc(10_240))
    await turn()
    clock.advance(10_000)
  }
  t.same(failures, [])
  caller.write(Buffer.alloc(10_239))
  await turn()
  clock.advance(10_000)

  t.match(failures, [{ code: 'REQUEST_TIMEOUT' }])
})

t.test('an upload that its upstream holds up is not the caller’s fault', async t => {
  const failures: unknown[] = []
  let resume: (() => void) | undefined
  const { clock, caller } = aConnection(async inbound => {
    resume = () => inbound.body.resume()
    inbound.body.start({ write: () => false, end: () => undefined, fail: cause => failures.push(cause) })
  })
  caller.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n12345')
  await turn()

  clock.advance(35_000)
  resume?.()
  clock.advance(9_999)
  t.same(failures, [])
  clock.advance(1)

  t.match(failures, [{ code: 'REQUEST_TIMEOUT' }])
})

t.test('an upload that is blocked is left in the stream, and goes on when it is resumed', async t => {
  const got: number[] = []
  let resume = () => undefined as undefined
  const { here, caller } = aConnection(async inbound => {
    resume = () => void inbound.body.resume()
    inbound.body.start({
      write: chunk => {
        got.push(chunk.length)
        return false
      },
      end: () => undefined,
      fail: () => undefined,
    })
  })
  caller.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${kib(1024)}\r\n\r\n1`)
  await turn()

  for (let i = 0; i < 64; i++) caller.write(Buffer.alloc(kib(16) - (i === 0 ? 1 : 0)))
  for (let i = 0; i < 20; i++) await turn()

  t.equal(here.isPaused(), true)
  const before = got.reduce((sum, length) => sum + length, 0)
  t.ok(before < kib(200), `${before} bytes were taken`)
  for (let i = 0; i < 2000 && got.reduce((sum, length) => sum + length, 0) < kib(1024); i++) {
    resume()
    await turn()
  }
  t.equal(
    got.reduce((sum, length) => sum + length, 0),
    kib(1024),
  )
})

t.test('after an answer to an upload that goes on, the rest is dropped, for a while', async t => {
  const { clock, caller, isClosed } = aConnection(inbound => answer(inbound, 413, 'big'))
  caller.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n')

  const refused = await caller.answer()
  t.equal(headerOf(refused, 'connection'), 'close')
  for (let i = 0; i < 14; i++) {
    caller.write(Buffer.alloc(kib(64)))
    await turn()
    clock.advance(1_999)
    t.equal(isClosed(), false, 'the caller still sends')
  }
  caller.write(Buffer.alloc(1))
  await turn()
  clock.advance(2_000)

  t.equal(isClosed(), true)
})

t.test('a caller that trickles after its answer is not read for ever', async t => {
  const { clock, caller, isClosed } = aConnection(inbound => answer(inbound, 413, 'big'))
  caller.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n')
  await caller.answer()

  for (let i = 0; i < 40 && !isClosed(); i++) {
    caller.write('x')
    await turn()
    clock.advance(1_000)
  }

  t.equal(isClosed(), true)
})

t.test('bytes that are no request end the connection whatever they are answered with', async t => {
  const { caller } = aConnection(inbound => answer(inbound, 503, ''))

  caller.write(
    'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nGET / HTTP/1.1\r\n\r\n',
  )
  const refused = await caller.answer()

  t.equal(headerOf(refused, 'connection'), 'close')
  t.same(await caller.rest(), { bytes: Buffer.alloc(0), ending: 'end' })
})

t.test('answers that are made at once do not nest, however many are asked for', async t => {
  let depth = 0
  let most = 0
  const { caller } = aConnection(async inbound => {
    most = Math.max(most, ++depth)
    void answer(inbound, 200, '')
    depth--
  })
  const count = 2000

  caller.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(count))
  for (let i = 0; i < count; i++) await caller.answer()

  t.equal(most, 1)
})

t.test('a caller that half-closed and is asked twice is told apart from one that is gone', async t => {
  const { clock, caller } = aConnection(() => new Promise(() => undefined))
  caller.end('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await turn()

  clock.advance(249)
  await turn()
  t.equal(caller.pending.length, 0)
  clock.advance(1)

  t.equal((await caller.message()).status, 100)
})

t.test('an HTTP/1.0 caller that half-closed gets no interim answer', async t => {
  const { clock, caller } = aConnection(() => new Promise(() => undefined))
  caller.end('GET / HTTP/1.0\r\n\r\n')
  await turn()

  clock.advance(60_000)
  await turn()

  t.equal(caller.pending.length, 0)
})

t.test('an answer longer or shorter than announced is cut and never completed', async t => {
  for (const body of ['longer than five', 'four']) {
    const { caller } = aConnection(async inbound => {
      const source = { ...bodyOf(Buffer.from(body)), length: 5 }
      await inbound.respond({ status: 200, reason: 'R', headers: [] }, source).catch(() => undefined) // told by the caller's view
    })
    caller.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await t.rejects(caller.answer(), body)
  }
})

t.test('an answer to a caller that is gone is refused, and its body is not started', async t => {
  let respond: (() => Promise<void>) | undefined
  const { here, caller } = aConnection(inbound => {
    respond = () => inbound.respond({ status: 200, reason: 'R', headers: [] }, source)
    return new Promise(() => undefined)
  })
  const source = {
    length: 5,
    start: () => t.fail('started'),
    resume: () => undefined,
    cancel: () => t.pass('cancelled'),
  }
  caller.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await turn()

  here.destroy()
  await turn()

  await t.rejects(respond?.() ?? Promise.resolve(), { code: 'REQUEST_ABORTED' })
})

t.test('every timer is gone when the connection is', async t => {
  const { clock, caller, connection } = aConnection()
  caller.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await caller.answer()

  connection.reset()

  t.equal(clock.pendingTimers(), 0)
})
