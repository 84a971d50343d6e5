/**
 * The pool with real sockets: who may get which connection, and which never come back.
 */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import { hours, seconds } from '../../src/base/clock.ts'
import { parseTarget, type Target } from '../../src/model/target.ts'
import { createPool, type Discard, type Lease, type PoolOptions } from '../../src/net/pool.ts'
import { anAuthority, aServerCertificate } from '../support/certificates.ts'
import { manualClock } from '../support/clock.ts'
import { aClosedPort, aDialer, aTcpServer, aTlsServer, type TestServer } from '../support/upstream.ts'

const CA = anAuthority()
const forever = () => new AbortController().signal

function aTarget(text: string): Target {
  const target = parseTarget(text)
  if (target === undefined) throw new Error(`not a target: ${text}`)
  return target
}

async function aPool(t: Test, options: Partial<PoolOptions> = {}, serve = echo) {
  const clock = manualClock()
  const server: TestServer = await aTcpServer(t, serve)
  const discards: Discard[] = []
  const pool = createPool({
    dialer: aDialer({ clock }),
    clock,
    onDiscard: why => discards.push(why),
    ...options,
  })
  const target = aTarget(`http://api.example.test:${server.port}`)
  const acquire = (key: string) => pool.acquire({ key, target, signal: forever() })
  t.teardown(() => pool.closeAll())
  return { pool, clock, server, discards, target, acquire }
}

const echo = (socket: Socket) => void socket.on('data', chunk => socket.write(chunk))

/** One request and its answer, as the codec leaves the socket: paused, with its listeners taken off. */
async function exchange(lease: Lease, text = 'x'): Promise<string> {
  const { socket } = lease
  const answer = new Promise<string>(resolve => {
    socket.once('data', chunk => {
      socket.pause()
      resolve(String(chunk))
    })
  })
  socket.resume()
  socket.write(text)
  return answer
}

const closed = (socket: Duplex) =>
  new Promise(resolve => (socket.closed ? resolve(0) : socket.once('close', resolve)))

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(setImmediate)
}

t.test('a connection never serves another key', async t => {
  const { acquire, server, pool } = await aPool(t)
  const first = await acquire('acme rule https://a')
  await exchange(first)
  first.release()

  for (const key of [
    'globex rule https://a',
    'acme other https://a',
    'acme rule https://b',
    'acme rule https://',
    '',
  ]) {
    const lease = await acquire(key)
    t.equal(lease.reused, false, key)
    t.not(lease.socket, first.socket)
    lease.destroy()
  }

  t.equal(server.sockets.length, 6)
  t.same(pool.stats(), { idle: 1, leased: 0 })
})

t.test('ten thousand exchanges of two tenants never meet on a socket', async t => {
  const { acquire } = await aPool(t)
  const owners = new Map<Duplex, string>()

  for (let i = 0; i < 10_000; i++) {
    const tenant = i % 2 === 0 ? 'acme' : 'globex'
    const lease = await acquire(tenant)
    const owner = owners.get(lease.socket) ?? tenant
    owners.set(lease.socket, tenant)
    if (owner !== tenant) t.fail(`a socket of ${owner} served ${tenant}`)
    lease.release()
  }

  t.equal(owners.size, 2)
})

t.test('an idle connection that sends a byte is destroyed before anybody gets it', async t => {
  const { acquire, server, discards, pool } = await aPool(t)
  const lease = await acquire('k')
  await exchange(lease)
  lease.release()

  server.sockets[0]?.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  await closed(lease.socket)

  t.same(discards, ['idle_bytes'])
  t.equal((await acquire('k')).reused, false)
  t.equal(pool.stats().idle, 0)
})

t.test('bytes that are there when a connection is given back destroy it', async t => {
  const { acquire, discards } = await aPool(
    t,
    {},
    socket => void socket.on('data', () => socket.write('one two')),
  )
  const lease = await acquire('k')
  lease.socket.write('x')
  await once(lease.socket, 'readable')
  lease.socket.removeAllListeners('readable')

  lease.release()

  t.same(discards, ['unclean'])
  t.equal(lease.socket.destroyed, true)
})

