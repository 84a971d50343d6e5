/**
 * Ends a caller's TLS on an accepted socket, as one host and no other.
 *
 * Rules of this file: the host is the CONNECT host; a ClientHello that names another one ends with an alert before a
 * certificate is shown (rulings.md 5, threat-model.md A1). No callback throws (H5), and no error is without a listener.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { type Clock, type Milliseconds, seconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { parseHost } from '../model/target.ts'
import { type ClientHello, MAX_CLIENT_HELLO, parseClientHello } from './client-hello.ts'
import { classifyHandshakeError, type HandshakeResult, isSilentRejection } from './handshake.ts'
import type { LeafCache } from './leaf-cache.ts'

const HANDSHAKE_TIMEOUT = seconds(10) // threat-model.md G1; Node's own default is two minutes

// Fatal alerts of RFC 8446 6, as the plaintext record that they are before any key exists.
const alertRecord = (description: number) => Buffer.of(0x15, 0x03, 0x03, 0x00, 0x02, 0x02, description)
const ALERT_DECODE_ERROR = alertRecord(50)
const ALERT_INTERNAL_ERROR = alertRecord(80)
const ALERT_UNRECOGNIZED_NAME = alertRecord(112)

export type TerminatorOptions = {
  readonly leafCache: LeafCache
  readonly clock: Clock
  /** From the call to the end of the handshake. */
  readonly handshakeTimeout?: Milliseconds
  /** Called once for each call of terminate. */
  readonly onHandshake?: (result: HandshakeResult) => void
  /** The client closed after the handshake without a byte: it may not trust our CA (handshake.ts). */
  readonly onSilentRejection?: (host: string) => void
}

export type Terminator = {
  /**
   * Does the server's side of a handshake; bytes that were read before must have been put back with `unshift`.
   *
   * The socket is destroyed when it fails. Half-open sockets stay half-open inside TLS.
   *
   * @param host - in the form of parseHost.
   * @throws TLS_HANDSHAKE_FAILED; TLS_LEAF_REFUSED and TLS_AUTHORITY_INVALID of the leaf cache.
   */
  terminate(socket: Socket, host: string): Promise<TLSSocket>
}

export function createTerminator(options: TerminatorOptions): Terminator {
  return {
    async terminate(socket, host) {
      const deadline = createDeadline(options)
      const started = options.clock.monotonic()
      socket.on('error', ignoreError)
      try {
        const hello = await deadline.within(readClientHello(socket))
        if (!isNamed(hello.serverName, host))
          throw new HandshakeFailure('sni_mismatch', ALERT_UNRECOGNIZED_NAME)
        const secureContext = await options.leafCache.contextFor(host)
        // Server-side sockets made by hand emit `secure`; the `secureConnect` of the docs is for clients.
        const secured = new TLSSocket(socket, {
          isServer: true,
          secureContext,
          ALPNProtocols: ['http/1.1'], // HTTP/2 comes by rule, in a later version; offers without it get the alert no_application_protocol
        })
        await deadline.within(handshakeDone(secured))
        // SECURITY: once more, as OpenSSL read it; two readings that differ are an attack on one of them.
        if (!isNamed(secured.servername || undefined, host)) throw new HandshakeFailure('sni_mismatch')
        options.onHandshake?.('ok')
        watchForRejection(secured, host, started, options)
        return secured
      } catch (cause) {
        refuse(socket, cause)
        const failure = failureOf(cause, host)
        options.onHandshake?.(failure.result)
        throw failure.error
      } finally {
        deadline.cancel()
      }
    },
  }
}

/** A failure that this file itself found, with the alert that the client is owed. */
class HandshakeFailure extends Error {
  readonly result: HandshakeResult
  readonly alert: Buffer | undefined

  constructor(result: HandshakeResult, alert?: Buffer) {
    super(result)
    this.result = result
    this.alert = alert
  }
}

