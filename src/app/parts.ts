/**
 * What the parts of the data path are made of, for the files that make them.
 */
import type { Log } from '../base/log.ts'
import type { Config } from '../config/schema.ts'
import type { Metrics } from '../metrics/observe.ts'
import type { Endpoint } from '../net/address.ts'
import type { Vault } from './vault.ts'

export type DataPathOptions = {
  readonly config: Config
  readonly log: Log
  readonly vault: Vault
  readonly meters: Metrics
  /** Our other listeners' addresses: never dialled (threat-model.md A10). */
  readonly otherListeners: () => readonly Endpoint[]
}
