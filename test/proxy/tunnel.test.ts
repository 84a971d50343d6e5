/**
 * The end of a blind tunnel, over streams whose writes finish when the test says so.
 */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import t from 'tap'
import { CloakroomError } from '../../src/base/errors.ts'
import type { CallerConnection } from '../../src/proxy/http1-options.ts'
import type { OpenExchange } from '../../src/proxy/open-exchange.ts'
import { runTunnel } from '../../src/proxy/tunnel.ts'
import { manualClock } from '../support/clock.ts'

const turn = () => new Promise(resolve => setImmediate(resolve))

/** A stream that takes bytes only when `take` is called. */
function aSlowSocket() {
  const waiting: (() => void)[] = []
  const taken: Buffer[] = []
  const stream = new Duplex({
    allowHalfOpen: true,
    read: () => undefined,
    write(chunk, _encoding, done) {
      waiting.push(() => {
        taken.push(chunk)
        done()
      })
    },
  })
  const socket = Object.assign(stream, { resetAndDestroy: () => stream.destroy() }) as unknown as Socket
  return { socket, stream, taken, take: () => waiting.shift()?.() }
}

function aTunnel(check: () => void = () => undefined) {
  const caller = aSlowSocket()
  const upstream = aSlowSocket()
  const record = { bytesToUpstream: 0, bytesToCaller: 0 }
  let outcome: number | undefined
  const exchange = {
    record,
    signal: new AbortController().signal,
    releaseLater: () => undefined,
    intend: async () => undefined,
    becomesTunnel: () => undefined,
    sending: () => undefined,
    onCancel: () => undefined,
    succeeded: (status: number) => {
      outcome = status
    },
  } as unknown as OpenExchange
  const connection = {
    detach: () => ({ socket: caller.socket, rest: Buffer.from('early') }),
  } as unknown as CallerConnection
  const clock = manualClock()
  const running = runTunnel(
    {
      clock,
      dialTcp: async () => upstream.socket,
      tunnelIdle: 1000,
      tunnelAge: 10_000,
      takeTunnel: () => () => undefined,
      onTunnel: () => undefined,
    },
    { exchange, connection, target: { scheme: 'https', host: 'a.example', port: 443 }, check },
  )
  return { caller, upstream, record, clock, running, outcome: () => outcome }
}

t.test('a tunnel is over when the last byte has left us, not when it came', async t => {
  const { caller, upstream, record, clock, running, outcome } = aTunnel()
  await turn()
  caller.stream.push('request')
  caller.stream.push(null)
  upstream.stream.push('answer')
  upstream.stream.push(null)
  for (let i = 0; i < 3; i++) {
    await turn()
    upstream.take()
  }
  await turn()

  t.equal(caller.stream.destroyed, false, 'the answer is not out')
  for (let i = 0; i < 3; i++) {
    caller.take()
    await turn()
  }
  await running

  t.equal(Buffer.concat(upstream.taken).toString(), 'earlyrequest')
  t.equal(Buffer.concat(caller.taken).toString(), 'HTTP/1.1 200 Connection Established\r\n\r\nanswer')
  t.same(record, { bytesToUpstream: 12, bytesToCaller: 6 })
  t.equal(outcome(), 200)
  t.equal(clock.pendingTimers(), 0)
})

t.test('a tunnel where nothing moves is ended at its idle limit, one that moves at its age', async t => {
  for (const [chatter, expected] of [
    [false, 1000],
    [true, 10_000],
  ] as const) {
    const { upstream, caller, clock, running } = aTunnel()
    await turn()
    const start = clock.monotonic()
    let isOver = false
    void running.then(() => {
      isOver = true
    })
    while (!isOver && clock.monotonic() - start < 20_000) {
      if (chatter) upstream.stream.push('x')
      caller.take()
      await turn()
      clock.advance(500)
      await turn()
    }

    t.equal(clock.monotonic() - start, expected)
    t.equal(upstream.stream.destroyed, true)
    t.equal(caller.stream.destroyed, true)
  }
})

t.test('a tunnel that was forbidden while it was dialled is not opened', async t => {
  const { caller, upstream, running } = aTunnel(() => {
    throw new CloakroomError('POLICY_DENIED', { rule: 'default', reason: 'no_rule' })
  })

  await t.rejects(running, { code: 'POLICY_DENIED' })

  t.equal(upstream.stream.destroyed, true)
  t.same(caller.taken, [], 'the caller was told nothing by the tunnel')
})
