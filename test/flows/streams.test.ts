/**
 * Large bodies: the same bytes come out, and what nobody reads is not gathered in our memory.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { answering, aWire, get, type Host, ok, post } from '../support/wire.ts'

const wire = await aWire(t)

const MIB = 1024 * 1024
const SIZE = 64 * MIB
const SIZES = { length: SIZE, chunked: 16 * MIB } as const
const BLOCK = Buffer.alloc(MIB, 'a line of a body that holds x, xc, xcl and xclk_ but no placeholder\n')
function hashOf(size: number): string {
  const hash = createHash('sha256')
  for (let at = 0; at < size; at += MIB) hash.update(BLOCK)
  return hash.digest('hex')
}

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

/** Sends a whole body; gives the most memory that buffers took meanwhile, here, in the sidecar and at the other end. */
async function pour(
  socket: Duplex,
  size: number,
  frame: (block: Buffer) => readonly Buffer[],
): Promise<number> {
  let most = 0
  for (let at = 0; at < size; at += MIB) {
    let isOpen = true
    for (const piece of frame(BLOCK)) isOpen = socket.write(piece)
    if (at % (8 * MIB) === 0) {
      collectGarbage()
      most = Math.max(most, process.memoryUsage().arrayBuffers)
    }
    if (!isOpen) await once(socket, 'drain')
  }
  return most
}

const asChunk = (block: Buffer) => [
  Buffer.from(`${block.length.toString(16)}\r\n`),
  block,
  Buffer.from('\r\n'),
]
const LAST = '0\r\n\r\n'

/** Hashes the data of a body, by a reader of its own that keeps nothing. */
function hasher(isChunked: boolean): { push(bytes: Buffer): void; readonly size: number; digest(): string } {
  const hash = createHash('sha256')
  let size = 0
  let left = 0
  let line = ''
  const take = (bytes: Buffer) => {
    hash.update(bytes)
    size += bytes.length
  }
  return {
    push(bytes) {
      if (!isChunked) return take(bytes)
      for (let at = 0; at < bytes.length; ) {
        if (left > 0) {
          const end = Math.min(bytes.length, at + left)
          take(bytes.subarray(at, end))
          left -= end - at
          at = end
          if (left === 0) line = '-' // its CRLF is an empty line to be passed over
          continue
        }
        const feed = bytes.indexOf(0x0a, at)
        const end = feed < 0 ? bytes.length : feed + 1
        line += bytes.toString('latin1', at, end)
        at = end
        if (feed < 0) break
        if (line !== '-\r\n') left = Number.parseInt(line, 16)
        line = ''
      }
    },
    get size() {
      return size
    },
    digest: () => hash.digest('hex'),
  }
}

async function settled(read: () => number): Promise<number> {
  for (let before = -1; ; ) {
    const now = read()
    if (now === before) return now
    before = now
    await new Promise(resolve => setTimeout(resolve, 100)) // long enough for any buffer to move
  }
}

for (const framing of ['length', 'chunked'] as const) {
  const size = SIZES[framing]
  t.test(`an upload of ${size / MIB} MiB (${framing}) arrives whole`, async t => {
    const host = wire.host(async peer => {
      await peer.head()
      const seen = hasher(framing === 'chunked')
      seen.push(peer.pending)
      peer.socket.removeAllListeners('data')
      peer.socket.on('data', bytes => {
        seen.push(bytes)
        if (seen.size === size) peer.write(ok(seen.digest()))
      })
      peer.socket.resume()
    })
    const caller = await wire.open(host)

    caller.write(
      `PUT /big HTTP/1.1\r\nHost: ${host.name}.example.test\r\n` +
        (framing === 'length' ? `Content-Length: ${size}\r\n\r\n` : 'Transfer-Encoding: chunked\r\n\r\n'),
    )
    collectGarbage()
    const before = process.memoryUsage().arrayBuffers
    const most = await pour(caller.socket, size, framing === 'length' ? block => [block] : asChunk)
    if (framing === 'chunked') caller.write(LAST)
    const answer = await caller.answer()

    t.equal(answer.body.toString().slice(0, 64), hashOf(size))
    t.ok(most - before < 24 * MIB, `${most - before} bytes of buffers at one time`)
    caller.destroy()
  })

  for (const redact of framing === 'length' ? [false] : [false, true]) {
    t.test(
      `a download of ${size / MIB} MiB (${framing}) arrives whole${redact ? ', through the redactor' : ''}`,
      async t => {
        const host = wire.host(async peer => {
          await peer.head()
          peer.write(
            `HTTP/1.1 200 OK\r\n${framing === 'length' ? `Content-Length: ${size}` : 'Transfer-Encoding: chunked'}\r\n\r\n`,
          )
          await pour(peer.socket, size, framing === 'length' ? block => [block] : asChunk)
          if (framing === 'chunked') peer.write(LAST)
        })
        const caller = await wire.open(host)
        const authorization = redact ? [`Authorization: Bearer ${await placeholderFor(host)}`] : []

        caller.write(get(host, '/big', ...authorization))
        await caller.head()
        const seen = hasher(framing === 'chunked' || redact)
        seen.push(caller.pending)
        caller.socket.removeAllListeners('data')
        await new Promise<void>(resolve => {
          caller.socket.on('data', bytes => {
            seen.push(bytes)
            if (seen.size === size) resolve()
          })
          caller.socket.resume()
        })

        t.equal(seen.digest(), hashOf(size))
        caller.destroy()
      },
    )
  }
}

function placeholderFor(host: Host): Promise<string> {
  const target = `https://${host.name}.example.test`
  return wire.sidecar.put('acme/token', 'a-real-credential-001', { target, widen: true })
}

