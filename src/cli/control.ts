/**
 * The one place that chooses how a command changes something (rulings.md 19).
 *
 * While a sidecar runs, through its admin socket; otherwise in this process, which then holds the lock on the state directory
 * and writes audit records of its own. Either way the same operations run.
 */
import type { Control } from '../api/operations.ts'
import { perform } from '../api/operations.ts'
import { CloakroomError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Config } from '../config/schema.ts'
import { reachSidecar } from './admin-client.ts'

/** Opens a way to perform operations; close it. @throws STORAGE_LOCKED, KEY_FILE_INVALID, … as the vault's opening does. */
export async function openControl(config: Config, log: Log): Promise<Control> {
  const running = await reachSidecar(config.admin.socket)
  if (running !== undefined) return running
  // Not by way of app.ts, which loads the whole data path: three times as long as the rest of a command.
  const { assembleVault } = await import('../app/vault.ts')
  const vault = await assembleVault(config, log, { writer: 'command' })
  const deps = vault.deps(undefined)
  return {
    via: 'lock',
    call: (name, params, progress) => perform(deps, name, params, progress),
    close: () => vault.close(),
  }
}

/** The same for commands that only a running sidecar can do. @throws CLI_UNREACHABLE */
export async function openSidecar(config: Config): Promise<Control> {
  const running = await reachSidecar(config.admin.socket)
  if (running !== undefined) return running
  throw new CloakroomError('CLI_UNREACHABLE', { what: `a sidecar at ${config.admin.socket}` })
}