t.test('a connection is not kept while somebody still listens to it', async t => {
  const { acquire, discards } = await aPool(t)
  for (const event of ['data', 'readable']) {
    const lease = await acquire('k')
    lease.socket.on(event, () => undefined)
    lease.release()
    t.equal(lease.socket.destroyed, true, event)
  }

  t.same(discards, ['unclean', 'unclean'])
})

t.test('a connection that the upstream ends, half or whole, is not kept', async t => {
  const { acquire, server, discards, pool } = await aPool(t)
  for (const [i, end] of [
    (socket: Socket) => socket.end(),
    (socket: Socket) => socket.resetAndDestroy(),
  ].entries()) {
    const lease = await acquire('k')
    await exchange(lease)
    lease.release()
    const socket = server.sockets[i]
    if (socket !== undefined) end(socket)
    await closed(lease.socket)
  }

  t.same(discards, ['idle_closed', 'idle_closed'])
  t.same(pool.stats(), { idle: 0, leased: 0 })
})

t.test('a connection that ended before it was given back is not kept', async t => {
  const { acquire, server, pool } = await aPool(t)
  const lease = await acquire('k')
  await exchange(lease)
  lease.socket.resume()
  server.sockets[0]?.end()
  await once(lease.socket, 'end')

  lease.release()

  t.equal(lease.socket.destroyed, true)
  t.same(pool.stats(), { idle: 0, leased: 0 })
})

t.test('idle connections end after their time, and the timer goes with them', async t => {
  const { acquire, clock, discards } = await aPool(t, { idleTimeout: seconds(4) })
  const lease = await acquire('k')
  lease.release()
  clock.advance(3999)
  const again = await acquire('k')
  t.equal(again.reused, true)
  again.release()
  clock.advance(3999)
  t.same(discards, [])

  clock.advance(1)

  t.same(discards, ['idle_timeout'])
  t.equal(again.socket.destroyed, true)
  t.equal(clock.pendingTimers(), 0)
})

t.test('over the limit the least recently used of all keys goes first', async t => {
  const { acquire, discards, pool } = await aPool(t, { maxIdle: 2 })
  const leases = [await acquire('a'), await acquire('b'), await acquire('c')]

  for (const lease of leases) lease.release()

  t.same(discards, ['over_limit'])
  t.equal(leases[0]?.socket.destroyed, true)
  t.same(pool.stats(), { idle: 2, leased: 0 })
  t.same(
    [(await acquire('a')).reused, (await acquire('b')).reused, (await acquire('c')).reused],
    [false, true, true],
  )
})

t.test('the connection used last is used next', async t => {
  const { acquire } = await aPool(t)
  const [one, two] = [await acquire('k'), await acquire('k')]

  one.release()
  two.release()

  t.equal((await acquire('k')).socket, two.socket)
  t.equal((await acquire('k')).socket, one.socket)
})

t.test('a retry gets a connection that was never used', async t => {
  const { pool, acquire, target } = await aPool(t)
  const first = await acquire('k')
  first.release()

  const retry = await pool.acquire({ key: 'k', target, signal: forever(), fresh: true })

  t.equal(retry.reused, false)
  t.not(retry.socket, first.socket)
})

t.test('without reuse every exchange has a connection of its own', async t => {
  const { acquire, server } = await aPool(t, { reuse: false })
  for (let i = 0; i < 3; i++) {
    const lease = await acquire('k')
    t.equal(lease.reused, false)
    lease.release()
    t.equal(lease.socket.destroyed, true)
  }

  await until(() => server.sockets.length === 3)
})

t.test(
  'what is closed does not come back: idle ones now, leased ones after, dials under way neither',
  async t => {
    const { pool, acquire, discards } = await aPool(t)
    const idle = await acquire('acme')
    const leased = await acquire('acme')
    const other = await acquire('globex')
    idle.release()
    const dialing = acquire('acme 2')

    pool.closeIdle(key => key.startsWith('acme'))

    t.equal(idle.socket.destroyed, true)
    t.equal(leased.socket.destroyed, false)
    t.equal(await exchange(leased, 'still works'), 'still works')
    leased.release()
    t.equal(leased.socket.destroyed, true)
    const dialed = await dialing
    dialed.release()
    t.equal(dialed.socket.destroyed, true)
    other.release()
    t.equal(other.socket.destroyed, false)
    t.same(discards, ['closed'])
  },
)

