/**
 * A caller of the proxy, as an app is: CONNECT, TLS that trusts our CA, and plain requests; also by raw bytes.
 */
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { type Socket, connect as tcpConnect } from 'node:net'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'

export type Door = { readonly port: number; readonly caPem: string }

export type Answer = {
  readonly status: number
  readonly reason: string
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
  readonly trailers: NodeJS.Dict<string>
  readonly body: Buffer
  /** The Cloakroom-Error header. */
  readonly error: string | undefined
}

export type Ask = {
  readonly method?: string
  readonly path?: string
  readonly headers?: Record<string, string | string[]>
  readonly body?: Buffer | string
  /** Sends the body chunked. */
  readonly chunked?: boolean
}

/** A TCP connection to the proxy. */
export function openTcp(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = tcpConnect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => resolve(socket))
    socket.once('error', reject)
    socket.on('error', () => undefined)
  })
}

/** Everything that comes until the other side ends. */
export function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  return new Promise(resolve => {
    socket.on('data', chunk => chunks.push(chunk))
    socket.on('close', () => resolve(Buffer.concat(chunks)))
    socket.on('end', () => resolve(Buffer.concat(chunks)))
  })
}

/** Reads until `enough` says so; throws when the connection ends first. */
export function readUntil(socket: Socket, enough: (text: string) => boolean): Promise<string> {
  let text = ''
  return new Promise((resolve, reject) => {
    const stop = () => {
      socket.off('data', onData).off('close', onClose)
      socket.pause()
    }
    const onData = (chunk: Buffer) => {
      text += chunk.toString('latin1')
      if (!enough(text)) return
      stop()
      resolve(text)
    }
    const onClose = () => {
      stop()
      reject(new Error(`the connection ended after: ${JSON.stringify(text)}`))
    }
    socket.on('data', onData).on('close', onClose)
    socket.resume()
  })
}

/** CONNECT; resolves with the socket when it is established, or the head of the refusal. */
export async function connectTo(
  door: Door,
  authority: string,
  headers = '',
): Promise<{ socket: Socket; head: string }> {
  const socket = await openTcp(door.port)
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${headers}\r\n`)
  const head = await readUntil(socket, text => text.includes('\r\n\r\n'))
  return { socket, head }
}

/** CONNECT and TLS: a socket inside the tunnel. */
export async function openTunnel(
  door: Door,
  authority: string,
  options: { headers?: string; servername?: string } = {},
): Promise<TLSSocket> {
  const { socket, head } = await connectTo(door, authority, options.headers ?? '')
  if (!head.startsWith('HTTP/1.1 200')) throw new Error(`CONNECT was refused: ${head}`)
  const host = options.servername ?? authority.replace(/:\d+$/, '')
  return secure(socket, door.caPem, host)
}

/** TLS over a connection that is there. */
export function secure(socket: Socket, ca: string, servername: string): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const isAddress = /^[\d.]+$|^\[/.test(servername)
    const tls = tlsConnect({
      socket,
      ca,
      ...(isAddress ? { host: servername.replace(/[[\]]/g, '') } : { servername }),
    })
    tls.once('secureConnect', () => resolve(tls))
    tls.once('error', reject)
    tls.once('close', () => reject(new Error('the handshake was cut')))
    tls.on('error', () => undefined)
  })
}

/** One request over a connection that is there; with `keep`, the connection serves again. */
export function ask(socket: Socket, host: string, wish: Ask = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const body = wish.body === undefined ? undefined : Buffer.from(wish.body)
    const request = httpRequest({
      createConnection: () => socket,
      method: wish.method ?? 'GET',
      path: wish.path ?? '/',
      setHost: false,
      headers: {
        Host: host,
        ...(body === undefined || wish.chunked === true ? {} : { 'Content-Length': String(body.length) }),
        ...(wish.chunked === true ? { 'Transfer-Encoding': 'chunked' } : {}),
        Connection: 'keep-alive',
        ...wish.headers,
      },
    })
    request.on('error', reject)
    request.on('response', response => {
      const chunks: Buffer[] = []
      response.on('data', chunk => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          reason: response.statusMessage ?? '',
          headers: response.headers,
          rawHeaders: response.rawHeaders,
          trailers: response.trailers,
          body: Buffer.concat(chunks),
          error: response.headers['cloakroom-error'] as string | undefined,
        }),
      )
    })
    request.end(body)
  })
}

/** CONNECT, TLS, one request, close. */
export async function askThrough(
  door: Door,
  host: string,
  wish: Ask = {},
  tunnel: { headers?: string } = {},
): Promise<Answer> {
  const socket = await openTunnel(door, `${host}:443`, tunnel)
  try {
    return await ask(socket, host, wish)
  } finally {
    socket.destroy()
  }
}

/** The value of Proxy-Authorization, as a header line. */
export function proxyAuthorization(user: string, password: string): string {
  return `Proxy-Authorization: Basic ${Buffer.from(`${user}:${password}`).toString('base64')}\r\n`
}
