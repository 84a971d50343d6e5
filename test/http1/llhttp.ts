/**
 * What Node's own parser (llhttp, strict) makes of raw bytes, over loopback sockets: the second opinion on the codec.
 */
import { createServer, type IncomingMessage, request, type Server } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import type { HeaderList } from '../../src/model/message.ts'

/** The first message as llhttp reads it; `refused` also when it is cut short. */
export type SecondOpinion =
  | { readonly kind: 'refused' }
  | {
      readonly kind: 'message'
      /** Method and target, or status and reason. */
      readonly start: readonly [string | number, string]
      readonly minor: number
      readonly headers: HeaderList
      /** Undefined where Node hands the socket over instead of a body (CONNECT, Upgrade). */
      readonly body: string | undefined
      readonly trailers: HeaderList
    }

const REFUSED: SecondOpinion = { kind: 'refused' }

function pairs(flat: readonly string[]): HeaderList {
  return Array.from({ length: flat.length / 2 }, (_, at) => [flat[2 * at] ?? '', flat[2 * at + 1] ?? ''])
}

function opinionOf(message: IncomingMessage, body: string | undefined): SecondOpinion {
  const { statusCode, statusMessage = '', method = '', url = '' } = message
  const start =
    typeof statusCode === 'number' ? ([statusCode, statusMessage ?? ''] as const) : ([method, url] as const)
  const { httpVersionMinor: minor, rawHeaders, rawTrailers } = message
  return { kind: 'message', start, minor, headers: pairs(rawHeaders), body, trailers: pairs(rawTrailers) }
}

async function opinionOfWhole(message: IncomingMessage): Promise<SecondOpinion> {
  message.setEncoding('latin1')
  const body = await text(message)
  return opinionOf(message, body)
}

export type RequestJudge = { judge(bytes: Buffer): Promise<SecondOpinion>; close(): void }

/** Starts a server that reads requests with llhttp. Our own limits are stricter than the ones it is given. */
export async function aRequestJudge(): Promise<RequestJudge> {
  const waiting = new Map<string, (opinion: SecondOpinion) => void>()
  const settle = (socket: Socket, opinion: SecondOpinion): void => {
    waiting.get(`${socket.remotePort}`)?.(opinion)
  }
  const server = createServer({ maxHeaderSize: 65_536, requireHostHeader: false, insecureHTTPParser: false })
  server.maxHeadersCount = 0
  const onRequest = (message: IncomingMessage): void => {
    const { socket } = message
    opinionOfWhole(message).then(
      opinion => settle(socket, opinion),
      () => settle(socket, REFUSED),
    )
  }
  for (const event of ['request', 'checkContinue', 'checkExpectation']) server.on(event, onRequest)
  for (const event of ['connect', 'upgrade']) {
    server.on(event, (message: IncomingMessage, socket: Socket) => {
      socket.on('error', () => undefined)
      settle(socket, opinionOf(message, undefined))
    })
  }
  server.on('clientError', (_error, socket) => settle(socket as Socket, REFUSED))
  server.on('connection', (socket: Socket) => {
    socket.on('close', () => settle(socket, REFUSED))
  })
  const port = await listening(server)

  return {
    judge: bytes => judgeRequest(bytes, port, waiting),
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}

async function judgeRequest(
  bytes: Buffer,
  port: number,
  waiting: Map<string, (opinion: SecondOpinion) => void>,
): Promise<SecondOpinion> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  await new Promise(resolve => socket.once('connect', resolve))
  const key = `${socket.localPort}`
  const opinion = new Promise<SecondOpinion>(resolve => waiting.set(key, resolve))
  socket.end(bytes)
  try {
    return await opinion
  } finally {
    waiting.delete(key)
    socket.destroy()
  }
}

function listening(server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  return new Promise(resolve => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
}

/** Reads a response to `method` with Node's client. */
export async function judgeResponse(bytes: Buffer, method: string): Promise<SecondOpinion> {
  const upstream = createTcpServer(socket => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end(bytes))
  })
  const port = await listening(upstream)
  try {
    return await new Promise<SecondOpinion>(resolve => {
      const refuse = () => resolve(REFUSED)
      const options = { host: '127.0.0.1', port, method, path: '/', maxHeaderSize: 65_536, agent: false }
      const sent = request(options)
      sent.maxHeadersCount = 0
      sent.on('error', refuse)
      sent.on('close', refuse)
      sent.on('response', message => void opinionOfWhole(message).then(resolve, refuse))
      sent.on('information', info => {
        const { statusCode, statusMessage, httpVersionMinor: minor, rawHeaders } = info
        const start = [statusCode, statusMessage] as const
        resolve({ kind: 'message', start, minor, headers: pairs(rawHeaders), body: '', trailers: [] })
      })
      for (const event of ['connect', 'upgrade']) {
        sent.on(event, (message: IncomingMessage, socket: Socket) => {
          socket.destroy()
          resolve(opinionOf(message, undefined))
        })
      }
      sent.end()
    })
  } finally {
    upstream.close()
  }
}
