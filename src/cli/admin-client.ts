/**
 * Talks to a running sidecar over its admin socket.
 *
 * Rule of this file: the only connection it ever makes is to the unix socket that the configuration names.
 */

import { statSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import type { Progress } from '../api/operation.ts'
import type { Control, OperationName, OperationParams, OperationResult } from '../api/operations.ts'
import { errorOf } from '../api/problem.ts'
import { minutes } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'

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
