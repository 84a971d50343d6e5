/**
 * The private keys that lie in files beside the configuration, sealed under the root key: the CA's and the audit signer's.
 *
 * Rule of this file: what `init` writes and what the sidecar reads is said once, here. Keys leave as KeyObjects; the bytes between
 * are wiped.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto'
import { CloakroomError } from '../base/errors.ts'
import type { KeyProvider } from '../keys/provider.ts'
import { openSealed, sealFile } from '../keys/sealed-file.ts'

/** Bound into the sealed file, so that one cannot stand in for the other. */
export const KEY_FILE_NAMES = { ca: 'ca-key', audit: 'audit-signing-key' } as const
export type KeyFileKind = keyof typeof KEY_FILE_NAMES

export type KeyFile = { readonly kind: KeyFileKind; readonly path: string }

/** Seals a private key into a file of mode 0400. @throws CONFIG_EXISTS unless `replace`, KEY_FILE_INVALID, KEY_UNAVAILABLE */
export async function writePrivateKey(
  provider: KeyProvider,
  file: KeyFile,
  key: KeyObject,
  options: { readonly replace: boolean } = { replace: false },
): Promise<void> {
  const bytes = key.export({ type: 'pkcs8', format: 'der' })
  try {
    await sealFile(provider, { path: file.path, name: KEY_FILE_NAMES[file.kind] }, bytes, options)
  } finally {
    bytes.fill(0)
  }
}

/** Opens a private key. @throws KEY_FILE_UNSAFE, KEY_FILE_INVALID, KEY_WRONG, KEY_UNAVAILABLE */
export async function readPrivateKey(provider: KeyProvider, file: KeyFile): Promise<KeyObject> {
  const bytes = await openSealed(provider, { path: file.path, name: KEY_FILE_NAMES[file.kind] })
  try {
    return createPrivateKey({ key: bytes, format: 'der', type: 'pkcs8' })
  } catch {
    // Not as cause: OpenSSL's words may quote what it was given.
    throw new CloakroomError('KEY_FILE_INVALID', { file: file.path, what: 'it holds no private key' })
  } finally {
    bytes.fill(0)
  }
}