function failureOf(cause: unknown, host: string): { result: HandshakeResult; error: unknown } {
  if (cause instanceof CloakroomError) return { result: 'other', error: cause }
  const result = cause instanceof HandshakeFailure ? cause.result : classifyHandshakeError(cause)
  return { result, error: new CloakroomError('TLS_HANDSHAKE_FAILED', { host, result }, { cause }) }
}

// An alert is written by hand only while nobody else writes to the socket: no cause with one arises once the TLSSocket
// exists, which sends its own.
function refuse(socket: Socket, cause: unknown): void {
  const alert = cause instanceof CloakroomError ? ALERT_INTERNAL_ERROR : undefined
  const owed = cause instanceof HandshakeFailure ? cause.alert : alert
  if (owed === undefined || socket.destroyed || !socket.writable) socket.destroy()
  else {
    socket.end(owed)
    socket.destroySoon()
  }
}

// Clients send no name for an address, and old ones never do.
function isNamed(serverName: string | undefined, host: string): boolean {
  return serverName === undefined || parseHost(serverName) === host
}

/** Reads until the ClientHello is whole, and puts every byte back for the TLS socket. */
function readClientHello(socket: Socket): Promise<ClientHello> {
  let bytes: Buffer = Buffer.alloc(0)
  return new Promise<ClientHello>((resolve, reject) => {
    const stop = (settle: () => void) => {
      socket.off('readable', onReadable).off('end', onGone).off('close', onGone).off('error', onFailure)
      settle()
    }
    const onGone = () => stop(() => reject(new HandshakeFailure('reset')))
    const onFailure = (cause: Error) => stop(() => reject(cause))
    const onReadable = () => {
      for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) {
        bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
        const parsed = parseClientHello(bytes)
        if (parsed.kind === 'incomplete' && bytes.length < MAX_CLIENT_HELLO) continue
        return stop(() => {
          if (parsed.kind !== 'hello') return reject(new HandshakeFailure('other', ALERT_DECODE_ERROR))
          socket.unshift(bytes)
          resolve(parsed)
        })
      }
    }
    socket.on('readable', onReadable).on('end', onGone).on('close', onGone).on('error', onFailure)
    if (socket.destroyed || socket.readableEnded) onGone()
    else onReadable()
  })
}

function handshakeDone(secured: TLSSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (settle: () => void) => {
      secured.off('secure', onSecure).off('end', onGone).off('close', onGone)
      settle()
    }
    const onSecure = () => stop(resolve)
    const onGone = () => stop(() => reject(new HandshakeFailure('reset')))
    // Stays for the life of the socket: an error after the handshake comes out as the `close` that its user waits for.
    secured.on('error', cause => stop(() => reject(cause)))
    secured.on('secure', onSecure).on('end', onGone).on('close', onGone)
  })
}

function watchForRejection(
  secured: TLSSocket,
  host: string,
  started: Milliseconds,
  options: TerminatorOptions,
): void {
  const done = options.clock.monotonic()
  secured.once('close', () => {
    const openFor = options.clock.monotonic() - done
    if (isSilentRejection({ handshake: done - started, openFor, bytesRead: secured.bytesRead }))
      options.onSilentRejection?.(host)
  })
}

// One timer over all waits of a handshake; the waits that lose end with the socket.
function createDeadline(options: TerminatorOptions) {
  let expire: (cause: Error) => void = ignoreError
  const expired = new Promise<never>((_, reject) => {
    expire = reject
  })
  expired.catch(ignoreError)
  const timer = options.clock.after(options.handshakeTimeout ?? HANDSHAKE_TIMEOUT, () =>
    expire(new HandshakeFailure('timeout')),
  )
  return {
    within: <T>(wait: Promise<T>): Promise<T> => Promise.race([wait, expired]),
    cancel: () => timer.cancel(),
  }
}

// Every failure that matters arrives on a second way (a rejected wait, `close`); without a listener it would end the process.
function ignoreError(_cause: Error): void {
  return
}
