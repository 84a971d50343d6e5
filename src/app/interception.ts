/**
 * CONNECT put together: leaves minted on demand, TLS ended with them, blind tunnels counted.
 */

import { CloakroomError } from '../base/errors.ts'
import { describeCause } from '../base/log.ts'
import type { Config } from '../config/schema.ts'
import type { Dialer } from '../net/dial.ts'
import type { ConnectDeps } from '../proxy/connect.ts'
import type { ExchangeDeps } from '../proxy/exchange-deps.ts'
import type { Http1Limits } from '../proxy/http1.ts'
import { CallerPlaces } from '../proxy/limits.ts'
import type { Connections } from '../proxy/listener.ts'
import type { Live } from '../proxy/live.ts'
import type { Authority } from '../tls/authority.ts'
import { createLeafCache } from '../tls/leaf-cache.ts'
import { createTerminator } from '../tls/terminate.ts'
import type { DataPathOptions } from './parts.ts'
import { asLoop } from './upstreams.ts'

type Connecting = {
  readonly authority: Authority
  readonly exchange: ExchangeDeps
  readonly dialer: Dialer
  readonly live: Live
  readonly connections: Connections
}

/** What CONNECT gets of the rest of the house. */
export function connectDeps(options: DataPathOptions, parts: Connecting): ConnectDeps {
  const { config, log, vault, meters } = options
  const { clock } = vault
  const { limits } = config
  const leafCache = createLeafCache({
    authority: parts.authority,
    clock,
    max: limits.leaves,
    mintRate: limits.leafMints,
    onMint: duration => meters.onLeafMinted('ok', duration),
    onCache: meters.onCache,
    onEvict: meters.onEvict,
  })
  const terminator = createTerminator({
    leafCache,
    clock,
    handshakeTimeout: limits.handshake,
    onHandshake: result => meters.onHandshake('client', result),
    onSilentRejection: host => log.warn('a caller may not trust our CA; see "cloakroom env"', { host }),
  })
  let tunnels = 0
  return {
    exchange: parts.exchange,
    callerTunnels: new CallerPlaces({ what: 'tunnels', perCaller: limits.connectionsPerCaller }),
    clock,
    http1: http1Limits(config),
    firstByte: limits.clientHello,
    terminate: (socket, host) =>
      terminator.terminate(socket, host).catch(cause => {
        log.debug('a handshake with a caller failed', { host, cause: describeCause(cause) })
        throw cause
      }),
    adopt: connection => parts.connections.add(connection),
    dialTcp: async (target, signal) => (await parts.dialer.dialTcp(target, signal).catch(asLoop)).socket,
    tunnelIdle: limits.tunnelIdle,
    tunnelAge: limits.tunnelAge,
    takeTunnel() {
      if (tunnels >= limits.tunnels) throw new CloakroomError('SIDECAR_OVERLOADED', { what: 'tunnels' })
      tunnels++
      return () => {
        tunnels--
      }
    },
    onTunnel: meters.onTunnel,
  }
}

/** The limits of a caller's connection. */
export function http1Limits(config: Config): Http1Limits {
  const { requestHead, headers, requestHeadTimeout, keepAlive, minUploadRate } = config.limits
  return {
    head: { bytes: requestHead, count: headers, line: requestHead },
    headTimeout: requestHeadTimeout,
    keepAlive,
    minUploadRate,
  }
}