t.test('after closeAll nothing is kept and nothing new is given', async t => {
  const { pool, acquire } = await aPool(t)
  const [idle, leased] = [await acquire('k'), await acquire('k')]
  idle.release()

  pool.closeAll()
  leased.release()

  t.equal(idle.socket.destroyed, true)
  t.equal(leased.socket.destroyed, true)
  t.same(pool.stats(), { idle: 0, leased: 0 })
  await t.rejects(acquire('k'), { code: 'SIDECAR_DRAINING' })
})

t.test('a lease ends once: what comes after does nothing', async t => {
  const { acquire, pool } = await aPool(t)
  const lease = await acquire('k')
  lease.release()
  const next = await acquire('k')

  lease.destroy()
  lease.release()

  t.equal(next.socket, lease.socket)
  t.equal(next.socket.destroyed, false)
  t.same(pool.stats(), { idle: 0, leased: 1 })
})

t.test('an error on a socket that nobody watches does not end the process', async t => {
  const { acquire, pool } = await aPool(t)
  const [leased, idle] = [await acquire('k'), await acquire('k')]
  idle.release()

  leased.socket.destroy(new Error('reset'))
  idle.socket.destroy(new Error('reset'))
  await until(() => pool.stats().idle + pool.stats().leased === 0)

  t.notMatch(await acquire('k'), { reused: true })
})

t.test('a dial that fails leaves nothing behind, and an aborted wish gets nothing', async t => {
  const { pool, acquire } = await aPool(t)
  const target = aTarget(`http://api.example.test:${await aClosedPort()}`)
  const gone = new AbortController()
  gone.abort(new Error('gone'))
  ;(await acquire('k')).release()

  await t.rejects(pool.acquire({ key: 'f', target, signal: forever() }), { code: 'UPSTREAM_REFUSED' })
  await t.rejects(pool.acquire({ key: 'k', target, signal: gone.signal }), /gone/)

  t.same(pool.stats(), { idle: 1, leased: 0 })
})

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  t.test(
    `${version} sessions are resumed within a key, never across keys, and for an hour at most`,
    async t => {
      const resumed: boolean[] = []
      const server = await aTlsServer(
        t,
        { ...aServerCertificate(CA), minVersion: version, maxVersion: version },
        socket => {
          resumed.push(socket.isSessionReused())
          echo(socket)
        },
      )
      const clock = manualClock()
      const pool = createPool({ dialer: aDialer({ trusts: CA, clock }), clock, reuse: false })
      const target = aTarget(`https://api.example.test:${server.port}`)
      const visit = async (key: string) => {
        const lease = await pool.acquire({ key, target, signal: forever() })
        await exchange(lease)
        lease.release()
        return resumed.at(-1)
      }

      t.equal(await visit('acme'), false)
      t.equal(await visit('acme'), true)
      t.equal(await visit('acme'), true)
      t.equal(await visit('globex'), false)
      clock.advance(hours(1))
      t.equal(await visit('acme'), false)
      pool.closeIdle(() => false)
      t.equal(await visit('acme'), false)
    },
  )
}

t.test('a TLS connection is kept and used again', async t => {
  const server = await aTlsServer(t, aServerCertificate(CA), echo)
  const clock = manualClock()
  const pool = createPool({ dialer: aDialer({ trusts: CA, clock }), clock })
  const wish = { key: 'k', target: aTarget(`https://api.example.test:${server.port}`), signal: forever() }
  t.teardown(() => pool.closeAll())

  for (let i = 0; i < 5; i++) {
    const lease = await pool.acquire(wish)
    t.equal(lease.reused, i > 0)
    t.equal(await exchange(lease, `request ${i}`), `request ${i}`)
    lease.release()
  }

  t.equal(server.sockets.length, 1)
})
