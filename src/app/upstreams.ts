/**
 * The way to upstreams put together: which addresses may be dialled, which certificates are believed.
 */
import { readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { CloakroomError, isError } from '../base/errors.ts'
import { readOwnCertificates } from '../config/trust-files.ts'
import { createAddressGuard, type Endpoint } from '../net/address.ts'
import { createDialer, type Dialer } from '../net/dial.ts'
import { loadUpstreamTrust } from '../tls/trust.ts'
import type { DataPathOptions } from './parts.ts'

/** Makes the one dialer; `ownListeners` are never dialled (threat-model.md A10). @throws CONFIG_INVALID */
export function makeDialer(options: DataPathOptions, ownListeners: () => readonly Endpoint[]): Dialer {
  const { config, vault, meters } = options
  const guard = createAddressGuard({
    allowAddresses: config.upstream.allowAddresses,
    ownListeners,
    localAddresses,
  })
  const trust = loadUpstreamTrust({
    certificateAuthorities: config.upstream.certificateAuthorities.map(file => ({
      file,
      pem: readFileSync(file, 'utf8'),
    })),
    ownCertificatePem: readOwnCertificates(config), // H3: also the CA to come and the one before, while they overlap
  })
  const { dns, connect, tls } = config.limits
  return createDialer({
    guard,
    overrides: config.upstream.resolve,
    clock: vault.clock,
    trust,
    timeouts: { dns, connect, tls },
    onCache: meters.onCache,
    onTiming: meters.onUpstreamConnect,
    onHandshake: result => meters.onHandshake('upstream', result),
  })
}

function localAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap(addresses =>
    (addresses ?? []).map(({ address }) => address),
  )
}

// threat-model.md A10: a request that leads back to us is told so, whatever names it went through.
export function asLoop(cause: unknown): never {
  if (isError(cause, 'NET_ADDRESS_REFUSED') && cause.details.kind === 'own_listener')
    throw new CloakroomError('REQUEST_LOOP', {}, { cause })
  throw cause
}
