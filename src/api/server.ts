/**
 * The admin API: HTTP on a unix socket that only the sidecar's own user can open.
 *
 * Rules of this file (threat-model.md M1, M2, M4): the socket has mode 0600 in a directory of mode 0700, which is the whole of the
 * authentication; a request that a web page could have caused is refused; answers hold no values; one change at a time.
 * This is not the data path: Node's own HTTP server is good enough here.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { dirname } from 'node:path'
import { minutes, seconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Part } from '../base/lifecycle.ts'
import { describeCause, type Log } from '../base/log.ts'
import { kib, mib } from '../base/size.ts'
import type { ControlDeps } from './control.ts'
import { isOperationName, OPERATIONS, type OperationName, perform } from './operations.ts'
import { problemOf } from './problem.ts'

export type AdminServerOptions = {
  /** Absolute path of the unix socket. */
  readonly socket: string
  readonly deps: ControlDeps
  readonly log: Log
}

const PREFIX = '/v1/'
const HOSTS: ReadonlySet<string> = new Set(['localhost', 'cloakroom'])
const JSON_TYPE = /^application\/json(?:\s*;\s*charset=utf-8)?$/i
const MAX_BODY = mib(1)
const MAX_HEAD = kib(8)
const MAX_CONNECTIONS = 32 // people and scripts, not apps
const STOP_GRACE = seconds(2)
const OTHERS = 0o077

/** Makes the server; it listens from `start` on, and the socket is gone after `stop`. */
export function createAdminServer(options: AdminServerOptions): Part {
  const queue = createQueue()
  const server = createServer({
    maxHeaderSize: MAX_HEAD,
    requestTimeout: minutes(1),
    insecureHTTPParser: false,
  })
  server.headersTimeout = seconds(10)
  server.maxConnections = MAX_CONNECTIONS
  server.on('request', (request, response) => {
    answer({ ...options, queue }, request, response).catch(cause =>
      options.log.error('the admin API failed', { cause: describeCause(cause) }),
    )
  })
  server.on('clientError', (_, socket) => socket.destroy())
  return {
    name: 'admin',
    async start() {
      checkDirectory(dirname(options.socket))
      removeStaleSocket(options.socket)
      await listen(server, options.socket)
    },
    stop: () => stop(server, options),
  }
}

type Context = AdminServerOptions & { readonly queue: Queue }

async function answer(context: Context, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const reply = createReply(response)
  try {
    const name = operationOf(request)
    const params = parseBody(await readBody(request))
    const run = () => perform(context.deps, name, params, reply.progress)
    // An urgent operation must not wait for one that hangs on a disk.
    const result = OPERATIONS[name].scope === 'write' ? await context.queue(run) : await run()
    reply.end({ result })
  } catch (cause) {
    if (!(cause instanceof CloakroomError)) {
      context.log.error('an admin request failed', { cause: describeCause(cause) })
    }
    if (!request.complete) response.setHeader('Connection', 'close')
    reply.fail(cause)
  }
}

// M4: a browser names its page in Origin, follows a DNS name into Host, and cannot send this content type unasked.
function operationOf(request: IncomingMessage): OperationName {
  const refuse = (what: string): never => {
    throw new CloakroomError('API_MALFORMED', { what })
  }
  const host = request.headers.host ?? ''
  if (!HOSTS.has(host)) refuse('Host must be localhost')
  if (request.headers.origin !== undefined || request.headers['sec-fetch-site'] !== undefined) {
    refuse('requests of web pages are not served')
  }
  if (request.method !== 'POST') refuse('the method must be POST')
  if (!JSON_TYPE.test(request.headers['content-type'] ?? '')) refuse('Content-Type must be application/json')
  const url = request.url ?? ''
  const name = url.startsWith(PREFIX) ? url.slice(PREFIX.length) : ''
  if (!isOperationName(name)) throw new CloakroomError('API_NOT_FOUND', { what: 'such operation' })
  return name
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > MAX_BODY)
      throw new CloakroomError('API_MALFORMED', { what: `the body is larger than ${MAX_BODY} bytes` })
    chunks.push(chunk)
  }
  const whole = Buffer.concat(chunks)
  const text = whole.toString('utf8')
  // SECURITY N6: these bytes may be a secret's; the text cannot be wiped, the bytes can.
  for (const bytes of [whole, ...chunks]) bytes.fill(0)
  return text
}

function parseBody(text: string): unknown {
  if (text === '') return {}
  try {
    return JSON.parse(text)
  } catch {
    // Not as cause: V8's message quotes the text, which may hold a value.
    throw new CloakroomError('API_MALFORMED', { what: 'the body is not JSON' })
  }
}

type Reply = {
  progress(done: number, total: number): void
  end(body: { result: unknown }): void
  fail(cause: unknown): void
}

// One JSON object; or, from the first report of progress on, one a line with the result or the problem as the last.
function createReply(response: ServerResponse): Reply {
  const begin = (status: number, type: string): void => {
    response.writeHead(status, {
      'Content-Type': type,
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
    })
  }
  return {
    progress(done, total) {
      if (!response.headersSent) begin(200, 'application/x-ndjson')
      response.write(`${JSON.stringify({ progress: { done, total } })}\n`)
    },
    end(body) {
      if (!response.headersSent) begin(200, 'application/json')
      response.end(`${JSON.stringify(body)}\n`)
    },
    fail(cause) {
      const problem = problemOf(cause)
      if (response.headersSent) return void response.end(`${JSON.stringify({ problem })}\n`)
      begin(problem.status, 'application/problem+json')
      response.end(`${JSON.stringify(problem)}\n`)
    },
  }
}

type Queue = <T>(run: () => Promise<T>) => Promise<T>

// M9: changes one after the other, so that two edits of the policy file never lose one.
function createQueue(): Queue {
  let last: Promise<unknown> = Promise.resolve()
  return run => {
    const next = last.then(run, run)
    last = next.catch(() => undefined)
    return next
  }
}

function checkDirectory(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) throw new CloakroomError('STORAGE_UNSAFE', { path, what: 'it does not exist' })
  if (!stat.isDirectory()) throw new CloakroomError('STORAGE_UNSAFE', { path, what: 'it is not a directory' })
  if ((stat.mode & OTHERS) !== 0)
    throw new CloakroomError('STORAGE_UNSAFE', { path, what: 'others may use it' })
}

// The state lock is held by now, so nobody listens on a socket that is still there: its process was killed.
function removeStaleSocket(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket())
    throw new CloakroomError('STORAGE_UNSAFE', { path, what: 'it is there and is not a socket' })
  unlinkSync(path)
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // bind(2) happens inside listen(); the mask makes the socket private from its first moment on.
    const mask = process.umask(0o177)
    try {
      server.listen(path, () => {
        server.off('error', reject)
        server.on('error', () => undefined)
        chmodSync(path, 0o600)
        resolve()
      })
    } finally {
      process.umask(mask)
    }
  })
}

async function stop(server: Server, { deps }: AdminServerOptions): Promise<void> {
  const timer = deps.clock.after(STOP_GRACE, () => server.closeAllConnections())
  await new Promise<void>(resolve => {
    server.close(() => resolve()) // also removes the socket
    server.closeIdleConnections()
  })
  timer.cancel()
}
