/**
 * Where messages end, in both directions: what is sent is framed once, by us, and nothing that was cut looks whole.
 */
import t from 'tap'
import { headerOf, type Message } from '../support/peer.ts'
import { answering, aWire, get, type Host, ok, post } from '../support/wire.ts'

const wire = await aWire(t)

const LONG = 'x'.repeat(5000)

async function once(request: (host: Host) => string, answer: string, options: { bodiless?: boolean } = {}) {
  const host = wire.host(answering(() => answer))
  const caller = await wire.open(host)
  caller.write(request(host))
  const message = await caller.answer(options)
  return { host, caller, message }
}

t.test('an answer with a length keeps it, and the connection serves on', async t => {
  const { caller, message, host } = await once(get, ok('hello'))

  t.equal(message.framing, 'length')
  t.equal(message.body.toString(), 'hello')
  caller.write(get(host))
  t.equal((await caller.answer()).status, 200)
  caller.destroy()
})

for (const status of [204, 304]) {
  t.test(`${status} has no body and the connection serves on`, async t => {
    const head = `HTTP/1.1 ${status} Fine\r\n${status === 304 ? 'Content-Length: 1234\r\n' : ''}\r\n`
    const { caller, message, host } = await once(get, head)

    t.equal(message.status, status)
    t.equal(headerOf(message, 'transfer-encoding'), undefined)
    t.equal(headerOf(message, 'content-length'), status === 304 ? '1234' : undefined)
    caller.write(get(host))
    t.equal((await caller.answer()).status, status)
    t.equal(host.connections, 1)
    caller.destroy()
  })
}

t.test('HEAD tells the length that GET would have and the connection serves on', async t => {
  const head = (host: Host) => get(host).replace('GET', 'HEAD')
  const { caller, message, host } = await once(head, 'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n', {
    bodiless: true,
  })

  t.equal(headerOf(message, 'content-length'), '5000')
  caller.write(head(host))
  t.equal((await caller.answer({ bodiless: true })).status, 200)
  t.equal(host.connections, 1)
  caller.destroy()
})

t.test('205 has an empty body of a length', async t => {
  const { caller, message } = await once(get, 'HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n')

  t.equal(headerOf(message, 'content-length'), '0')
  caller.destroy()
})

t.test('a chunked answer stays chunked and its connections serve on', async t => {
  const { caller, message, host } = await once(
    get,
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\n\r\n',
  )

  t.equal(message.framing, 'chunked')
  t.equal(message.body.toString(), 'hello world')
  caller.write(get(host))
  await caller.answer()
  t.equal(host.connections, 1)
  caller.destroy()
})

t.test('an answer that the close ends is chunked for HTTP/1.1 and closed for HTTP/1.0', async t => {
  const host = wire.host(async peer => {
    await peer.message()
    peer.end(`HTTP/1.1 200 OK\r\n\r\n${LONG}`)
  })
  const modern = await wire.open(host)
  const old = await wire.open(host)

  modern.write(get(host))
  old.write(get(host).replace('HTTP/1.1', 'HTTP/1.0'))

  const chunked = await modern.answer()
  t.equal(chunked.framing, 'chunked')
  t.equal(chunked.body.toString(), LONG)
  const closed = await old.answer()
  t.equal(closed.framing, 'close')
  t.equal(headerOf(closed, 'connection'), 'close')
  t.equal(closed.body.toString(), LONG)
  modern.destroy()
})

t.test('an HTTP/1.0 caller gets a chunked answer without chunks, and no interim answer', async t => {
  const { message } = await once(
    host => get(host).replace('HTTP/1.1', 'HTTP/1.0'),
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  )

  t.equal(message.framing, 'close')
  t.equal(message.body.toString(), 'hello')
})

t.test('Connection: close of the caller ends its connection and not the upstream one', async t => {
  const { caller, message, host } = await once(h => get(h, '/', 'Connection: close'), ok('bye'))

  t.equal(headerOf(message, 'connection'), 'close')
  t.same(await caller.rest(), { bytes: Buffer.alloc(0), ending: 'end' })
  const again = await wire.open(host)
  again.write(get(host))
  await again.answer()
  t.equal(host.connections, 1)
  again.destroy()
})

t.test('Connection: close of the upstream ends its connection and not the caller’s', async t => {
  const { caller, message, host } = await once(get, ok('bye', 'Connection: close'))

  t.equal(headerOf(message, 'connection'), undefined)
  caller.write(get(host))
  t.equal((await caller.answer()).status, 200)
  t.equal(host.connections, 2)
  caller.destroy()
})

