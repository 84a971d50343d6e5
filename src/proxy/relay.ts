/**
 * The relay: `/https/HOST/PATH` for apps that can change a base URL but not the proxy; the same exchange (rulings.md 28).
 *
 * Each request goes through `http-proxy` (its maintained successor stands under the name) as an absolute-form request to a private
 * unix socket of our own front door, with a ticket that carries what the caller presented. Rules of this file: raw headers are
 * checked before that library merges them; no web page may use the relay; nothing but our own ticket opens the private door.
 * The relay carries no request trailers and no interim answers.
 */
import { type ClientRequest, createServer, IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createProxyServer, type ProxyServer } from 'http-proxy'
import { equalBytes } from '../base/bytes.ts'
import type { Clock, Milliseconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Part } from '../base/lifecycle.ts'
import { randomBytes } from '../base/random.ts'
import { requestFraming } from '../http1/framing.ts'
import type { ReceivedRequestHead } from '../http1/head.ts'
import { refusalError } from '../http1/refusal.ts'
import { parseProxyAuthorization } from '../identity/proxy-authorization.ts'
import type { Presented } from '../model/caller.ts'
import { type HeaderList, headerValues } from '../model/message.ts'
import { parseAuthority } from '../model/target.ts'
import { handleExchange } from './exchange.ts'
import type { ExchangeDeps } from './exchange-deps.ts'
import type { Inbound } from './inbound.ts'
import { isLoopbackPeer, type RelayTickets } from './presented.ts'
import { type Pair, RefusedAtRelay } from './relay-refused.ts'

export type RelayOptions = {
  readonly listen: { readonly host: string; readonly port: number }
  /** Path of the private listener's socket. */
  readonly socketPath: string
  readonly clock: Clock
  readonly exchange: ExchangeDeps
  readonly tickets: Tickets
  readonly headBytes: number
  /** Most header lines in a head. */
  readonly headers: number
}

export type Relay = Part & {
  address(): { readonly host: string; readonly port: number } | undefined
  /** Takes no new connections, and closes each open one after its running request. */
  drain(): void
}

const TICKET_HEADER = 'cloakroom-relay'
const FLUSH: Milliseconds = 1_000

/** Carries what callers presented to the relay over the private socket: a nonce of this process and a number, used once. */
export class Tickets implements RelayTickets {
  readonly #nonce = randomBytes(32).toString('base64url')
  readonly #open = new Map<string, Presented>()
  #next = 0

