/**
 * The checks behind /readyz and `status`: what must hold for a request with a credential to be served (threat-model.md L3).
 */
import { days, hours } from '../base/clock.ts'
import type { DataPath } from './data-path.ts'
import type { Vault } from './vault.ts'

export type Check = () => { readonly ok: boolean; readonly detail?: string }

/** By name, in the order in which a person would look. Each is cheap and local: no upstream, no key provider. */
export function healthChecks({ vault, path }: { vault: Vault; path: DataPath }): ReadonlyMap<string, Check> {
  return new Map<string, Check>([
    ['listener', () => (path.proxy.address() === undefined ? failed('the proxy does not listen') : OK)],
    ['policy', () => (vault.policies.holder.isLoaded() ? OK : failed('no policy has been loaded'))],
    ['store', () => (vault.store.store.isReadable() ? OK : failed('the secret store cannot be read'))],
    ['audit', () => vault.trail.health()],
    ['ca', () => caCheck(path.authority.notAfter - vault.clock.now())],
    [
      'halt',
      () => (path.halt.list().some(halt => halt.kind === 'all') ? failed('everything is halted') : OK),
    ],
  ])
}

const OK = { ok: true }

function failed(detail: string): ReturnType<Check> {
  return { ok: false, detail }
}

function caCheck(left: number): ReturnType<Check> {
  return left < hours(24)
    ? failed(`the CA certificate ends in less than ${left < 0 ? 0 : Math.ceil(left / days(1))} day`)
    : OK
}
