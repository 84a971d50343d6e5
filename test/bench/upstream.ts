/**
 * The third party of the benchmark: the least TLS server that answers HTTP/1.1, so that what is measured is what stands before it.
 *
 * A child process: gets `Setup`, says its port, and on any message tells how many requests carried the credential and how many did not.
 */
import type { AddressInfo } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'

export type UpstreamSetup = { readonly cert: string; readonly key: string; readonly credential: string }
/** Requests with the credential and without it, and the first of the latter. */
export type Tally = { readonly armed: number; readonly bare: number; readonly sample: string }
export type UpstreamTold = { readonly port: number } | Tally

const HEAD_END = Buffer.from('\r\n\r\n')

// The heads that APIs send have a dozen lines; so has this one.
function answer(bytes: number): Buffer {
  const lines = [
    'HTTP/1.1 200 OK',
    'Server: bench',
    'Content-Type: application/json',
    `Content-Length: ${bytes}`,
    'Connection: keep-alive',
    'Cache-Control: no-cache, no-store',
    'Request-Id: req_0123456789abcd',
    'Vary: Origin',
    'X-Ratelimit-Limit: 5000',
    'X-Ratelimit-Remaining: 4999',
    'Strict-Transport-Security: max-age=63072000; includeSubDomains; preload',
  ]
  const item = '{"id":"item_4f2a","name":"A thing","amount":1250,"created":1763900000,"tags":["a","b"]},'
  const body = item.repeat(Math.ceil(bytes / item.length)).slice(0, bytes)
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`, 'latin1')
}

const ANSWERS = { small: answer(1024), large: answer(100 * 1024) }

function serve({ cert, key, credential }: UpstreamSetup): void {
  let [armed, bare, sample] = [0, 0, '']
  const needle = Buffer.from(credential)
  const onRequest = (head: Buffer, socket: TLSSocket) => {
    if (head.includes(needle)) armed++
    else if (bare++ === 0) sample = head.toString('latin1')
    socket.write(head.includes('/large') ? ANSWERS.large : ANSWERS.small)
  }
  const server = createServer({ cert, key, ALPNProtocols: ['http/1.1'], noDelay: true }, socket => {
    let pending: Buffer = Buffer.alloc(0)
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk])
      for (let end = pending.indexOf(HEAD_END); end !== -1; end = pending.indexOf(HEAD_END)) {
        onRequest(pending.subarray(0, end), socket)
        pending = pending.subarray(end + HEAD_END.length)
      }
    })
  })
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }))
  process.on('message', () => process.send?.({ armed, bare, sample } satisfies Tally))
}

process.once('message', (setup: UpstreamSetup) => serve(setup))
process.once('disconnect', () => process.exit())
