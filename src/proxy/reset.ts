/**
 * Ends a connection so that the other side cannot take what it got for a whole.
 *
 * Where the close ends a body (HTTP/1.0, tunnels) an orderly FIN would make half an answer look complete (acceptance.md 48).
 */
import type { Socket } from 'node:net'

/** Sends a reset instead of an end, where the transport has one; the socket is destroyed in any case. */
export function resetSocket(socket: Socket): void {
  if (socket.destroyed) return
  try {
    socket.resetAndDestroy()
  } catch {
    socket.destroy() // a unix socket knows no reset; our relay, on its other end, reads framed bodies only
  }
}
