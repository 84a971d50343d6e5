/**
 * Metrics and health: /metrics, /livez, /readyz and /startupz, for Prometheus and the kubelet.
 *
 * Rules of this file. It answers GET and HEAD on four paths and nothing else, reads no body, and every number here has a bound: the app
 * shares this loopback (threat-model.md L2). Liveness is local: an audit log or a store that is down must not restart the sidecar in
 * a loop, so it shows in /readyz alone (L3). Details name checks of ours, never a tenant, a secret or a host.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { seconds } from '../base/clock.ts'
import type { Part } from '../base/lifecycle.ts'
import { describeCause, type Log } from '../base/log.ts'
import { kib } from '../base/size.ts'

export type CheckResult = { readonly ok: boolean; readonly detail?: string }

export type OpsServerOptions = {
  readonly listen: { readonly host: string; readonly port: number }
  readonly metrics: { readonly contentType: string; text(): Promise<string> }
  /** What must hold for the sidecar to do its job at all, by name; asked at each probe, so they only look. */
  readonly checks: ReadonlyMap<string, () => CheckResult>
  readonly log: Log
}

export type OpsServer = Part & {
  /** Where it listens, once started. */
  address(): { readonly host: string; readonly port: number } | undefined
}

const MAX_HEAD = kib(8)
const MAX_CONNECTIONS = 64
const JSON_TYPE = 'application/json'

/** Makes the server; it listens from `start` on. */
export function createOpsServer(options: OpsServerOptions): OpsServer {
  const server = createServer({ maxHeaderSize: MAX_HEAD, requestTimeout: seconds(10), keepAlive: true })
  const pages = createPages(options)
  server.headersTimeout = seconds(5)
  server.maxConnections = MAX_CONNECTIONS
  server.on('request', (request, response) => {
    answer(pages, request, response).catch(cause => {
      options.log.error('the ops listener failed', { cause: describeCause(cause) })
      response.destroy()
    })
  })
  server.on('clientError', (_, socket) => socket.destroy())
  return {
    name: 'ops',
    start: () => listen(server, options.listen),
    stop: () => stop(server),
    address() {
      const address = server.address()
      return address === null || typeof address === 'string'
        ? undefined
        : { host: address.address, port: address.port }
    },
  }
}

type Page = { readonly status: number; readonly type: string; readonly text: string }
type Pages = ReadonlyMap<string, () => Page | Promise<Page>>

function createPages(options: OpsServerOptions): Pages {
  const scrape = singleFlight(() => options.metrics.text())
  let hasStarted = false
  const readiness = () => {
    const page = readinessPage(failing(options.checks))
    hasStarted ||= page.status === 200
    return page
  }
  return new Map<string, () => Page | Promise<Page>>([
    ['/metrics', async () => ({ status: 200, type: options.metrics.contentType, text: await scrape() })],
    ['/livez', () => json(200, { status: 'alive' })],
    ['/readyz', readiness],
    // Stays good: a start happens once, and what fails later is readiness.
    ['/startupz', () => (hasStarted ? json(200, { status: 'started' }) : readiness())],
  ])
}

// Ten scrapers at once cost one text.
function singleFlight<T>(run: () => Promise<T>): () => Promise<T> {
  let current: Promise<T> | undefined
  return () => {
    current ??= run().finally(() => {
      current = undefined
    })
    return current
  }
}

type Failing = { readonly check: string; readonly detail?: string }

function failing(checks: OpsServerOptions['checks']): readonly Failing[] {
  return [...checks].flatMap(([check, run]) => {
    const { ok, detail } = attempt(run)
    return ok ? [] : [detail === undefined ? { check } : { check, detail }]
  })
}

function attempt(run: () => CheckResult): CheckResult {
  try {
    return run()
  } catch (cause) {
    return { ok: false, detail: describeCause(cause) }
  }
}

function readinessPage(failures: readonly Failing[]): Page {
  return failures.length === 0
    ? json(200, { status: 'ready' })
    : json(503, { status: 'not ready', failing: failures })
}

function json(status: number, body: unknown): Page {
  return { status, type: JSON_TYPE, text: `${JSON.stringify(body)}\n` }
}

async function answer(pages: Pages, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const page = await pageFor(pages, request)
  response.statusCode = page.status
  response.setHeader('Content-Type', page.type)
  response.setHeader('Content-Length', Buffer.byteLength(page.text))
  response.setHeader('Cache-Control', 'no-store')
  response.setHeader('X-Content-Type-Options', 'nosniff')
  if (page.status === 405) response.setHeader('Allow', 'GET, HEAD')
  // A body was not asked for and is not read: the connection goes with it.
  if (hasBody(request)) response.setHeader('Connection', 'close')
  response.end(request.method === 'HEAD' ? undefined : page.text)
}

async function pageFor(pages: Pages, request: IncomingMessage): Promise<Page> {
  const path = (request.url ?? '').split('?', 1)[0] ?? ''
  const make = pages.get(path)
  if (make === undefined) return json(404, { status: 'not found' })
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return json(405, { status: 'method not allowed' })
  return make()
}

function hasBody(request: IncomingMessage): boolean {
  const { headers } = request
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'
}

// The cause goes out as it is: whoever starts the parts says which address could not be had.
function listen(server: Server, { host, port }: OpsServerOptions['listen']): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      server.on('error', () => undefined) // EMFILE while accepting: the connection is lost, the listener is not
      resolve()
    })
  })
}

async function stop(server: Server): Promise<void> {
  if (!server.listening) return
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  server.closeAllConnections()
  await closed
}
