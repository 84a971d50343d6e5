/**
 * One reading of a request: target, path, host. Refuses what can be read in two ways.
 *
 * Rules of this file: the target of a tunnel is CONNECT's and nothing inside moves it (threat-model.md A1); outside a tunnel the
 * request-target decides and Host changes nothing (rulings.md 5); the path judged is the path sent (A6, B1). The URL class is
 * never used here: it moves hosts.
 */
import { CloakroomError } from '../base/errors.ts'
import { isOriginTarget } from '../http1/grammar.ts'
import type { ReceivedRequestHead } from '../http1/head.ts'
import { type HeaderList, headerValues, type RequestHead } from '../model/message.ts'
import { parseAuthority, type Scheme, sameTarget, type Target, targetOf } from '../model/target.ts'
import { nominated } from './hop-by-hop.ts'

// Echoes what it was sent, credential and all (threat-model.md B3).
const NEVER_FORWARDED = new Set(['TRACE', 'TRACK', 'CONNECT'])

/**
 * Reads a received head into the request that policy judges and the upstream gets.
 *
 * @param tunnel - the tunnel's target, or undefined for absolute-form requests to the proxy itself.
 * @throws REQUEST_METHOD, REQUEST_TARGET, REQUEST_MISDIRECTED, REQUEST_MALFORMED, REQUEST_EXPECTATION, REQUEST_UPGRADE
 */
export function validate(received: ReceivedRequestHead, tunnel: Target | undefined): RequestHead {
  const { method, headers } = received
  if (NEVER_FORWARDED.has(method)) throw new CloakroomError('REQUEST_METHOD', {})
  checkHost(received)
  const { target, path } = tunnel === undefined ? outsideTunnel(received) : insideTunnel(received, tunnel)
  if (!isOriginTarget(path)) throw new CloakroomError('REQUEST_TARGET', { what: 'its path' })
  checkExpectation(headers)
  checkUpgrade(headers)
  nominated(headers)
  return { method, target, path, headers }
}

/** Sees to it that Host stands exactly once in HTTP/1.1, at most once in 1.0 (threat-model.md A3). @throws REQUEST_MALFORMED */
export function checkHost(received: ReceivedRequestHead): void {
  const hosts = headerValues(received.headers, 'host')
  const isMissing = hosts.length === 0 && received.minor === 1
  if (hosts.length > 1 || isMissing)
    throw new CloakroomError('REQUEST_MALFORMED', { what: isMissing ? 'no Host' : 'more than one Host' })
}

function insideTunnel(received: ReceivedRequestHead, tunnel: Target): { target: Target; path: string } {
  const host = headerValues(received.headers, 'host')[0]
  if (host !== undefined && !agrees(host, tunnel)) throw new CloakroomError('REQUEST_MISDIRECTED', {})
  if (received.rawTarget.startsWith('/')) return { target: tunnel, path: received.rawTarget }
  const absolute = parseAbsolute(received.rawTarget)
  if (!sameTarget(absolute.target, tunnel)) throw new CloakroomError('REQUEST_MISDIRECTED', {})
  return absolute
}

function outsideTunnel(received: ReceivedRequestHead): { target: Target; path: string } {
  return parseAbsolute(received.rawTarget)
}

function agrees(host: string, tunnel: Target): boolean {
  const authority = parseAuthority(host)
  if (authority === undefined) throw new CloakroomError('REQUEST_MALFORMED', { what: 'Host' })
  return sameTarget(targetOf(tunnel.scheme, authority), tunnel)
}

/** Reads `http(s)://authority/path?query`; a missing path is `/`. @throws REQUEST_TARGET */
export function parseAbsolute(rawTarget: string): { target: Target; path: string } {
  const match = /^(https?):\/\/([^/?#]+)([/?].*)?$/i.exec(rawTarget)
  const authority = match?.[2] === undefined ? undefined : parseAuthority(match[2])
  if (match === null || authority === undefined)
    throw new CloakroomError('REQUEST_TARGET', { what: 'it is not http(s)://host/path' })
  const rest = match[3] ?? '/'
  const scheme = match[1]?.toLowerCase() as Scheme
  return { target: targetOf(scheme, authority), path: rest.startsWith('?') ? `/${rest}` : rest }
}

function checkExpectation(headers: HeaderList): void {
  for (const value of headerValues(headers, 'expect')) {
    if (value.toLowerCase() !== '100-continue') throw new CloakroomError('REQUEST_EXPECTATION', {})
  }
}

// E6: an offer of h2c is ignored, as every offer may be; a WebSocket handshake would hang on a plain answer, so it is told.
function checkUpgrade(headers: HeaderList): void {
  const wants = headerValues(headers, 'upgrade').some(value =>
    /(?:^|[\s,])websocket(?:$|[\s,/])/i.test(value),
  )
  if (wants) throw new CloakroomError('REQUEST_UPGRADE', {})
}
