/**
 * TLS session tickets: one set of keys for all leaf contexts, renewed by age.
 *
 * Why not the documented `ticketKeys` option alone: with it Node tells OpenSSL that a good ticket needs no renewal, so a
 * resumed TLS 1.3 connection gives the client no new ticket, and a client that uses each ticket once (RFC 8446 C.4; Go,
 * Java, OpenSSL, Node) resumes every second time only. The ticket-key callback can say "good, and renew it".
 */
import type { SecureContext } from 'node:tls'
import { type Clock, hours, type Milliseconds } from '../base/clock.ts'
import { randomBytes } from '../base/random.ts'

const ROTATION: Milliseconds = hours(12) // who steals a ticket key reads at most the sessions of two periods (threat-model.md H4)
const NAME_LENGTH = 16
const IV_LENGTH = 16

// What OpenSSL's ticket key callback returns (SSL_CTX_set_tlsext_ticket_key_evp_cb).
const UNKNOWN = 0
const GOOD = 1
const RENEW = 2

type TicketKey = {
  readonly name: Buffer
  readonly mac: Buffer
  readonly cipher: Buffer
  readonly made: Milliseconds
}
type Answer = [code: number, mac?: Buffer, cipher?: Buffer, name?: Buffer, iv?: Buffer]

/** Node's native context. The two members are not documented; they have stood unchanged since Node 0.11. */
type NativeContext = {
  onticketkeycallback?: (name: Buffer, iv: Buffer, isNew: boolean) => Answer
  enableTicketKeyCallback?: () => void
  setTicketKeys(keys: Buffer): void
}

export type Tickets = {
  /** Makes a context issue and accept tickets under the shared keys. */
  apply(context: SecureContext): void
}

export function createTickets(clock: Clock): Tickets {
  let current = newTicketKey(clock)
  let previous = current

  const answer = (name: Buffer, isNew: boolean): Answer => {
    if (clock.monotonic() - current.made >= ROTATION) {
      previous = current
      current = newTicketKey(clock)
    }
    if (isNew) return [GOOD, current.mac, current.cipher, current.name, randomBytes(IV_LENGTH)]
    const key = [current, previous].find(one => one.name.equals(name) && isFresh(one, clock))
    return key === undefined ? [UNKNOWN] : [RENEW, key.mac, key.cipher]
  }

  return {
    apply(context) {
      const native = context.context as NativeContext
      if (native.enableTicketKeyCallback === undefined) {
        // A Node without the callback: sessions still resume across contexts, every second time.
        native.setTicketKeys(Buffer.concat([current.name, current.mac, current.cipher]))
        return
      }
      native.onticketkeycallback = (name, _iv, isNew) => {
        try {
          return answer(name, isNew)
        } catch {
          return [UNKNOWN] // SECURITY: an exception in a TLS callback ends the process (threat-model.md H5); no ticket costs a handshake
        }
      }
      native.enableTicketKeyCallback()
    },
  }
}

function isFresh(key: TicketKey, clock: Clock): boolean {
  return clock.monotonic() - key.made < 2 * ROTATION
}

function newTicketKey(clock: Clock): TicketKey {
  return {
    name: randomBytes(NAME_LENGTH),
    mac: randomBytes(16),
    cipher: randomBytes(16),
    made: clock.monotonic(),
  }
}
