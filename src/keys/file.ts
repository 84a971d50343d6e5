/**
 * The key provider that reads its root key from a file.
 *
 * Rule of this file: the file is readable by its owner alone and never in the environment, where /proc would keep it
 * (threat-model.md J9, rulings.md 18).
 */
import type { KeyObject } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { decodeCanonicalBase64url } from '../base/bytes.ts'
import { CloakroomError } from '../base/errors.ts'
import { randomBytes } from '../base/random.ts'
import { openBox, sealBox } from './box.ts'
import { deriveKey, hkdf, keyFrom } from './derive.ts'
import { invalidFile, readPrivateFile, writePrivateFile } from './private-file.ts'
import type { KeyProvider } from './provider.ts'

const KEY_BYTES = 32
const MARK = 'cloakroom-root-key-v1'
// Comments, one line with the key, nothing else: far below this.
const MAX_FILE_BYTES = 4096
const LINE = new RegExp(`^${MARK} ([A-Za-z0-9_-]{43}) ([0-9a-f]{8})$`)

/**
 * Makes a root key file with a new key; it is on the disk when this returns.
 *
 * @throws CONFIG_EXISTS when there is a file already: a root key is never replaced; KEY_FILE_INVALID
 */
export async function createKeyFile(path: string): Promise<void> {
  const key = randomBytes(KEY_BYTES)
  const text = Buffer.from(formatKeyFile(key))
  key.fill(0)
  await writePrivateFile(path, text, { replace: false }).finally(() => text.fill(0))
}

/** Opens the provider. @throws KEY_FILE_UNSAFE, KEY_FILE_INVALID */
export async function openKeyFile(path: string): Promise<KeyProvider> {
  const text = await readPrivateFile(path, MAX_FILE_BYTES)
  const bytes = parseKeyFile(text)
  text.fill(0)
  if (bytes === undefined) {
    throw invalidFile(path, 'it is not a cloakroom root key, or is damaged')
  }
  return createFileProvider(keyFrom(bytes))
}

/** Makes a provider of a root key that is in memory. */
export function createFileProvider(rootKey: KeyObject): KeyProvider {
  const wrapping = deriveKey(rootKey, 'wrap')
  const id = `file-${hkdf(rootKey, Buffer.alloc(0), 'cloakroom/1/key-id', 8).toString('hex')}`
  return {
    id,
    wrap: async (key, associated) => sealBox(wrapping, { purpose: 'wrap', associated }, key),
    async unwrap(wrapped, associated) {
      const key = openBox(wrapping, { purpose: 'wrap', associated }, wrapped)
      if (key === undefined) throw new CloakroomError('KEY_WRONG', { what: 'a wrapped key' })
      return key
    },
  }
}

/** Writes the text form: comments, and one line with version, key and checksum. */
export function formatKeyFile(key: Buffer): string {
  const text = key.toString('base64url')
  return [
    '# Root key of Cloakroom. Back this file up, apart from the store:',
    '# without it nothing in the store can be opened, and whoever has both can open everything.',
    `${MARK} ${text} ${checksumOf(text)}`,
    '',
  ].join('\n')
}

/** Reads the text form; undefined when it is malformed or its checksum differs. */
export function parseKeyFile(text: Buffer): Buffer | undefined {
  const lines = text
    .toString('latin1')
    .split('\n')
    .filter(line => line !== '' && !line.startsWith('#'))
  const match = LINE.exec(lines[0] ?? '')
  const key = match?.[1]
  if (lines.length !== 1 || key === undefined || checksumOf(key) !== match?.[2]) return undefined
  return decodeCanonicalBase64url(key)
}

// A checksum against typing and copying errors; what keeps the key genuine is that only its owner can write it.
function checksumOf(key: string): string {
  return crc32(`${MARK} ${key}`).toString(16).padStart(8, '0')
}
