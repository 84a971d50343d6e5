/**
 * The load of the benchmark: connections that each send a request when the last one was answered, direct or through CONNECT.
 *
 * A child process: gets `Load`, says `measuring` when warm, and `Measured` when done. It stops at the first answer that is not 200.
 */
import { once } from 'node:events'
import { type Socket, connect as tcpConnect } from 'node:net'
import { type TLSSocket, connect as tlsConnect } from 'node:tls'

export type Load = {
  /** Where to connect to: the server itself, or a proxy. */
  readonly port: number
  /** CONNECT to it first; undefined goes without. */
  readonly authority: string | undefined
  readonly host: string
  readonly ca: string
  readonly path: string
  readonly authorization: string
  readonly connections: number
  /** A connection of its own for each request, with all its handshakes. */
  readonly isFresh: boolean
  readonly warmUpMs: number
  readonly measureMs: number
}

export type Measured = {
  readonly requests: number
  readonly seconds: number
  readonly p50Micros: number
  readonly p99Micros: number
}

export type LoadTold = 'measuring' | Measured | { readonly failed: string }

let isMeasuring = false
let isOver = false
const latencies: number[] = []

function requestOf({ path, host, authorization }: Load): Buffer {
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: ${host}`,
    'User-Agent: bench/1.0',
    'Accept: application/json',
    `Authorization: ${authorization}`,
    'X-Client: {"lang":"node","lang_version":"24"}',
    'Connection: keep-alive',
  ]
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`)
}

async function open({ port, authority, host, ca }: Load): Promise<TLSSocket> {
  const raw: Socket = tcpConnect({ port, host: '127.0.0.1', noDelay: true })
  await once(raw, 'connect')
  if (authority !== undefined) {
    raw.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`)
    const [answer] = (await once(raw, 'data')) as [Buffer]
    if (!answer.includes(' 200 ')) throw new Error(`CONNECT: ${answer.toString('latin1').slice(0, 100)}`)
  }
  const socket = tlsConnect({ socket: raw, servername: host, ca, ALPNProtocols: ['http/1.1'] })
  await once(socket, 'secureConnect')
  return socket
}

/** Sends one request; resolves when its answer is complete. */
function exchange(socket: TLSSocket, request: Buffer): Promise<void> {
  let isComplete: ((chunk: Buffer) => boolean) | undefined
  return new Promise((resolve, reject) => {
    const stop = (settle: () => void) => {
      socket.off('data', onData).off('close', onClose)
      settle()
    }
    const onClose = () => stop(() => reject(new Error('the connection was closed')))
    const onData = (chunk: Buffer) => {
      let rest = chunk
      if (isComplete === undefined) {
        const end = chunk.indexOf('\r\n\r\n') // the whole head comes with the first bytes: it was written at once
        isComplete = framingOf(chunk.toString('latin1', 0, end))
        rest = chunk.subarray(end + 4)
      }
      if (isComplete(rest)) stop(resolve)
    }
    socket.on('data', onData).on('close', onClose)
    socket.write(request)
  })
}

const LAST_CHUNK = '0\r\n\r\n' // no body of ours holds a line end, so this is the end wherever it stands

function framingOf(head: string): (chunk: Buffer) => boolean {
  if (!head.startsWith('HTTP/1.1 200 ')) throw new Error(`unexpected answer: ${head}`)
  let missing = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1])
  if (Number.isFinite(missing)) {
    return chunk => {
      missing -= chunk.length
      return missing === 0
    }
  }
  let tail = ''
  return chunk => {
    tail = (tail + chunk.toString('latin1', Math.max(0, chunk.length - LAST_CHUNK.length))).slice(
      -LAST_CHUNK.length,
    )
    return tail === LAST_CHUNK
  }
}

async function keepAsking(load: Load, request: Buffer): Promise<void> {
  let socket = load.isFresh ? undefined : await open(load)
  while (!isOver) {
    const started = performance.now()
    socket ??= await open(load)
    await exchange(socket, request)
    if (isMeasuring) latencies.push((performance.now() - started) * 1000)
    if (!load.isFresh) continue
    socket.destroy()
    socket = undefined
  }
  socket?.destroy()
}

const wait = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))

async function run(load: Load): Promise<Measured> {
  const request = requestOf(load)
  const asking = Promise.all(Array.from({ length: load.connections }, () => keepAsking(load, request)))
  await Promise.race([wait(load.warmUpMs), asking])
  isMeasuring = true
  process.send?.('measuring')
  const started = performance.now()
  await Promise.race([wait(load.measureMs), asking])
  isMeasuring = false
  const seconds = (performance.now() - started) / 1000
  const sorted = latencies.sort((a, b) => a - b)
  const at = (share: number) => Math.round(sorted[Math.floor(sorted.length * share)] ?? 0)
  process.send?.({ requests: sorted.length, seconds, p50Micros: at(0.5), p99Micros: at(0.99) })
  isOver = true
  await asking
  return { requests: sorted.length, seconds, p50Micros: at(0.5), p99Micros: at(0.99) }
}

const fail = (cause: unknown) => process.send?.({ failed: String(cause) }, () => process.exit(1))
process.on('uncaughtException', fail)
process.once('message', (load: Load) => {
  run(load).then(() => process.disconnect(), fail)
})
