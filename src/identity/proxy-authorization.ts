/**
 * Reads Proxy-Authorization (and, on the relay, Cloakroom-Authorization): what the sender says it is, and a hash of its proof.
 *
 * Rules of this file: a header that is there and cannot be read is `malformed`, never passed over as if it were absent
 * (rulings.md 12); the password is hashed here and kept nowhere.
 *
 * Two forms, schemes in any case:
 *   Basic base64(CALLER:PASSWORD), Basic base64(CALLER+TENANT:PASSWORD)
 *   Bearer CALLER.PASSWORD, Bearer CALLER+TENANT.PASSWORD (passwords are base64url, so the last dot ends the name)
 */
import { decodeCanonicalBase64 } from '../base/bytes.ts'
import type { PresentedAuthorization } from '../model/caller.ts'
import { isName, parseTenantId } from '../model/tenant.ts'
import { hashPassword } from './password.ts'

const MAX_LENGTH = 1024 // two names of 63 and a password of 43 characters fit in base64 many times over
const MALFORMED: PresentedAuthorization = { kind: 'malformed' }

/** Reads all values of the header; undefined when there is none. */
export function parseProxyAuthorization(values: readonly string[]): PresentedAuthorization | undefined {
  const [text, ...more] = values
  if (text === undefined) return undefined
  if (more.length > 0 || text.length > MAX_LENGTH) return MALFORMED
  const match = /^([A-Za-z]+) +([\x21-\x7e]+)$/.exec(text)
  switch (match?.[1]?.toLowerCase()) {
    case 'basic':
      return parseBasic(match?.[2] ?? '')
    case 'bearer':
      return parseBearer(match?.[2] ?? '')
    default:
      return MALFORMED
  }
}

function parseBasic(encoded: string): PresentedAuthorization {
  const bytes = decodeCanonicalBase64(encoded)
  const colon = bytes?.indexOf(0x3a) ?? -1
  if (bytes === undefined || colon < 0) return MALFORMED
  // RFC 7617: the user ends at the first colon. Names are ASCII, so latin1 cannot turn another text into one.
  const presented = present(bytes.toString('latin1', 0, colon), bytes.subarray(colon + 1))
  bytes.fill(0)
  return presented
}

function parseBearer(text: string): PresentedAuthorization {
  const dot = text.lastIndexOf('.')
  return dot < 0 ? MALFORMED : present(text.slice(0, dot), Buffer.from(text.slice(dot + 1), 'latin1'))
}

function present(user: string, password: Buffer): PresentedAuthorization {
  const plus = user.indexOf('+')
  const callerId = plus < 0 ? user : user.slice(0, plus)
  const tenant = plus < 0 ? undefined : parseTenantId(user.slice(plus + 1))
  if (!isName(callerId) || password.length === 0 || (plus >= 0 && tenant === undefined)) return MALFORMED
  const passwordHash = hashPassword(password)
  return { kind: 'password', callerId, passwordHash, ...(tenant === undefined ? {} : { tenant }) }
}
