/**
 * The moment between CONNECT and what is in the tunnel: 200 is said, and the socket is given away.
 */
import type { Socket } from 'node:net'
import type { Caller, Presented } from '../model/caller.ts'
import type { Target } from '../model/target.ts'
import type { CallerConnection } from './http1-options.ts'

/** A tunnel before its first byte says which protocol it carries. */
export type PlannedTunnel = {
  readonly presented: Presented
  readonly caller: Caller
  readonly https: Target
  readonly http: Target
}

const ESTABLISHED = Buffer.from('HTTP/1.1 200 Connection Established\r\n\r\n', 'latin1')

/** Answers 200 and takes the socket; bytes that came with CONNECT are put back, so that none is lost (acceptance.md 7). */
export function accept(connection: CallerConnection): Socket {
  const { socket, early } = acceptEarly(connection)
  if (early.length > 0) socket.unshift(early)
  return socket
}

/** As accept; bytes that came with CONNECT are given apart, as nothing can be put back once the caller has half-closed. */
export function acceptEarly(connection: CallerConnection): {
  readonly socket: Socket
  readonly early: Buffer
} {
  const { socket, rest } = connection.detach()
  socket.write(ESTABLISHED)
  return { socket: socket as Socket, early: rest } // real sockets only: in a tunnel CONNECT is refused by its method
}
