/**
 * Attacks of an upstream, and of an app through an upstream that echoes (threat-model.md D, E5): the credential given back in any form,
 * answers in our name, answers that steer the caller.
 *
 * Redaction is a second line and never the boundary: what it is known to miss stands here as tests that say so.
 */
import { createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import t from 'tap'
import { askThrough } from '../support/caller.ts'
import { findLeaks, makeCanary } from '../support/oracle.ts'
import { aSidecar, policyFor, type TestSidecar, USUAL_RULE } from '../support/sidecar.ts'
import { anUpstream, aRawUpstream, type Teardown } from '../support/third-party.ts'
import { anArena, bodyOf, codeOf, get, HOST, sendInTunnel, statusOf } from './arena.ts'

/** What an upstream writes back once it has the head of a request. */
type Script = (canary: string) => Buffer | string

type Echo = {
  readonly sidecar: TestSidecar
  readonly canary: string
  send(script: Script, method?: string): Promise<string>
}

// A canary with characters that each encoding writes in another way, besides the ones that it leaves alone.
async function anEcho(t: Teardown, policy?: string): Promise<Echo> {
  const canary = `${makeCanary('acme', 'token')}/+ "~&=`
  let script: Script = () => ''
  const onSocket = (socket: Socket) => {
    let text = ''
    socket.on('data', data => {
      text += data.toString('latin1')
      if (!text.includes('\r\n\r\n')) return
      text = ''
      socket.end(script(canary))
    })
  }
  const upstream = await aRawUpstream(t, { onSocket })
  const sidecar = await aSidecar(t, {
    upstreams: [upstream],
    level: 'error',
    ...(policy === undefined ? {} : { policy }),
  })
  const placeholder = await sidecar.put('acme/token', canary)
  return {
    sidecar,
    canary,
    send(next, method = 'GET') {
      script = next
      return sendInTunnel(
        sidecar,
        get('/', [`Authorization: Bearer ${placeholder}`, 'TE: trailers']).replace('GET', method),
      )
    },
  }
}

function answer(body: string | Buffer, headers = ''): Buffer {
  const bytes = Buffer.from(body)
  const head = `HTTP/1.1 200 OK\r\n${headers}Content-Length: ${bytes.length}\r\n\r\n`
  return Buffer.concat([Buffer.from(head, 'latin1'), bytes])
}

function chunked(parts: readonly string[], trailers = ''): string {
  const chunks = parts.map(part => `${Buffer.byteLength(part).toString(16)}\r\n${part}\r\n`).join('')
  return `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n${trailers}\r\n`
}

const base64 = (text: string) => Buffer.from(text).toString('base64')
const CODINGS: Readonly<Record<string, (canary: string) => string>> = {
  raw: canary => canary,
  base64,
  'base64 in the middle, one byte in': canary => base64(`a${canary}tail`),
  'base64 in the middle, two bytes in': canary => base64(`ab${canary}tail`),
  'base64 in the middle': canary => base64(`abc${canary}tail`),
  base64url: canary => Buffer.from(canary).toString('base64url'),
  percent: canary => encodeURIComponent(canary),
  'lower percent': canary => encodeURIComponent(canary).replace(/%../g, hex => hex.toLowerCase()),
  form: canary => new URLSearchParams({ k: canary }).toString(),
  JSON: canary => JSON.stringify({ k: canary }),
  hex: canary => Buffer.from(canary).toString('hex'),
  'upper hex': canary => Buffer.from(canary).toString('hex').toUpperCase(),
  'in an error text': canary => `Invalid API key: ${canary}. See the docs.`,
  'many times': canary => `${canary} ${canary}\n`.repeat(500),
  'after false starts': canary => `${canary.slice(0, 11)} ${canary.slice(0, 5)}${canary}`,
}

// acceptance.md 50
t.test('a credential that comes back in a body is taken out, in each form and framing', async t => {
  const { send, canary } = await anEcho(t)

  for (const [form, encode] of Object.entries(CODINGS)) {
    const text = encode(canary)
    const half = Math.floor(text.length / 2)
    const framings: Record<string, Script> = {
      'by length': () => answer(text),
      'by chunks': () => chunked([text.slice(0, half), text.slice(half)]),
      'until close': () => `HTTP/1.1 200 OK\r\n\r\n${text}`,
      'with an error': () => `HTTP/1.1 401 No\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
    }
    for (const [framing, script] of Object.entries(framings)) {
      const got = await send(script)
      const leaks = findLeaks(got, canary)
      if (leaks.length > 0 || ![200, 401].includes(statusOf(got)))
        t.fail(`${form} ${framing}: ${leaks} ${statusOf(got)}`)
    }
  }

  t.pass('no form was left')
})

t.test('a credential is found when it is cut at any byte, in chunks and in packets', async t => {
  const { send, canary } = await anEcho(t)
  const text = `before ${canary} after`

  for (let cut = 1; cut < text.length; cut++) {
    const got = await send(() => chunked([text.slice(0, cut), text.slice(cut)]))
    if (!/^before xclk_r[0-9A-Za-z]{28} after$/.test(bodyOf(got))) t.fail(`cut at ${cut}: ${bodyOf(got)}`)
  }
  const single = await send(() => chunked([...text]))

  t.same(findLeaks(single, canary), [], 'a chunk for each byte')
  t.match(bodyOf(single), /^before xclk_r[0-9A-Za-z]{28} after$/)
})

t.test('a credential is taken out of every part of a head and of trailers', async t => {
  const { send, canary } = await anEcho(t)
  const heads: Record<string, Script> = {
    header: () => answer('ok', `X-Echo: ${canary}\r\n`),
    'header in a list': () => answer('ok', `X-Echo: a, ${canary}, b\r\n`),
    'two headers': () => answer('ok', `X-Echo: ${canary}\r\nX-Other: ${base64(canary)}\r\n`),
    Location: () => answer('ok', `Location: https://${HOST}/?key=${encodeURIComponent(canary)}\r\n`),
    Refresh: () => answer('ok', `Refresh: 0; url=/?k=${encodeURIComponent(canary)}\r\n`),
    Link: () => answer('ok', `Link: </?k=${encodeURIComponent(canary)}>; rel=next\r\n`),
    ETag: () => answer('ok', `ETag: "${Buffer.from(canary).toString('hex')}"\r\n`),
    'CORS reflection': () => answer('ok', `Access-Control-Allow-Origin: https://${canary}\r\n`),
    'reason phrase': () => `HTTP/1.1 401 bad key ${canary}\r\nContent-Length: 0\r\n\r\n`,
    'no content': () => `HTTP/1.1 204 No Content\r\nX-Echo: ${canary}\r\n\r\n`,
    'not modified': () => `HTTP/1.1 304 Not Modified\r\nX-Echo: ${canary}\r\n\r\n`,
    trailer: () => chunked(['ok'], `X-Sum: ${canary}\r\n`),
    'trailer in base64': () => chunked(['ok'], `X-Sum: ${base64(canary)}\r\n`),
    'early hints': () => `HTTP/1.1 103 Early Hints\r\nLink: ${canary}\r\n\r\n${answer('ok')}`,
    'a session of it': () =>
      answer(
        'ok',
        `Set-Cookie: session=derived-of-the-credential\r\nSet-Cookie2: a=b\r\nAuthentication-Info: nextnonce=x\r\n`,
      ),
  }

  for (const [where, script] of Object.entries(heads)) {
    const got = await send(script)
    t.same(findLeaks(got, canary), [], `${where}: ${statusOf(got)}`)
    t.notMatch(got, /^(?:set-cookie2?|authentication-info):/im, where)
  }
  const head = await send(() => `HTTP/1.1 200 OK\r\nX-Echo: ${canary}\r\nContent-Length: 5\r\n\r\n`, 'HEAD')

  t.same(findLeaks(head, canary), [])
  t.match(head, /\r\nX-Echo: xclk_r/)
  t.match(head, /\r\nContent-Length: 5\r\n/i)
})

t.test('an answer that cannot be searched is refused', async t => {
  const { send, canary } = await anEcho(t)
  const compress = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync }

  for (const [coding, encode] of Object.entries(compress)) {
    for (const name of [coding, coding.toUpperCase(), `identity, ${coding}`, `x-${coding}`]) {
      const got = await send(() => answer(encode(Buffer.from(canary)), `Content-Encoding: ${name}\r\n`))
      t.equal(codeOf(got), 'UPSTREAM_CODED', name)
      t.same(findLeaks(got, canary), [])
    }
  }
  const hidden = await send(() =>
    answer(gzipSync(Buffer.from(canary)), 'Connection: Content-Encoding\r\nContent-Encoding: gzip\r\n'),
  )
  const identity = await send(() => answer(canary, 'Content-Encoding: identity\r\n'))

  t.equal(codeOf(hidden), 'UPSTREAM_CODED')
  t.equal(statusOf(identity), 200)
  t.same(findLeaks(identity, canary), [])
})

t.test(
  'with redaction off by the rule an echo comes back: the control that shows the oracle sees',
  async t => {
    const { send, canary } = await anEcho(t, policyFor(`${USUAL_RULE}    response: { redact: false }\n`))

    const got = await send(() => answer(canary))

    t.same(findLeaks(got, canary), ['raw', 'chunked', 'percent', 'double percent', 'json', 'html', 'utf16'])
  },
)

// Whoever changes one of these from a miss to a find changes docs/threat-model.md too.
const KNOWN_MISSES: Readonly<Record<string, (canary: string) => string>> = {
  rot13: canary =>
    canary.replace(/[a-z]/gi, c => String.fromCharCode(c.charCodeAt(0) + (c.toLowerCase() < 'n' ? 13 : -13))),
  reversed: canary => [...canary].reverse().join(''),
  'a hash': canary => createHash('sha256').update(canary).digest('hex'),
  'a character a line': canary => [...canary].join('\n'),
  'the first half alone': canary => canary.slice(0, canary.length / 2),
  'base64 twice': canary => base64(base64(canary)),
  'UTF-16': canary => Buffer.from(canary, 'utf16le').toString('latin1'),
  'HTML references': canary => [...canary].map(c => `&#${c.charCodeAt(0)};`).join(''),
}

for (const [what, transform] of Object.entries(KNOWN_MISSES)) {
  t.test(`known miss: ${what} of the credential passes redaction`, async t => {
    const { send, canary } = await shared(t)
    const text = transform(canary)

    const got = await send(() => answer(Buffer.from(text, 'latin1')))

    t.ok(
      bodyOf(got) === text,
      'what stands in its way is the rule that says where the credential may be sent at all',
    )
  })
}

let echo: Promise<Echo> | undefined
function shared(_: Teardown): Promise<Echo> {
  echo ??= anEcho(t)
  return echo
}

// acceptance.md 51
t.test('an upstream cannot speak in our name or steer the caller away from us', async t => {
  const { sidecar, placeholder } = await anArena(t, {
    upstream: {
      handler: (_, response) => {
        const forged = [
          'Cloakroom-Error',
          'Cloakroom-Request-Id',
          'CLOAKROOM-ANYTHING',
          'Proxy-Status',
          'Proxy-Authenticate',
          'Alt-Svc',
          'Proxy-Authentication-Info',
        ]
        for (const name of forged) response.setHeader(name, 'forged')
        response.end('ok')
      },
    },
  })

  for (const headers of [{}, { Authorization: `Bearer ${placeholder}` }]) {
    const answer = await askThrough(sidecar, HOST, { headers })
    t.equal(answer.error, undefined)
    t.notMatch(answer.rawHeaders.join('\n'), /forged/)
    t.match(answer.headers['cloakroom-request-id'], /^[0-9A-Z]{26}$/)
  }
})

t.test('an upstream that asks for proxy credentials, or switches protocols unasked, is a fault', async t => {
  const { send } = await anEcho(t)

  const asking = await send(
    () => 'HTTP/1.1 407 Give\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n',
  )
  const switching = await send(
    () => 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nbytes',
  )

  t.equal(codeOf(asking), 'UPSTREAM_PROXY_AUTH')
  t.notMatch(asking, /proxy-authenticate/i)
  t.equal(codeOf(switching), 'UPSTREAM_MALFORMED')
})

t.test('our own answers hold nothing of the request, the rule, the target or the secret', async t => {
  const { sidecar, upstream, placeholder } = await anArena(t)
  await upstream.close()
  const marks = [
    'mark-in-path',
    'mark-in-query',
    'mark-in-header',
    'example',
    'acme',
    'token',
    HOST,
    placeholder.slice(6),
  ]
  const bearer = `Authorization: Bearer ${placeholder}`
  const requests = [
    get('/mark-in-path?q=mark-in-query', ['X-A: mark-in-header', bearer]),
    get('/mark-in-path', ['X-A: mark-in-header', `X-B: ${placeholder}`]),
    get('/mark-in-path').replace('GET', 'PURGE'),
    get('/mark-in-path').replace('GET', 'TRACE'),
    get('/mark-in-path', ['Expect: mark-in-header']),
    get('/mark-in-path', ['Content-Length: x']),
    get('/mark-in-path', ['Bad Header: mark-in-header']),
    get('/mark-in-path', [], 'mark-in-header.test'),
  ]

  for (const request of requests) {
    const answer = await sendInTunnel(sidecar, request)
    t.ok(statusOf(answer) >= 400, `${statusOf(answer)} ${codeOf(answer)}`)
    for (const mark of marks) t.notMatch(answer, mark, `${codeOf(answer)}: ${mark}`)
  }
})

// D12: what holds a credential is not compressed, so its length tells nothing of it.
t.test('a compressed answer without a credential passes as it is', async t => {
  const body = gzipSync(Buffer.from('hello'))
  const upstream = await anUpstream(t, {
    handler: (_, response) => {
      response.setHeader('Content-Encoding', 'gzip')
      response.end(body)
    },
  })
  const sidecar = await aSidecar(t, { upstreams: [upstream] })

  const answer = await askThrough(sidecar, HOST, { headers: { 'Accept-Encoding': 'gzip' } })

  t.ok(answer.body.equals(body))
  t.equal(upstream.requests[0]?.headers['accept-encoding'], 'gzip')
})
