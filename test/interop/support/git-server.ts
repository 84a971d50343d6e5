/**
 * A git host: git's own http-backend behind HTTPS, which asks for Basic credentials and checks them.
 */
import { spawn } from 'node:child_process'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import type { Test } from 'tap'
import { certificateFor } from '../../support/third-party.ts'
import { pathOf } from './needs.ts'

export type GitRequest = {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  /** What it was answered; 0 before that. */
  status: number
}

export type GitHost = { readonly port: number; readonly requests: GitRequest[] }

/** Serves the repositories in `root` to this user alone. */
export async function aGitHost(
  t: Test,
  { host, root, user, password }: { host: string; root: string; user: string; password: string },
): Promise<GitHost> {
  const requests: GitRequest[] = []
  const expected = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  const http = createServer((request, response) => {
    const { method = '', url = '', headers } = request
    const seen: GitRequest = { method, url, headers, status: 0 }
    requests.push(seen)
    response.on('close', () => {
      seen.status = response.statusCode
    })
    if (headers.authorization === expected) return runBackend(request, response, { root, user })
    request.resume()
    response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="git"', 'Content-Length': '0' }).end()
  })
  const server = createTlsServer({ ...certificateFor(host), ALPNProtocols: ['http/1.1'] }, socket => {
    socket.on('error', () => undefined)
    http.emit('connection', socket)
  })
  t.teardown(() => {
    http.closeAllConnections()
    server.close()
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return { port: (server.address() as AddressInfo).port, requests }
}

// RFC 3875, as far as git-http-backend(1) reads it.
function runBackend(
  request: IncomingMessage,
  response: ServerResponse,
  { root, user }: { root: string; user: string },
): void {
  const [path = '', query = ''] = (request.url ?? '').split('?')
  const { headers } = request
  const variables = {
    PATH: process.env.PATH ?? '',
    GIT_PROJECT_ROOT: root,
    GIT_HTTP_EXPORT_ALL: '1',
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'safe.directory',
    GIT_CONFIG_VALUE_0: '*',
    GATEWAY_INTERFACE: 'CGI/1.1',
    REQUEST_METHOD: request.method ?? '',
    PATH_INFO: path,
    QUERY_STRING: query,
    REMOTE_USER: user,
    REMOTE_ADDR: '127.0.0.1',
    CONTENT_TYPE: headers['content-type'] ?? '',
    CONTENT_LENGTH: headers['content-length'] ?? '',
    HTTP_CONTENT_ENCODING: headers['content-encoding'] ?? '',
    GIT_PROTOCOL: String(headers['git-protocol'] ?? ''),
  }
  const present = Object.entries(variables).filter(([, value]) => value !== '')
  const args = ['-i', ...present.map(([name, value]) => `${name}=${value}`), pathOf('git'), 'http-backend']
  const backend = spawn('env', args, { stdio: ['pipe', 'pipe', 'inherit'] })
  backend.stdin.on('error', () => undefined)
  request.pipe(backend.stdin)
  sendAnswer(backend.stdout, response)
}

async function sendAnswer(output: NodeJS.ReadableStream, response: ServerResponse): Promise<void> {
  let head = Buffer.alloc(0)
  let isInBody = false
  for await (const chunk of output) {
    if (isInBody) {
      if (!response.write(chunk)) await new Promise(resolve => response.once('drain', resolve))
      continue
    }
    head = Buffer.concat([head, chunk as Buffer])
    const end = head.indexOf('\r\n\r\n')
    if (end === -1) continue
    isInBody = true
    writeHead(head.subarray(0, end).toString('latin1'), response)
    response.write(head.subarray(end + 4))
  }
  response.end()
}

function writeHead(head: string, response: ServerResponse): void {
  for (const line of head.split('\r\n')) {
    const [name = '', value = ''] = line.split(/: (.*)/)
    if (name.toLowerCase() === 'status') response.statusCode = Number.parseInt(value, 10)
    else response.setHeader(name, value)
  }
}
