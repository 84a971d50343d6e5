/**
 * Calls the admin API as the command line does, and nothing more.
 */
import { request } from 'node:http'

/** Performs an operation over the admin socket; throws the problem's code. */
export function callOperation(socket: string, name: string, params: unknown): Promise<unknown> {
  const body = JSON.stringify(params)
  return new Promise((resolve, reject) => {
    const call = request(
      {
        socketPath: socket,
        path: `/v1/${name}`,
        method: 'POST',
        headers: {
          Host: 'localhost',
          'Content-Type': 'application/json',
          'Content-Length': Buffer.byteLength(body),
        },
      },
      response => {
        const chunks: Buffer[] = []
        response.on('data', chunk => chunks.push(chunk))
        response.on('end', () => {
          const lines = Buffer.concat(chunks)
            .toString()
            .split('\n')
            .filter(line => line !== '')
          const last = JSON.parse(lines.at(-1) ?? '{}') as {
            result?: unknown
            code?: string
            detail?: string
          }
          if (last.code !== undefined) reject(new Error(`${last.code}: ${last.detail ?? ''}`))
          else resolve(last.result)
        })
      },
    )
    call.on('error', reject)
    call.end(body)
  })
}
