/**
 * The composition root: what the command line and embedders get. All wiring is in src/app/.
 */
import type { ControlDeps } from './api/control.ts'
import { assembleVault } from './app/vault.ts'
import type { Log } from './base/log.ts'
import type { Config } from './config/schema.ts'

export { type Addresses, createSidecar, type Sidecar } from './app/sidecar.ts'
export { VERSION } from './app/version.ts'

/**
 * Opens the vault for a command that changes something while no sidecar runs (rulings.md 19): under the state lock, with
 * audit records of its own.
 *
 * @throws STORAGE_LOCKED, STORAGE_*, KEY_*, AUDIT_*, POLICY_* never: a broken policy must not keep secrets from being revoked.
 */
export async function openVault(
  config: Config,
  log: Log,
): Promise<{ deps: ControlDeps; close(): Promise<void> }> {
  const vault = await assembleVault(config, log, { writer: 'command' })
  return { deps: vault.deps(undefined), close: () => vault.close() }
}