for (const method of ['GET', 'DELETE', 'OPTIONS', 'POST']) {
  for (const framing of ['length', 'chunked'] as const) {
    t.test(`${method} with a ${framing} body is framed for the upstream as one request`, async t => {
      const seen: Message[] = []
      const host = wire.host(
        answering(request => {
          seen.push(request)
          return ok()
        }),
      )
      const caller = await wire.open(host)
      const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'
      const body =
        framing === 'length'
          ? `Content-Length: ${smuggled.length}\r\n\r\n${smuggled}`
          : `Transfer-Encoding: chunked\r\n\r\n${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`

      caller.write(`${method} /outer HTTP/1.1\r\nHost: ${host.name}.example.test\r\n${body}`)
      await caller.answer()

      t.equal(seen.length, 1)
      t.equal(seen[0]?.start, `${method} /outer HTTP/1.1`)
      t.equal(seen[0]?.framing, framing)
      t.equal(seen[0]?.body.toString(), smuggled)
      caller.destroy()
    })
  }
}

t.test('an empty POST says so, an empty GET says nothing', async t => {
  const heads: string[] = []
  const host = wire.host(
    answering(request => {
      heads.push(request.text)
      return ok()
    }),
  )
  const caller = await wire.open(host)

  caller.write(post(host, '').replace('Content-Length: 0\r\n', ''))
  await caller.answer()
  caller.write(get(host, '/', 'Content-Length: 0'))
  await caller.answer()

  t.match(heads[0], /Content-Length: 0/)
  t.notMatch(heads[1], /content-length|transfer-encoding/i)
  caller.destroy()
})

t.test('trailers of a request go on, but for those that frame, route or authenticate', async t => {
  const seen: Message[] = []
  const host = wire.host(
    answering(request => {
      seen.push(request)
      return ok()
    }),
  )
  const caller = await wire.open(host)

  caller.write(
    `POST / HTTP/1.1\r\nHost: ${host.name}.example.test\r\nTransfer-Encoding: chunked\r\n\r\n` +
      '2\r\nhi\r\n0\r\nX-Sum: 7\r\nAuthorization: no\r\nContent-Length: 9\r\nX-Forwarded-For: no\r\n\r\n',
  )
  await caller.answer()

  t.same(seen[0]?.trailers, [['x-sum', '7']])
  caller.destroy()
})

for (const [takes, expected] of [
  ['TE: trailers', [['x-sum', '7']]],
  ['Accept: */*', []],
] as const) {
  t.test(`trailers of an answer go to a caller with "${takes}": ${expected.length}`, async t => {
    const { caller, message } = await once(
      host => get(host, '/', takes),
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=b\r\nLocation: /x\r\n\r\n',
    )

    t.same(message.trailers, expected)
    caller.destroy()
  })
}

t.test('103 is carried, and dropped where a credential was sent', async t => {
  const answer = `HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\nCloakroom-Error: forged\r\n\r\n${ok('x')}`
  const host = wire.host(answering(() => answer))
  const placeholder = await wire.sidecar.put('acme/token', 'a-real-credential-001', {
    target: `https://${host.name}.example.test`,
  })
  const caller = await wire.open(host)

  caller.write(get(host))
  const hints = await caller.message()
  const final = await caller.message()
  caller.write(get(host, '/', `Authorization: Bearer ${placeholder}`))
  const credentialed = await caller.message()

  t.equal(hints.status, 103)
  t.match(hints.text, 'Link: </style.css>')
  t.notMatch(hints.text, 'forged')
  t.equal(final.status, 200)
  t.equal(credentialed.status, 200)
  caller.destroy()
})

t.test('100-continue is told to a caller whose request has passed, once', async t => {
  let got: Message | undefined
  const host = wire.host(
    answering(request => {
      got = request
      return ok()
    }),
  )
  const caller = await wire.open(host)

  caller.write(
    `POST / HTTP/1.1\r\nHost: ${host.name}.example.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n`,
  )
  const interim = await caller.message()
  caller.write('body')
  const final = await caller.message()

  t.equal(interim.status, 100)
  t.equal(final.status, 200)
  t.equal(got?.body.toString(), 'body')
  t.notMatch(got?.text, /expect/i)
  caller.destroy()
})

