/**
 * The chain: what makes a row of lines a log that cannot be changed unseen.
 *
 * Rules of this file. The canonical bytes of a record are the bytes of its line: `hash` is SHA-256 over the line without its hash
 * member, and `prev`, which is inside, is the hash of the line before. A checkpoint is a record with an Ed25519 signature over its
 * own line without `signature` and `hash`: as `prev` is inside, it vouches for every record before it (threat-model.md K2). What is
 * claimed and what is not: rulings.md 24. The writer and the verifier share these functions, so the format has one definition.
 */
import { createHash, createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'
import { AUDIT_VERSION } from '../model/audit-event.ts'

/** `prev` of the first record of a chain. */
export const GENESIS = '0'.repeat(64)

/** Where a chain stands: the number and the hash of its last record. */
export type ChainHead = { readonly seq: number; readonly hash: string }

export const EMPTY_CHAIN: ChainHead = { seq: 0, hash: GENESIS }

/** A line without its newline, and the head after it. */
export type Link = { readonly line: string; readonly head: ChainHead }

export type LinkFrame = {
  readonly after: ChainHead
  /** RFC 3339; formatTime of base/clock.ts. */
  readonly time: string
  /** The instance as a JSON string, quotes included. */
  readonly instance: string
}

const HASH_MEMBER = /,"hash":"([0-9a-f]{64})"\}$/
const PRINTABLE_ASCII = /^[ -~]*$/
const HASH_MEMBER_LENGTH = ',"hash":""}'.length + 64
const SIGNATURE_MEMBER = /,"signature":"([A-Za-z0-9_-]{86})"\}$/
// Says what the key signs, so that its signature fits nothing else.
const CHECKPOINT_CONTEXT = 'cloakroom audit checkpoint 1\n'

/** Puts the members of a record (`"event":…`) into the frame and links it to the record before. */
export function linkRecord(members: string, frame: LinkFrame): Link {
  return finish(`${framed(members, frame)}}`, frame.after.seq + 1)
}

/** Makes the checkpoint that signs everything up to `frame.after`. @param open - seq of the oldest intent without an outcome. */
export function linkCheckpoint(open: number, frame: LinkFrame, key: KeyObject): Link {
  const unsigned = `${framed(`"event":"checkpoint","key":"${keyId(key)}","open":${open}`, frame)}}`
  const signature = sign(null, Buffer.from(CHECKPOINT_CONTEXT + unsigned, 'latin1'), key).toString(
    'base64url',
  )
  return finish(`${unsigned.slice(0, -1)},"signature":"${signature}"}`, frame.after.seq + 1)
}

function framed(members: string, frame: LinkFrame): string {
  const { after, time, instance } = frame
  return `{"v":${AUDIT_VERSION},"seq":${after.seq + 1},"time":"${time}","instance":${instance},${members},"prev":"${after.hash}"`
}

function finish(body: string, seq: number): Link {
  const digest = hash('sha256', body)
  return { line: `${body.slice(0, -1)},"hash":"${digest}"}`, head: { seq, hash: digest } }
}

/** What a line says of its place in the chain. */
export type Place = {
  readonly seq: number
  readonly prev: string
  readonly hash: string
  readonly instance: string
  readonly event: string
}

/** A line that was read: its place and its members, or what is wrong with it on its own. */
export type ReadLine =
  | { readonly kind: 'record'; readonly place: Place; readonly members: Readonly<Record<string, unknown>> }
  | { readonly kind: 'fault'; readonly what: string }

/** Reads one line and checks it against its own hash; its neighbours are the caller's business. */
export function readLine(line: string): ReadLine {
  const digest = PRINTABLE_ASCII.test(line) ? HASH_MEMBER.exec(line)?.[1] : undefined
  if (digest === undefined) return { kind: 'fault', what: 'is not a whole record' }
  const body = `${line.slice(0, -HASH_MEMBER_LENGTH)}}`
  if (hash('sha256', body) !== digest) return { kind: 'fault', what: 'was changed: its hash does not fit' }
  const members = parseObject(line)
  if (members === undefined) return { kind: 'fault', what: 'is not a JSON object' }
  const { v, seq, prev, instance, event } = members
  if (v !== AUDIT_VERSION) return { kind: 'fault', what: 'has a version that this program does not know' }
  if (!Number.isSafeInteger(seq) || typeof prev !== 'string') return { kind: 'fault', what: 'has no place' }
  if (typeof instance !== 'string' || typeof event !== 'string')
    return { kind: 'fault', what: 'has no place' }
  return { kind: 'record', place: { seq: seq as number, prev, hash: digest, instance, event }, members }
}

/** Checks a checkpoint's signature over its own bytes. */
export function isSignedBy(line: string, key: KeyObject): boolean {
  const body = `${line.slice(0, -HASH_MEMBER_LENGTH)}}`
  const signature = SIGNATURE_MEMBER.exec(body)?.[1]
  if (signature === undefined) return false
  const unsigned = `${body.slice(0, -(',"signature":""}'.length + signature.length))}}`
  const bytes = Buffer.from(CHECKPOINT_CONTEXT + unsigned, 'latin1')
  return verify(null, bytes, key, Buffer.from(signature, 'base64url'))
}

/** Names a signing key by its public half: 16 hexadecimal digits. Takes the private or the public key. */
export function keyId(key: KeyObject): string {
  return createHash('sha256').update(spki(key)).digest('hex').slice(0, 16)
}

/** The public half as PEM: what `audit verify` needs, to be stored next to the log and with whoever checks it. */
export function publicKeyPem(key: KeyObject): string {
  return publicHalf(key).export({ type: 'spki', format: 'pem' }) as string
}

function spki(key: KeyObject): Buffer {
  return publicHalf(key).export({ type: 'spki', format: 'der' })
}

function publicHalf(key: KeyObject): KeyObject {
  return key.type === 'private' ? createPublicKey(key) : key
}

function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}
