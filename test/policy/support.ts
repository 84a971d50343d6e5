/**
 * Builders for policy tests: a small policy and asks with safe defaults.
 */

import { formatFault } from '../../src/base/yaml.ts'
import type { Ask, Found, Location } from '../../src/model/decision.ts'
import type { SecretInfo } from '../../src/model/secret.ts'
import { parseTarget, type Target } from '../../src/model/target.ts'
import { parseTenantId, type TenantId } from '../../src/model/tenant.ts'
import { type CompileOptions, compilePolicy } from '../../src/policy/compile.ts'
import type { CompiledPolicy } from '../../src/policy/compiled.ts'

export const HASH = 'ab'.repeat(32)

export const CALLERS = `version: 1
callers:
  - id: billing
    identify: { proxyAuthorization: { sha256: ${HASH} } }
    tenants: ['*']
  - id: single
    identify: { proxyAuthorization: { sha256: ${HASH} } }
    tenants: [acme]
  - id: pair
    identify: { source: loopback }
    tenants: [acme, globex]
`

export const STRIPE = `${CALLERS}
rules:
  - id: stripe
    callers: [billing, single, pair]
    target: https://api.stripe.com
    methods: [GET, POST, OPTIONS]
    paths: [/v1/charges, '/v1/charges/*']
    swap:
      - secrets: ['*/stripe']
        in: [header.authorization, query.key]
`

/** Compiles, or fails with the faults in the message. */
export function policyFrom(text: string, options: CompileOptions = {}): CompiledPolicy {
  const compiled = compilePolicy([{ file: 'policy.yaml', text }], options)
  if (compiled.kind === 'faults') throw new Error(compiled.faults.map(formatFault).join('\n'))
  return compiled.policy
}

export function faultsFrom(text: string): readonly string[] {
  const compiled = compilePolicy([{ file: 'policy.yaml', text }])
  return compiled.kind === 'faults' ? compiled.faults.map(formatFault) : []
}

export function target(text: string): Target {
  const parsed = parseTarget(text)
  if (parsed === undefined) throw new Error(`not a target: ${text}`)
  return parsed
}

export function tenant(text: string): TenantId {
  const parsed = parseTenantId(text)
  if (parsed === undefined) throw new Error(`not a tenant: ${text}`)
  return parsed
}

export const NOW = Date.UTC(2026, 10, 23)
export const AUTHORIZATION: Location = { in: 'header', name: 'authorization' }

export function placeholder(info: Partial<SecretInfo> | undefined = {}, place: Partial<Found> = {}): Found {
  const ref = { tenant: tenant('acme'), name: 'stripe', version: 1 }
  return {
    placeholder: 'xclk_r0123456789012345678901234567',
    location: AUTHORIZATION,
    info: { ref, targets: ['https://api.stripe.com:443'], state: 'active', ...info },
    ...place,
  }
}

export const secretOf = (tenantName: string, name = 'stripe') => ({
  ref: { tenant: tenant(tenantName), name, version: 1 },
})

type Given = Partial<Omit<Ask, 'caller' | 'target' | 'tenant'>> & {
  readonly caller?: string
  readonly target?: string
  readonly tenant?: string
}

export function ask(policy: CompiledPolicy, given: Given = {}): Ask {
  const caller = policy.callers.get(given.caller ?? 'billing')?.caller
  return {
    method: 'POST',
    path: '/v1/charges',
    found: [],
    now: NOW,
    ...given,
    caller: caller ?? { id: given.caller ?? '', tenants: '*', via: 'proxyAuthorization' },
    tenant: given.tenant === undefined ? undefined : tenant(given.tenant),
    target: target(given.target ?? 'https://api.stripe.com'),
  }
}
