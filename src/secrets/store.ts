/**
 * What a store of secrets does: for the data path, and for who administers it.
 *
 * The contract that every store keeps (test/contract/secret-store.ts):
 * - `locate` does the same work for a placeholder that is known and one that is not (threat-model.md C2);
 * - every call of `get` opens a copy of its own, which the caller disposes of; nothing opened is kept (rulings.md 4);
 * - `get` is called by secrets/resolve.ts alone, with a permit in hand (SECURITY I2);
 * - what an administrator has been told is done is in force for the next call, and survives the end of the process;
 * - no administrative call gives a value back (SECURITY I4).
 */
import type { SecretInfo, SecretRef, SecretState, SecretValue } from '../model/secret.ts'
import type { TenantId } from '../model/tenant.ts'

/** `placeholder` is the 34 characters alone; an app holds `shape` + `placeholder`. */
export type OpenedSecret = {
  readonly value: SecretValue
  readonly placeholder: string
  readonly shape: string
  /** Served while the store could not be asked for changes: it may have been revoked elsewhere (rulings.md 20). */
  readonly stale?: true
}

export type VersionRef = SecretRef & { readonly version: number }

/** The data path's view. */
export interface SecretStore {
  /** One answer per placeholder, in order; undefined for one that is not known. @throws SECRET_TAMPERED, SECRET_STORE_UNAVAILABLE */
  locate(placeholders: readonly string[]): Promise<readonly (SecretInfo | undefined)[]>
  /**
   * Opens one version.
   *
   * @throws SWAP_REFUSED when it is gone, not active, expired or not valid yet: what `locate` said may have changed since;
   * SECRET_TAMPERED, SECRET_STORE_UNAVAILABLE, KEY_UNAVAILABLE
   */
  get(ref: VersionRef, signal: AbortSignal): Promise<OpenedSecret>
}

export type PutRequest = {
  readonly tenant: TenantId
  readonly name: string
  /** 1 byte to 64 KiB. The caller keeps it and overwrites it. */
  readonly value: Buffer
  /** `https://host[:port]`. A new secret needs at least one; a new version keeps those it has. */
  readonly targets?: readonly string[]
  /** What stands in front of the placeholder in the app's configuration; fixed with the first version. */
  readonly shape?: string
  /** Milliseconds since 1970; null: never. A new version keeps an expiry that has not passed. */
  readonly expiresAt?: number | null
  readonly notBefore?: number
  /** Allows targets that the secret did not have: they are added to those it has. */
  readonly widen?: boolean
  /** Allows the loss of targets: those given are all that it keeps. */
  readonly narrow?: boolean
  /** Allows a value that is short, or holds controls or outer spaces. */
  readonly force?: boolean
}

export type PutResult = {
  readonly ref: VersionRef
  /** As the app holds it: shape and placeholder. */
  readonly placeholder: string
  readonly targets: readonly string[]
  /** Targets of the version before that this one does not have. */
  readonly removed: readonly string[]
  readonly expiresAt: number | undefined
}

export type SecretSummary = SecretInfo & {
  readonly createdAt: number
  readonly updatedAt: number
}

export type SecretDescription = SecretSummary & {
  /** Length-hiding; the last four characters at most, and those only of a long value. */
  readonly masked: string
  readonly shape: string
  /** `xclk_r…` and the last four characters. */
  readonly maskedPlaceholder: string
}

export const STAGES = ['pending', 'current', 'previous', 'retired'] as const
export type Stage = (typeof STAGES)[number]

export type SecretVersion = {
  readonly version: number
  readonly stage: Stage
  readonly targets: readonly string[]
  readonly createdAt: number
  readonly notBefore: number | undefined
  readonly expiresAt: number | undefined
  /** The version of the tenant key that seals it. */
  readonly keyVersion: number
}

export type ListRequest = {
  readonly tenant?: TenantId
  /** `tenant/name` of the last one of the page before. */
  readonly after?: string
  readonly limit: number
}

export type ImportProgress = { readonly done: number; readonly results: readonly PutResult[] }

/** The administrator's view. Every call throws SECRET_STORE_UNAVAILABLE or STORAGE_FAILED when the store does not answer. */
export interface SecretAdmin {
  /** Makes a secret, or a new version under the same placeholder. @throws SECRET_INVALID, SECRET_TARGETS_* */
  put(request: PutRequest): Promise<PutResult>
  /** In the order of tenant and name. */
  list(request: ListRequest): Promise<readonly SecretSummary[]>
  /** @throws SECRET_NOT_FOUND */
  describe(ref: SecretRef): Promise<SecretDescription>
  /** Newest first. @throws SECRET_NOT_FOUND */
  versions(ref: SecretRef): Promise<readonly SecretVersion[]>
  /** Shows the placeholder again, as the app holds it. @throws SECRET_NOT_FOUND */
  placeholder(ref: SecretRef): Promise<string>
  /** A revoked secret stays revoked. @throws SECRET_NOT_FOUND, SECRET_INVALID */
  setState(ref: SecretRef, state: SecretState): Promise<void>
  /** Removes a secret with all of its versions; its placeholder becomes unknown. @throws SECRET_NOT_FOUND */
  remove(ref: SecretRef): Promise<void>
  /** Puts many, in short transactions; what `onProgress` was told of is durable. */
  import(
    many: AsyncIterable<PutRequest> | Iterable<PutRequest>,
    onProgress: (progress: ImportProgress) => void,
  ): Promise<number>
  tenants(): Promise<readonly { readonly tenant: TenantId; readonly secrets: number }[]>
}
