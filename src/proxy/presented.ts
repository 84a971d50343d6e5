/**
 * What stands behind a request: the connection's own facts, or the request's header.
 *
 * Rule of this file: credentials shown once for a tunnel are judged anew for every request in it (rulings.md 12), and a request in
 * a tunnel cannot change who it is (threat-model.md I1).
 */
import type { Socket } from 'node:net'
import { equalBytes } from '../base/bytes.ts'
import { CloakroomError } from '../base/errors.ts'
import { parseProxyAuthorization } from '../identity/proxy-authorization.ts'
import type { Presented, PresentedAuthorization } from '../model/caller.ts'
import { headerValues } from '../model/message.ts'
import type { Inbound } from './inbound.ts'

/** Where the relay's private listener keeps what it knows of the requests it passes on. */
export interface RelayTickets {
  /** Gives what was presented to the relay, once. @throws IDENTITY_UNKNOWN_TO_RELAY for a ticket that is not ours */
  redeem(inbound: Inbound): Presented
}

/** Tells whether the other end is on this machine: what `source: loopback` stands for (rulings.md 12). */
export function isLoopbackPeer({ remoteAddress }: Pick<Socket, 'remoteAddress'>): boolean {
  if (remoteAddress === undefined) return false // the peer was gone before we looked
  return remoteAddress === '::1' || /^(?:::ffff:)?127\./.test(remoteAddress)
}

export function presentedBy(inbound: Inbound, tickets: RelayTickets): Presented {
  const { facts } = inbound
  if (facts.entrance === 'relay') return tickets.redeem(inbound)
  const shown = parseProxyAuthorization(headerValues(inbound.head.headers, 'proxy-authorization'))
  if (facts.tunnel === undefined) {
    return shown === undefined ? facts.presented : { ...facts.presented, authorization: shown }
  }
  if (shown !== undefined && !isSame(shown, facts.presented.authorization))
    throw new CloakroomError('IDENTITY_REJECTED', {})
  return facts.presented
}

function isSame(shown: PresentedAuthorization, first: PresentedAuthorization | undefined): boolean {
  if (shown.kind !== 'password' || first?.kind !== 'password') return false
  const isSameName = shown.callerId === first.callerId && shown.tenant === first.tenant
  return isSameName && equalBytes(shown.passwordHash, first.passwordHash)
}
