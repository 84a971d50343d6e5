/**
 * The relay: /https/HOST/PATH through the same exchange.
 */
import { createHash } from 'node:crypto'
import { Agent, request as httpRequest } from 'node:http'
import t from 'tap'
import { openTcp } from '../support/caller.ts'
import { headerOf, type Message, Peer } from '../support/peer.ts'
import { answering, aWire, type Host, ok } from '../support/wire.ts'

const wire = await aWire(t, { config: { relay: { listen: '127.0.0.1:0' } } })

const open = async () => new Peer(await openTcp(wire.sidecar.relayPort))
const hostHeader = () => `Host: 127.0.0.1:${wire.sidecar.relayPort}\r\n`

function line(host: Host, rest = '/', method = 'GET'): string {
  return `${method} /https/${host.name}.example.test${rest} HTTP/1.1\r\n${hostHeader()}`
}

function placeholderFor(host: Host): Promise<string> {
  const target = `https://${host.name}.example.test`
  return wire.sidecar.put('acme/token', 'a-real-credential-001', { target, widen: true })
}

const REFUSED: readonly (readonly [string, string, number])[] = [
  ['Origin, as web pages send it', 'Origin: http://evil.test\r\n', 400],
  ['Sec-Fetch-Site, as web pages send it', 'Sec-Fetch-Site: same-origin\r\n', 400],
  ['a made-up ticket', 'Cloakroom-Relay: x.1\r\n', 400],
  ['two Authorization headers', 'Authorization: Bearer a\r\nAuthorization: Bearer b\r\n', 400],
  ['two tenants', 'Cloakroom-Tenant: acme\r\nCloakroom-Tenant: globex\r\n', 400],
  [
    'a wrong password',
    `Cloakroom-Authorization: Basic ${Buffer.from('app:wrong').toString('base64')}\r\n`,
    401,
  ],
]

for (const [what, headers, status] of REFUSED) {
  t.test(`refuses ${what}`, async t => {
    const host = wire.host(answering(() => ok()))
    const caller = await open()

    caller.write(`${line(host)}${headers}\r\n`)
    const answer = await caller.answer()

    t.equal(answer.status, status)
    t.ok(headerOf(answer, 'cloakroom-request-id'))
    t.equal(host.connections, 0)
    caller.destroy()
  })
}

t.test('refuses a Host that is not its own', async t => {
  const host = wire.host(answering(() => ok()))
  const caller = await open()

  caller.write(`GET /https/${host.name}.example.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n`)

  t.equal((await caller.answer()).status, 421)
  t.equal(host.connections, 0)
  caller.destroy()
})

t.test('refuses what names no target', async t => {
  for (const path of ['/', '/https', '/https/', '/ftp/h1.example.test/', '/https/user@h1.example.test/']) {
    const caller = await open()
    caller.write(`GET ${path} HTTP/1.1\r\n${hostHeader()}\r\n`)
    t.equal((await caller.answer()).status, 400, path)
    caller.destroy()
  }
})

t.test('refuses a body that is framed in two ways', async t => {
  const host = wire.host(answering(() => ok()))
  const caller = await open()

  caller.write(`${line(host, '/', 'POST')}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`)

  t.equal((await caller.answer()).status, 400)
  t.equal(host.connections, 0)
  caller.destroy()
})

t.test('refuses a placeholder in a body and gives the answer of every entrance', async t => {
  const host = wire.host(() => undefined)
  const placeholder = await placeholderFor(host)
  const caller = await open()

  caller.write(`${line(host, '/', 'POST')}Content-Length: ${placeholder.length}\r\n\r\n${placeholder}`)
  const answer = await caller.answer()

  t.equal(answer.status, 403)
  caller.destroy()
})

t.test('a path goes on as it came, byte by byte', async t => {
  const host = wire.host(answering(({ start }) => ok(start)))
  const paths = ['/', '/a%2Fb', '/a%20b?x=%2B+1&y=a/b&z=?', '/a/', '/v1:batch?', '/%E2%82%AC', '?q=1', '']
  for (const path of paths) {
    const caller = await open()
    caller.write(`${line(host, path)}\r\n`)
    const expected = path === '' ? '/' : path.startsWith('?') ? `/${path}` : path
    t.equal((await caller.answer()).body.toString(), `GET ${expected} HTTP/1.1`)
    caller.destroy()
  }
})

t.test('a placeholder is swapped and the answer redacted', async t => {
  const heads: Message[] = []
  const host = wire.host(
    answering(request => {
      heads.push(request)
      return ok(headerOf(request, 'authorization') ?? '', 'Set-Cookie: a=b', 'Set-Cookie: c=d')
    }),
  )
  const placeholder = await placeholderFor(host)
  const caller = await open()

  caller.write(`${line(host, '/v1/things')}Authorization: Bearer ${placeholder}\r\n\r\n`)
  const answer = await caller.answer()

  t.equal(headerOf(heads[0] as Message, 'authorization'), 'Bearer a-real-credential-001')
  t.equal(headerOf(heads[0] as Message, 'host'), `${host.name}.example.test`)
  t.notMatch(heads[0]?.text, /cloakroom|x-forwarded|127\.0\.0\.1/i)
  t.equal(answer.body.toString(), `Bearer ${placeholder}`)
  const record = (await wire.sidecar.audit()).find(
    one => one.target === `https://${host.name}.example.test:443`,
  )
  t.match(record, { caller: 'app', tenant: 'acme' })
  caller.destroy()
})

