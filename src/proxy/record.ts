/**
 * The record of an exchange: how it begins, what it says of swaps, and what the log says when it fails.
 *
 * Rule of this file: names, ids, numbers and masked forms only (SECURITY I4, threat-model.md K4).
 */
import { invariant } from '../base/assert.ts'
import type { CloakroomError } from '../base/errors.ts'
import { describeCause, type Log } from '../base/log.ts'
import { newRequestId } from '../base/random.ts'
import { type Found, formatLocation, type Location, type Permit } from '../model/decision.ts'
import type { Entrance, ExchangeRecord, RefusedPlaceholder, SwapRecord } from '../model/exchange.ts'
import { formatSecretRef, type SecretValue } from '../model/secret.ts'
import type { TenantId } from '../model/tenant.ts'
import { mayHoldPlaceholder } from '../swap/disguise.ts'
import { maskPlaceholder } from '../swap/placeholder.ts'
import type { OpenedSecret } from './exchange-deps.ts'

/** A record of which nothing is known yet but how it came. `now`: milliseconds since 1970. */
export function newRecord(entrance: Entrance, now: number): ExchangeRecord {
  return {
    request: newRequestId(now),
    time: now,
    entrance,
    swaps: [],
    sent: false,
    intended: false,
    bytesToUpstream: 0,
    bytesToCaller: 0,
    redactions: 0,
    phases: { policy: 0, secret: 0, swap_request: 0, audit: 0 },
  }
}

/** What may be written down of the swaps of a permit. */
export function swapRecords(
  permit: Permit,
  values: ReadonlyMap<string, OpenedSecret>,
  fingerprint: (value: SecretValue) => string,
): readonly SwapRecord[] {
  return permit.swaps.map(swap => {
    const opened = values.get(swap.placeholder)
    invariant(opened !== undefined, 'every swap of a permit has its value')
    return {
      secret: formatSecretRef(swap.secret),
      version: swap.secret.version,
      placeholder: maskPlaceholder(swap.placeholder),
      in: formatLocation(swap.location),
      locationKind: swap.location.in,
      fingerprint: fingerprint(opened.value),
      ...(opened.stale && { stale: true }),
    }
  })
}

const MOST_REFUSED = 4

/** What may be written down of placeholders that policy refused; a secret of another tenant than the request's is not named. */
export function refusedPlaceholders(
  found: readonly Found[],
  tenant: TenantId | undefined,
): readonly RefusedPlaceholder[] {
  return found.slice(0, MOST_REFUSED).map(({ placeholder, location, info }) => ({
    ...(info !== undefined && info.ref.tenant === tenant ? { secret: formatSecretRef(info.ref) } : {}),
    placeholder: maskPlaceholder(placeholder),
    ...(location === undefined ? {} : { in: maskedLocation(location) }),
  }))
}

// The name of a header or a parameter is the caller's text, and may itself hold a placeholder (K4).
function maskedLocation(location: Location): string {
  const text = formatLocation(location)
  return mayHoldPlaceholder(text) ? `${location.in}.[masked]` : text
}

type Failure = {
  readonly record: Readonly<ExchangeRecord>
  readonly error: CloakroomError
  readonly cause: unknown
}

/** Logs a failure: ours as an error, a caller that went away for debugging only, all others as a warning. */
export function report(log: Log, { record, error, cause }: Failure): void {
  const { request, caller, tenant, rule, target } = record
  const fields = { code: error.code, request, caller, tenant, rule, target, cause: describeCause(cause) }
  if (error.source === 'sidecar' || error.source === 'secrets') log.error(error.message, fields)
  else if (error.code === 'REQUEST_ABORTED') log.debug(error.message, fields)
  else log.warn(error.message, fields)
}
