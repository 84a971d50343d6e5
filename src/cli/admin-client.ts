/**
 * Talks to a running sidecar: over its admin socket, and for `doctor` through its proxy.
 *
 * Rule of this file: the only connections it makes are to listeners of a sidecar that the configuration names.
 */

import { statSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import type { Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import type { Progress } from '../api/operation.ts'
import type { Control, OperationName, OperationParams, OperationResult } from '../api/operations.ts'
import { errorOf } from '../api/problem.ts'
import { minutes, seconds, systemClock } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { formatListen, type Listen } from '../config/options.ts'

// A reload or an import may take long; status and halt answer at once.
const LONGEST_SILENCE = minutes(2)
const ABSENT = new Set(['ENOENT', 'ECONNREFUSED'])

/** Gives a way to the sidecar behind `socket`, or undefined when none answers there. @throws CLI_UNREACHABLE */
export async function reachSidecar(socket: string): Promise<Control | undefined> {
  if (statSync(socket, { throwIfNoEntry: false })?.isSocket() !== true) return undefined
  const control: Control = {
    via: 'socket',
    call: (name, params, progress) => call(socket, name, { params, progress }),
    close: async () => undefined,
  }
  try {
    await control.call('status', {})
    return control
  } catch (cause) {
    if (cause instanceof CloakroomError && isAbsence(cause.cause)) return undefined // its process was killed
    throw cause
  }
}

function call<N extends OperationName>(
  socket: string,
  name: N,
  { params, progress }: { readonly params: OperationParams<N>; readonly progress: Progress | undefined },
): Promise<OperationResult<N>> {
  return new Promise((resolve, reject) => {
    const unreachable = (cause: unknown) =>
      reject(new CloakroomError('CLI_UNREACHABLE', { what: `the sidecar at ${socket}` }, { cause }))
    const outgoing = request({
      socketPath: socket,
      path: `/v1/${name}`,
      method: 'POST',
      agent: false,
      timeout: LONGEST_SILENCE,
      headers: { Host: 'localhost', 'Content-Type': 'application/json' },
    })
    outgoing.on('error', unreachable)
    outgoing.on('timeout', () => outgoing.destroy(new Error('timeout')))
    outgoing.on('response', response => {
      readAnswer(response, progress).then(
        answer => settle(answer, resolve as (result: unknown) => void, reject),
        unreachable,
      )
    })
    outgoing.end(JSON.stringify(params))
  })
}

function settle(answer: unknown, resolve: (result: unknown) => void, reject: (cause: unknown) => void): void {
  if (typeof answer === 'object' && answer !== null && 'result' in answer) return resolve(answer.result)
  const problem =
    typeof answer === 'object' && answer !== null && 'problem' in answer ? answer.problem : answer
  reject(
    errorOf(problem) ??
      new CloakroomError('CLI_FAILED', { what: 'the sidecar gave an answer that cannot be read' }),
  )
}

// One JSON object, or one a line: progress first, the result or the problem last.
async function readAnswer(response: IncomingMessage, progress: Progress = () => undefined): Promise<unknown> {
  let rest = ''
  let last: unknown
  const take = (line: string): void => {
    if (line.trim() === '') return
    last = JSON.parse(line)
    if (typeof last === 'object' && last !== null && 'progress' in last) {
      const { done, total } = last.progress as { done: number; total: number }
      progress(done, total)
    }
  }
  response.setEncoding('utf8')
  for await (const chunk of response as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    lines.forEach(take)
  }
  take(rest)
  return last
}

function isAbsence(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && ABSENT.has(String(cause.code))
}

export type TunnelAnswer =
  | { readonly kind: 'open'; readonly socket: Socket }
  | { readonly kind: 'refused'; readonly status: number; readonly error: string | undefined }

const PROBE_LIMIT = seconds(10)

/** Asks a sidecar's proxy for a tunnel, as an app on this machine would. @throws CLI_UNREACHABLE */
export function askForTunnel(proxy: Listen, authority: string): Promise<TunnelAnswer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({
      host: proxy.host,
      port: proxy.port,
      method: 'CONNECT',
      path: authority,
      agent: false,
      headers: { Host: authority },
    })
    const timer = systemClock.after(PROBE_LIMIT, () => outgoing.destroy(new Error('timeout')))
    const what = `the proxy at ${formatListen(proxy)}`
    const settle = (answer: TunnelAnswer): void => {
      timer.cancel()
      resolve(answer)
    }
    outgoing.on('error', cause => {
      timer.cancel()
      reject(new CloakroomError('CLI_UNREACHABLE', { what }, { cause }))
    })
    outgoing.on('response', response => {
      response.resume()
      settle(refusal(response))
    })
    outgoing.on('connect', (response, socket) => {
      if (response.statusCode === 200) return settle({ kind: 'open', socket })
      socket.destroy()
      settle(refusal(response))
    })
    outgoing.end()
  })
}

function refusal({ statusCode: status = 0, headers }: IncomingMessage): TunnelAnswer {
  const error = headers['cloakroom-error']
  return { kind: 'refused', status, error: Array.isArray(error) ? error[0] : error }
}

/** Does the TLS handshake that an app would do in its tunnel; rejects with OpenSSL's reason. */
export function handshake(socket: Socket, host: string, ca: string): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const secure = connectTls({
      socket,
      servername: host,
      ca,
      ALPNProtocols: ['http/1.1'],
      timeout: PROBE_LIMIT,
    })
    secure.once('secureConnect', () => resolve(secure))
    secure.once('timeout', () => secure.destroy(new Error('timeout')))
    secure.once('error', reject)
    secure.once('close', () => reject(new Error('closed')))
  })
}

/** Sends one request on a connection and gives the whole answer as text; the connection ends with it. */
export async function exchangeOnce(socket: TLSSocket, lines: readonly string[]): Promise<string> {
  socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  let text = ''
  socket.setEncoding('latin1')
  for await (const chunk of socket as AsyncIterable<string>) text += chunk
  return text
}