t.test('DELETE with a chunked body is one request', async t => {
  const seen: Message[] = []
  const host = wire.host(
    answering(request => {
      seen.push(request)
      return ok()
    }),
  )
  const caller = await open()
  const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'

  caller.write(
    `${line(host, '/', 'DELETE')}Transfer-Encoding: chunked\r\n\r\n${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`,
  )
  await caller.answer()

  t.equal(seen.length, 1)
  t.equal(seen[0]?.body.toString(), smuggled)
  caller.destroy()
})

t.test('8 MiB go up and down unchanged over one kept connection', async t => {
  const body = Buffer.alloc(8 * 1024 * 1024, 'a body of some length; ')
  const hash = createHash('sha256').update(body).digest('hex')
  const host = wire.host(
    answering(request =>
      Buffer.concat([Buffer.from(ok().replace(': 0', `: ${request.body.length}`)), request.body]),
    ),
  )
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())

  for (let i = 0; i < 2; i++) {
    const got = await new Promise<string>((resolve, reject) => {
      const request = httpRequest(
        {
          agent,
          port: wire.sidecar.relayPort,
          host: '127.0.0.1',
          method: 'POST',
          path: `/https/${host.name}.example.test/big`,
        },
        response => {
          const digest = createHash('sha256')
          response.on('data', chunk => digest.update(chunk))
          response.on('end', () => resolve(digest.digest('hex')))
          response.on('error', reject)
        },
      )
      request.on('error', reject)
      request.end(body)
    })
    t.equal(got, hash)
  }
})

t.test('a connection serves on after an answer and after a refusal', async t => {
  const host = wire.host(answering(({ start }) => ok(start)))
  const caller = await open()
  const statuses: number[] = []

  for (const head of [line(host, '/1'), line(host, '/2', 'PURGE'), line(host, '/3')]) {
    caller.write(`${head}\r\n`)
    const answer = await caller.answer()
    statuses.push(answer.status)
    t.not(headerOf(answer, 'connection'), 'close')
  }

  t.same(statuses, [200, 403, 200])
  caller.destroy()
})

t.test('100 is told when the request has passed, and not when it is refused', async t => {
  const host = wire.host(answering(request => ok(request.body.toString())))
  const passes = await open()
  const denied = await open()
  const rest = 'Content-Length: 4\r\nExpect: 100-continue\r\n\r\n'

  passes.write(line(host, '/', 'POST') + rest)
  denied.write(line(host, '/', 'PURGE') + rest)
  const interim = await passes.message()
  passes.write('body')
  const final = await passes.message()
  const refusal = await denied.message()

  t.equal(interim.status, 100)
  t.equal(final.body.toString(), 'body')
  t.equal(refusal.status, 403)
  passes.destroy()
  denied.destroy()
})

t.test('a caller that goes away is seen by the upstream', async t => {
  const host = wire.host(() => undefined)
  const caller = await open()
  caller.write(`${line(host)}\r\n`)
  while (host.peers[0] === undefined) await new Promise(resolve => setImmediate(resolve))
  await host.peers[0].head()

  caller.destroy()

  t.ok(await host.peers[0].over())
})

t.test('an answer that is cut is no clean end', async t => {
  const host = wire.host(async peer => {
    await peer.message()
    peer.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
  })
  const caller = await open()

  caller.write(`${line(host)}\r\n`)

  await t.rejects(caller.answer())
})

t.test('a stop lets relayed requests finish and closes each connection after its own', async t => {
  const own = await aWire(t, { config: { relay: { listen: '127.0.0.1:0' } } })
  const finish: (() => void)[] = []
  const host = own.host(async peer => {
    const { start } = await peer.message()
    peer.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst')
    finish[start.includes('/one') ? 0 : 1] = () => peer.write(' last')
  })
  const callers: Peer[] = []
  for (const path of ['/one', '/two']) {
    const caller = new Peer(await openTcp(own.sidecar.relayPort))
    callers.push(caller)
    caller.write(
      `GET /https/${host.name}.example.test${path} HTTP/1.1\r\nHost: 127.0.0.1:${own.sidecar.relayPort}\r\n\r\n`,
    )
    await caller.until('first')
  }

  const stopped = own.sidecar.stop()
  for (const [i, caller] of callers.entries()) {
    finish[i]?.()
    t.equal(await caller.until('last'), ' last')
    t.equal((await caller.rest()).ending, 'end')
  }
  await stopped
})
