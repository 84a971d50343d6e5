/**
 * The kinds of key provider, by the word that stands in the configuration.
 */
import { openKeyFile } from './file.ts'
import type { KeyProvider } from './provider.ts'

export type KeyOptions = { readonly kind: 'file'; readonly file: string }

const PROVIDERS = {
  file: options => openKeyFile(options.file),
} as const satisfies {
  [K in KeyOptions['kind']]: (options: KeyOptions & { kind: K }) => Promise<KeyProvider>
}

export const KEY_PROVIDERS = Object.keys(PROVIDERS) as readonly KeyOptions['kind'][]

/** Opens the configured provider. @throws KEY_FILE_UNSAFE, KEY_FILE_INVALID */
export function openKeyProvider(options: KeyOptions): Promise<KeyProvider> {
  return PROVIDERS[options.kind](options)
}
