/**
 * Listeners that say which address they could not have, in the place of Node's bare EADDRINUSE, and sockets that are made afresh.
 */
import { unlinkSync } from 'node:fs'
import { CloakroomError } from '../base/errors.ts'
import type { Part } from '../base/lifecycle.ts'

export type NamedListener = {
  /** As an operator knows it: the proxy, the relay. */
  readonly listener: string
  /** HOST:PORT of the configuration. */
  readonly address: string
}

const FAULTS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the address is in use',
  EADDRNOTAVAIL: 'this machine does not have the address',
  EACCES: 'this user may not',
}

/** Gives the same part; its `start` throws SIDECAR_CANNOT_LISTEN where the system refuses the address. */
export function listening(part: Part, named: NamedListener): Part {
  return {
    name: part.name,
    stop: () => part.stop(),
    async start() {
      try {
        await part.start()
      } catch (cause) {
        const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
        const what = FAULTS[code]
        if (what === undefined) throw cause
        throw new CloakroomError('SIDECAR_CANNOT_LISTEN', { ...named, what }, { cause })
      }
    },
  }
}

/**
 * Gives the same part on a unix socket whose file is removed before and after.
 *
 * A socket that a killed process left would keep us from listening; the state lock says that nobody else is alive.
 */
export function afresh(part: Part, socket: string): Part {
  const remove = () => {
    try {
      unlinkSync(socket)
    } catch {
      return // it was not there
    }
  }
  return {
    name: part.name,
    async start() {
      remove()
      await part.start()
    },
    async stop() {
      await part.stop()
      remove()
    },
  }
}
