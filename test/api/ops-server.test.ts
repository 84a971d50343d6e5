/**
 * The ops listener: what probes and scrapers see, and that nobody sees more.
 */
import { connect } from 'node:net'
import t from 'tap'
import { type CheckResult, createOpsServer } from '../../src/api/ops-server.ts'
import { silentLog } from '../../src/base/log.ts'

type State = { checks?: Map<string, () => CheckResult>; text?: () => Promise<string> }

async function running(t: Tap, { checks = new Map(), text = async () => 'a 1\n' }: State = {}) {
  const server = createOpsServer({
    listen: { host: '127.0.0.1', port: 0 },
    metrics: { contentType: 'text/plain; version=0.0.4', text },
    checks,
    log: silentLog,
  })
  await server.start()
  t.teardown(() => server.stop())
  const port = server.address()?.port ?? 0
  return {
    server,
    port,
    get: (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${port}${path}`, init),
  }
}

type Tap = { teardown(run: () => Promise<void>): void }

t.test('answers nothing but its four paths', async t => {
  const { get } = await running(t)

  for (const path of [
    '/',
    '/metrics/',
    '/readyz2',
    '/admin',
    '/v1/secrets',
    '//metrics',
    '/LIVEZ',
    '/..%2fmetrics',
  ])
    t.equal((await get(path)).status, 404, path)
})

t.test('answers GET and HEAD alone', async t => {
  const { get } = await running(t)

  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
    const answer = await get('/livez', { method, ...(method === 'POST' ? { body: 'x' } : {}) })
    t.equal(answer.status, 405, method)
    t.equal(answer.headers.get('allow'), 'GET, HEAD')
  }
  const head = await get('/metrics', { method: 'HEAD' })
  t.equal(head.status, 200)
  t.equal(await head.text(), '')
})

t.test('refuses a head that is too large and bytes that are no HTTP', async t => {
  const { port, get } = await running(t)
  const send = (bytes: string) =>
    new Promise<string>(resolve => {
      let got = ''
      const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
      socket.on('data', chunk => {
        got += chunk
      })
      socket.on('error', () => resolve(got))
      socket.on('close', () => resolve(got))
    })

  t.equal(await send(`GET /livez HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`), '')
  t.equal(await send('\x16\x03\x01\x00\x00hello\r\n\r\n'), '')
  t.equal((await get('/livez')).status, 200, 'and goes on')
})

t.test('is not ready while a check fails, and names it', async t => {
  let audit: CheckResult = { ok: false, detail: 'the log cannot be written' }
  const checks = new Map<string, () => CheckResult>([
    ['policy', () => ({ ok: true })],
    ['audit', () => audit],
    [
      'store',
      () => {
        throw new Error('acme/stripe')
      },
    ],
  ])
  const { get } = await running(t, { checks })

  const answer = await get('/readyz')

  t.equal(answer.status, 503)
  t.same(await answer.json(), {
    status: 'not ready',
    failing: [
      { check: 'audit', detail: 'the log cannot be written' },
      { check: 'store', detail: 'Error' },
    ],
  })
  t.equal((await get('/livez')).status, 200, 'an outage must not restart the sidecar')
  t.equal((await get('/startupz')).status, 503)
  audit = { ok: true }
  checks.delete('store')
  t.equal((await get('/readyz')).status, 200)
})

t.test('has started once it was ready, whatever fails later', async t => {
  let ok = true
  const { get } = await running(t, { checks: new Map([['policy', () => ({ ok })]]) })
  t.equal((await get('/startupz')).status, 200)

  ok = false

  t.equal((await get('/readyz')).status, 503)
  t.equal((await get('/startupz')).status, 200)
})

t.test('serves metrics as Prometheus text, and one text for scrapers that come together', async t => {
  let texts = 0
  let go: () => void = () => undefined
  const gate = new Promise<void>(resolve => {
    go = resolve
  })
  const text = async () => {
    texts++
    await gate
    return 'cloakroom_requests_total 1\n'
  }
  const { get } = await running(t, { text })

  const scrapes = Promise.all(Array.from({ length: 5 }, () => get('/metrics?x=1')))
  while (texts === 0) await new Promise(resolve => setImmediate(resolve))
  await get('/livez')
  go()

  for (const answer of await scrapes) {
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4')
    t.equal(await answer.text(), 'cloakroom_requests_total 1\n')
  }
  t.ok(texts <= 2)
})

t.test('a scrape that fails ends that connection and not the server', async t => {
  const { get } = await running(t, { text: () => Promise.reject(new Error('no')) })

  await t.rejects(get('/metrics'))

  t.equal((await get('/livez')).status, 200)
})

t.test('an address that is taken is an error of the start', async t => {
  const { port } = await running(t)
  const second = createOpsServer({
    listen: { host: '127.0.0.1', port },
    metrics: { contentType: '', text: async () => '' },
    checks: new Map(),
    log: silentLog,
  })

  await t.rejects(second.start(), { code: 'EADDRINUSE' })
  await second.stop()
})

t.test('stops at once although a scraper keeps its connection', async t => {
  const { server, get } = await running(t)
  await (await get('/livez')).text()

  await server.stop()

  t.equal(server.address(), undefined)
})