t.test('a denied request gets no 100 and its connection ends', async t => {
  const host = wire.host(answering(() => ok()))
  const caller = await wire.open(host)

  caller.write(
    `PURGE / HTTP/1.1\r\nHost: ${host.name}.example.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n`,
  )
  const answer = await caller.message()

  t.equal(answer.status, 403)
  t.equal(headerOf(answer, 'cloakroom-error'), 'POLICY_DENIED')
  t.equal(headerOf(answer, 'connection'), 'close')
  t.equal((await caller.rest()).ending, 'end')
  t.equal(host.connections, 0)
})

t.test(
  'an answer that comes while the caller still uploads is readable, and both connections end',
  async t => {
    const host = wire.host(async peer => {
      await peer.head()
      peer.write('HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig')
    })
    const caller = await wire.open(host)
    const size = 32 * 1024 * 1024
    const chunk = Buffer.alloc(64 * 1024, 'u')

    caller.write(`POST / HTTP/1.1\r\nHost: ${host.name}.example.test\r\nContent-Length: ${size}\r\n\r\n`)
    for (let sent = 0; sent < size; sent += chunk.length) {
      if (!caller.socket.writable) break
      if (!caller.socket.write(chunk)) await new Promise(resolve => setImmediate(resolve))
    }
    const answer = await caller.answer()

    t.equal(answer.status, 413)
    t.equal(answer.body.toString(), 'big')
    t.equal(headerOf(answer, 'connection'), 'close')
    await host.peers[0]?.over()
    await caller.over()
  },
)

t.test('a connection whose upload was not finished when it answered is not used again', async t => {
  const host = wire.host(async (peer, number) => {
    await peer.head()
    peer.write(ok(`connection ${number}`))
  })
  const first = await wire.open(host)
  const second = await wire.open(host)

  first.write(post(host, 'x'.repeat(100)).slice(0, -50))
  const early = await first.answer()
  second.write(get(host))
  const next = await second.answer()

  t.equal(early.body.toString(), 'connection 1')
  t.equal(next.body.toString(), 'connection 2')
  await host.peers[0]?.over()
  first.destroy()
  second.destroy()
})