t.test('a caller that does not read stops the upstream', async t => {
  let written = 0
  const host = wire.host(async peer => {
    await peer.head()
    peer.write(`HTTP/1.1 200 OK\r\nContent-Length: ${SIZE}\r\n\r\n`)
    while (written < SIZE) {
      const isOpen = peer.socket.write(BLOCK.subarray(0, 64 * 1024))
      written += 64 * 1024
      if (!isOpen) await once(peer.socket, 'drain')
    }
  })
  const caller = await wire.open(host)

  caller.write(get(host))
  await caller.head()
  caller.socket.pause()
  const stopped = await settled(() => written)

  t.ok(stopped < 24 * MIB, `${stopped} bytes are in kernel and other buffers`) // Linux grows a loopback socket's to 6 MiB
  caller.destroy()
})

t.test('an upstream that does not read stops the caller', async t => {
  const host = wire.host(async peer => {
    await peer.head()
    peer.socket.pause()
  })
  const caller = await wire.open(host)
  let written = 0

  caller.write(post(host, '').replace('Content-Length: 0', `Content-Length: ${SIZE}`))
  void (async () => {
    while (written < SIZE) {
      const isOpen = caller.socket.write(BLOCK.subarray(0, 64 * 1024))
      written += 64 * 1024
      if (!isOpen) await once(caller.socket, 'drain')
    }
  })().catch(() => undefined) // ends with the test
  const stopped = await settled(() => written)

  t.ok(stopped < 24 * MIB, `${stopped} bytes are in kernel and other buffers`)
  caller.destroy()
})

t.test('what is sent behind a request that is not answered yet is left in the socket', async t => {
  const host = wire.host(() => undefined)
  const caller = await wire.open(host)
  let written = 0

  caller.write(get(host))
  void (async () => {
    while (written < SIZE) {
      const isOpen = caller.socket.write(BLOCK.subarray(0, 64 * 1024))
      written += 64 * 1024
      if (!isOpen) await once(caller.socket, 'drain')
    }
  })().catch(() => undefined) // ends with the test
  const stopped = await settled(() => written)

  t.ok(stopped < 24 * MIB, `${stopped} bytes are in kernel and other buffers`)
  caller.destroy()
})

t.test('an event is delivered when it is sent, not when more comes', async t => {
  let next: (() => void) | undefined
  const host = wire.host(async peer => {
    await peer.message()
    peer.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n')
    for (let i = 0; i < 5; i++) {
      await new Promise<void>(resolve => {
        next = resolve
      })
      peer.write(`data: ${i}\n\n`)
    }
  })
  const caller = await wire.open(host)

  caller.write(get(host, '/', `Authorization: Bearer ${await placeholderFor(host)}`))
  await caller.head()
  for (let i = 0; i < 5; i++) {
    while (next === undefined) await new Promise(resolve => setImmediate(resolve))
    next()
    next = undefined
    t.match(await caller.until('\n\n'), `data: ${i}`)
  }
  caller.destroy()
})

t.test('a second answer, sent late by an evil upstream, reaches nobody of another tenant', async t => {
  const host = wire.host(async peer => {
    for (;;) {
      const { text } = await peer.message()
      const whose = /x-tenant: (\w+)/i.exec(text)?.[1] ?? ''
      peer.write(ok(`for ${whose}`))
      const delay = Math.floor(performance.now() * 7) % 4
      if (delay === 0) peer.write(ok(`poison of ${whose}`))
      else setTimeout(() => peer.write(ok(`poison of ${whose}`)), delay * 5)
    }
  })
  const target = `https://${host.name}.example.test`
  const callers = await Promise.all(
    ['acme', 'globex'].map(async tenant => ({
      tenant,
      peer: await wire.open(host),
      placeholder: await wire.sidecar.put(`${tenant}/token`, `credential-of-${tenant}`, {
        target,
        widen: true,
      }),
    })),
  )
  const seen = { own: 0, late: 0, foreign: 0 }

  const run = async ({ tenant, peer, placeholder }: (typeof callers)[number]) => {
    const other = tenant === 'acme' ? 'globex' : 'acme'
    for (let i = 0; i < 250; i++) {
      peer.write(get(host, '/', `X-Tenant: ${tenant}`, `Authorization: Bearer ${placeholder}`))
      const { body } = await peer.answer()
      if (body.includes(other)) seen.foreign++
      else if (body.includes('poison')) seen.late++
      else seen.own++
    }
    peer.destroy()
  }
  await Promise.all(callers.map(run))

  t.equal(seen.foreign, 0)
  t.equal(seen.own + seen.late, 500)
})

t.test('callers, tenants, rules and credentials that differ never share an upstream connection', async t => {
  const host = wire.host(answering(({ text }) => ok(/authorization: (.*)\r/i.exec(text)?.[1] ?? 'none')))
  const target = `https://${host.name}.example.test`
  const acme = await wire.sidecar.put('acme/token', 'credential-of-acme', { target, widen: true })
  const globex = await wire.sidecar.put('globex/token', 'credential-of-globex', { target, widen: true })
  const caller = await wire.open(host)
  const send = async (...headers: string[]) => {
    caller.write(get(host, '/', ...headers))
    await caller.answer()
    return host.connections
  }

  const counts = [
    await send(),
    await send(`Authorization: Bearer ${acme}`),
    await send(`Authorization: Bearer ${globex}`),
    await send('Cloakroom-Tenant: acme'),
    await send(`Authorization: Bearer ${acme}`),
    await send(`Authorization: Bearer ${globex}`),
    await send(),
    await send('Cloakroom-Tenant: globex'),
  ]

  t.same(counts, [1, 2, 3, 4, 4, 4, 4, 5])
  caller.destroy()
})