  issue(presented: Presented): string {
    const id = String(this.#next++)
    this.#open.set(id, presented)
    return `${this.#nonce}.${id}`
  }

  /** Forgets a ticket whose request never came through. */
  cancel(ticket: string): void {
    this.#open.delete(ticket.slice(ticket.indexOf('.') + 1))
  }

  redeem(inbound: Inbound): Presented {
    if (inbound instanceof RefusedAtRelay) return inbound.facts.presented
    const [ticket = '', ...more] = headerValues(inbound.head.headers, TICKET_HEADER)
    const [nonce = '', id = ''] = ticket.split('.')
    const isOurs = more.length === 0 && equalBytes(Buffer.from(nonce), Buffer.from(this.#nonce))
    const presented = isOurs ? this.#open.get(id) : undefined
    if (isOurs) this.#open.delete(id) // a guess takes nobody's ticket away
    if (presented === undefined) throw new CloakroomError('IDENTITY_UNKNOWN_TO_RELAY', {})
    return presented
  }
}

export function createRelay(options: RelayOptions): Relay {
  const proxy = createProxyServer({ ignorePath: true, xfwd: false, agent: false, proxyTimeout: 0 })
  let isDraining = false
  const running = new Running()
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    running.add(response)
    response.once('finish', () => {
      if (isDraining) request.socket.end()
    })
    relay(options, proxy, { request, response })
  }
  const server = createServer(
    { maxHeaderSize: options.headBytes, noDelay: true, requestTimeout: 0, keepAliveTimeout: 60_000 },
    onRequest,
  )
  server.maxHeadersCount = 0 // threat-model.md E3: the count is ours to check; Node would drop what passes its own
  // E10: Node would say 100 before policy has. The private door says it when it wants the body.
  server.on('checkContinue', onRequest)
  server.on('checkExpectation', onRequest) // ours to refuse, with a record like all others (SECURITY I8)
  server.on('connect', (request, socket) => refuseOnSocket(options, socket, receivedHead(request)))
  server.on('clientError', (cause: NodeJS.ErrnoException, socket) => {
    // What the parser or its timer refused; a connection that broke by itself asked for nothing.
    if (/^(?:HPE_|ERR_HTTP_)/.test(cause.code ?? '')) refuseOnSocket(options, socket, NO_HEAD)
    else socket.destroy()
  })
  proxy.on('proxyReq', (outgoing, request, response) => passContinue(outgoing, request, response))
  proxy.on('proxyRes', ({ headers }) => {
    if (isDraining) headers.connection = 'close'
    else delete headers.connection // what it says is for the private connection, not for the caller's
  })
  proxy.on('error', (_cause, _request, response) => {
    if (response !== undefined) response.destroy() // the private listener answered nothing whole: neither do we
  })
  return {
    name: 'relay',
    start: () => listen(server, options.listen),
    async stop() {
      server.close()
      const timer = new AbortController()
      // What was running has ended at the private door; its last bytes are still on their way through this hop.
      await Promise.race([
        running.whenNone(),
        options.clock.sleep(FLUSH, timer.signal).catch(() => undefined),
      ])
      timer.abort()
      server.closeAllConnections()
    },
    drain() {
      isDraining = true
      server.close() // and what is idle
    },
    address() {
      const address = server.address()
      return address === null || typeof address === 'string'
        ? undefined
        : { host: address.address, port: address.port }
    },
  }
}

/** The answers that are not out yet. */
class Running {
  readonly #responses = new Set<ServerResponse>()
  readonly #waiting: (() => void)[] = []

  add(response: ServerResponse): void {
    this.#responses.add(response)
    response.once('close', () => {
      this.#responses.delete(response)
      if (this.#responses.size === 0) for (const run of this.#waiting.splice(0)) run()
    })
  }

  whenNone(): Promise<void> {
    if (this.#responses.size === 0) return Promise.resolve()
    return new Promise(resolve => this.#waiting.push(resolve))
  }
}

function relay(options: RelayOptions, proxy: ProxyServer, { request, response }: Pair): void {
  const head = receivedHead(request)
  const presented = presentedTo(request, head.headers)
  const refused = faultOf(head, options)
  const pathname = absoluteTarget(head.rawTarget)
  if (refused !== undefined || pathname === undefined) {
    const error =
      refused ?? new CloakroomError('REQUEST_TARGET', { what: 'the relay wants /https/HOST/PATH' })
    void handleExchange(
      options.exchange,
      new RefusedAtRelay(response, { head, presented, error }, options.clock),
    )
    return
  }
  const ticket = options.tickets.issue(presented)
  response.once('close', () => options.tickets.cancel(ticket))
  const target = { socketPath: options.socketPath, pathname }
  delete request.headers.expect // for passContinue to set: the library shows a request that expects to nobody
  void proxy.web(request, response, { target, headers: { [TICKET_HEADER]: ticket } })
}

const NO_HEAD: ReceivedRequestHead = { method: '', rawTarget: '', minor: 1, headers: [] }

/** Refuses what Node's parser would not make a request of, and CONNECT, which the relay does not serve. */
function refuseOnSocket(options: RelayOptions, socket: Duplex, head: ReceivedRequestHead): void {
  socket.on('error', () => undefined) // it may be gone: the record says what came all the same
  if (socket.destroyed) return
  const error =
    head.method === 'CONNECT'
      ? new CloakroomError('REQUEST_METHOD', {})
      : new CloakroomError('REQUEST_MALFORMED', { what: 'not an HTTP/1.1 request' })
  const response = new ServerResponse(new IncomingMessage(socket as Socket))
  response.assignSocket(socket as Socket)
  response.once('finish', () => socket.end())
  const refusal = { head, presented: { isLoopback: false }, error }
  void handleExchange(options.exchange, new RefusedAtRelay(response, refusal, options.clock))
}

/** Asks the private door for 100 where the caller waits for it, and passes it on. */
function passContinue(outgoing: ClientRequest, request: IncomingMessage, response: ServerResponse): void {
  const isExpected = request.rawHeaders.some((name, i) => i % 2 === 0 && name.toLowerCase() === 'expect')
  if (!isExpected) return
  outgoing.setHeader('Expect', '100-continue')
  outgoing.once('continue', () => response.writeContinue())
  outgoing.flushHeaders() // the body, which would send them, waits
}

function receivedHead(request: IncomingMessage): ReceivedRequestHead {
  const raw = request.rawHeaders
  const headers: (readonly [string, string])[] = []
  for (let i = 0; i + 1 < raw.length; i += 2) headers.push([raw[i] ?? '', raw[i + 1] ?? ''])
  const minor = request.httpVersionMinor === 0 ? 0 : 1
  return { method: request.method ?? '', rawTarget: request.url ?? '', minor, headers }
}

function presentedTo(request: IncomingMessage, headers: HeaderList): Presented {
  const isLoopback = isLoopbackPeer(request.socket)
  const authorization = parseProxyAuthorization(headerValues(headers, 'cloakroom-authorization'))
  return authorization === undefined ? { isLoopback } : { isLoopback, authorization }
}

// What the library would merge or pass on one of: refused here, where every line is still seen.
const SINGLE = [
  'host',
  'authorization',
  'cloakroom-authorization',
  'cloakroom-tenant',
  'content-type',
  'expect',
]

function faultOf(head: ReceivedRequestHead, options: RelayOptions): CloakroomError | undefined {
  if (head.headers.length > options.headers)
    return new CloakroomError('REQUEST_HEAD_TOO_LARGE', { limit: options.headers })
  const framing = requestFraming(head)
  if (framing.kind === 'refused') return refusalError(framing, '')
  const repeated = SINGLE.some(name => headerValues(head.headers, name).length > 1)
  if (repeated)
    return new CloakroomError('REQUEST_MALFORMED', { what: 'a header that stands once only stands twice' })
  if (headerValues(head.headers, 'expect').some(value => value.toLowerCase() !== '100-continue'))
    return new CloakroomError('REQUEST_EXPECTATION', {})
  if (headerValues(head.headers, TICKET_HEADER).length > 0)
    return new CloakroomError('REQUEST_MALFORMED', { what: 'a header of ours' })
  // SECURITY: a page in a browser on this machine could reach the relay; browsers say that it is a page (rulings.md 28).
  const isPage = head.headers.some(([name]) => /^(?:origin|sec-fetch-.*)$/i.test(name))
  if (isPage) return new CloakroomError('REQUEST_MALFORMED', { what: 'web pages may not use the relay' })
  return isOurHost(headerValues(head.headers, 'host')[0], options.listen)
    ? undefined
    : new CloakroomError('REQUEST_MISDIRECTED', {})
}

// Against DNS rebinding (threat-model.md M4): the caller must have meant this listener.
function isOurHost(host: string | undefined, listen: RelayOptions['listen']): boolean {
  const authority = host === undefined ? undefined : parseAuthority(host)
  if (authority === undefined) return false
  return ['localhost', '127.0.0.1', '[::1]', listen.host].includes(authority.host)
}

/** `/https/HOST/PATH` to `https://HOST/PATH`; what HOST and PATH may be is validated with every other request. */
function absoluteTarget(rawTarget: string): string | undefined {
  const match = /^\/(https?)\/([^/?]+)(.*)$/.exec(rawTarget)
  return match === null ? undefined : `${match[1]}://${match[2]}${match[3]}`
}

function listen(server: Server, at: RelayOptions['listen']): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(at.port, at.host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}