t.test('401 to an upload that waits for 100 at the upstream reaches the caller', async t => {
  const host = wire.host(async peer => {
    await peer.head()
    peer.end('HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
  })
  const caller = await wire.open(host)

  caller.write(
    `POST / HTTP/1.1\r\nHost: ${host.name}.example.test\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n`,
  )
  const answer = await caller.answer()

  t.equal(answer.status, 401)
  t.equal((await caller.rest()).ending, 'end')
})

const CUT: readonly (readonly [string, string])[] = [
  ['in a body of a length', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhell'],
  ['in a chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel'],
  ['before the last chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'],
  ['in the trailers', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n'],
]

for (const [where, bytes] of CUT) {
  for (const version of ['1.1', '1.0']) {
    t.test(`an answer cut ${where} is no clean end for an HTTP/${version} caller`, async t => {
      const host = wire.host(async peer => {
        await peer.message()
        peer.end(bytes)
      })
      const caller = await wire.open(host)

      caller.write(get(host).replace('HTTP/1.1', `HTTP/${version}`))
      await caller.head()
      const { bytes: rest, ending } = await caller.rest()

      t.equal(ending, 'reset')
      t.notMatch(rest.toString('latin1'), '\r\n0\r\n')
    })
  }
}

t.test('an answer that the close ends and a reset cuts is no clean end', async t => {
  const host = wire.host(async peer => {
    await peer.message()
    peer.socket.write('HTTP/1.1 200 OK\r\n\r\nhell')
    await caller.until('hell')
    resetTcp(peer.socket)
  })
  const caller = await wire.open(host)

  caller.write(get(host))
  await t.rejects(caller.answer())
})

t.test('an upstream that ends before it answers is 502, and the next request is served', async t => {
  const host = wire.host(async (peer, number) => {
    await peer.message()
    if (number === 1) peer.end('HTTP/1.1 200')
    else peer.write(ok('well'))
  })
  const caller = await wire.open(host)

  caller.write(get(host))
  const first = await caller.answer()
  caller.write(get(host))
  const second = await caller.answer()

  t.equal(first.status, 502)
  t.equal(headerOf(first, 'cloakroom-error'), 'UPSTREAM_CLOSED')
  t.equal(second.body.toString(), 'well')
  caller.destroy()
})

const EVIL: readonly (readonly [string, string, string])[] = [
  [
    'two lengths',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi',
    'UPSTREAM_MALFORMED',
  ],
  [
    'length and coding',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'UPSTREAM_MALFORMED',
  ],
  ['a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n', 'UPSTREAM_MALFORMED'],
  [
    'an unasked 101',
    'HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
    'UPSTREAM_MALFORMED',
  ],
  [
    '407',
    'HTTP/1.1 407 Pay\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n',
    'UPSTREAM_PROXY_AUTH',
  ],
  ['999', 'HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n', 'UPSTREAM_MALFORMED'],
  ['a folded line', 'HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n', 'UPSTREAM_MALFORMED'],
  [
    'a coding besides chunked',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n',
    'UPSTREAM_MALFORMED',
  ],
  ['nine interim answers', `${'HTTP/1.1 100 Continue\r\n\r\n'.repeat(9)}${ok()}`, 'UPSTREAM_MALFORMED'],
  ['a huge head', `HTTP/1.1 200 OK\r\nA: ${'a'.repeat(70_000)}\r\n\r\n`, 'UPSTREAM_HEAD_TOO_LARGE'],
  ['no HTTP at all', 'SSH-2.0-x\r\n\r\n', 'UPSTREAM_MALFORMED'],
]

for (const [what, bytes, code] of EVIL) {
  t.test(`an upstream that sends ${what} is ${code}, and never asked again on that connection`, async t => {
    const host = wire.host(async (peer, number) => {
      await peer.message()
      peer.write(number === 1 ? bytes : ok('well'))
    })
    const caller = await wire.open(host)

    caller.write(get(host))
    const first = await caller.answer()
    caller.write(get(host))
    const second = await caller.answer()

    t.equal(first.status, 502)
    t.equal(headerOf(first, 'cloakroom-error'), code)
    t.equal(second.body.toString(), 'well')
    t.equal(host.connections, 2)
    caller.destroy()
  })
}

for (const [what, answer] of [
  ['after a length', `${ok('hi')}EXTRA`],
  ['after the last chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nEXTRA'],
  ['as a second answer', `${ok('hi')}${ok('poison')}`],
  ['after 204', 'HTTP/1.1 204 No Content\r\n\r\nEXTRA'],
] as const) {
  t.test(`extra bytes ${what} are dropped and the next request gets a fresh connection`, async t => {
    const host = wire.host(async (peer, number) => {
      await peer.message()
      peer.write(number === 1 ? answer : ok('well'))
    })
    const caller = await wire.open(host)

    caller.write(get(host))
    const first = await caller.answer()
    caller.write(get(host))
    const second = await caller.answer()

    t.ok(first.status < 300)
    t.equal(second.body.toString(), 'well')
    t.equal(host.connections, 2)
    await host.peers[0]?.over()
    caller.destroy()
  })
}

t.test('a stale connection that the upstream closed while idle is not used', async t => {
  const host = wire.host(async (peer, number) => {
    await peer.message()
    peer.write(ok(`connection ${number}`))
    if (number === 1) peer.end()
    else await peer.message().then(() => peer.write(ok('again')))
  })
  const caller = await wire.open(host)

  caller.write(get(host))
  await caller.answer()
  await host.peers[0]?.over() // the sidecar has seen the end and closed, too
  caller.write(get(host))
  const second = await caller.answer()

  t.equal(second.body.toString(), 'connection 2')
  caller.destroy()
})

t.test('requests that are refused are answered however many are pipelined', async t => {
  const host = wire.host(answering(() => ok()))
  const caller = await wire.open(host)
  const count = 1200

  caller.write(get(host, '/', 'Expect: a-miracle').repeat(count))
  for (let i = 0; i < count; i++) {
    const answer = await caller.answer()
    if (answer.status !== 417) t.fail(`status ${answer.status}`)
  }

  t.pass('all answered')
  caller.destroy()
})

t.test('a request that has a body and is refused keeps the connection when the body is there', async t => {
  const host = wire.host(answering(request => ok(request.start)))
  const caller = await wire.open(host)

  caller.write(post(host, LONG).replace('POST', 'PURGE') + get(host, '/next'))
  const refused = await caller.answer()
  const next = await caller.answer()

  t.equal(refused.status, 403)
  t.equal(next.body.toString(), 'GET /next HTTP/1.1')
  caller.destroy()
})

function resetTcp(socket: import('node:stream').Duplex): void {
  // A TLS socket cannot reset; the TCP socket below can.
  const { _parent: parent } = socket as unknown as { _parent?: import('node:net').Socket }
  if (parent === undefined) throw new Error('no TCP socket below')
  parent.resetAndDestroy()
}
