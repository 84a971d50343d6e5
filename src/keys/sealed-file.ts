/**
 * Files that hold a key of ours, sealed under the root key: the CA's key and the audit signing key (rulings.md 18).
 *
 *   "cloakroom-sealed-file-v1\n" | length of the wrapped file key (4) | wrapped file key | box
 *
 * Rule of this file: a file key of its own is wrapped by the provider and seals the content, so that any provider will do; the
 * file's name is bound, so that one sealed file cannot stand in for another.
 */
import { CloakroomError, isError } from '../base/errors.ts'
import { randomBytes } from '../base/random.ts'
import { FORMAT_FIELD, openBox, sealBox } from './box.ts'
import { keyFrom } from './derive.ts'
import { encodeFields } from './encode.ts'
import { invalidFile, readPrivateFile, writePrivateFile } from './private-file.ts'
import type { KeyProvider } from './provider.ts'

const MARK = Buffer.from('cloakroom-sealed-file-v1\n')
const KEY_BYTES = 32
const LENGTH_BYTES = 4
const MAX_FILE_BYTES = 1024 * 1024

export type SealedFile = {
  readonly path: string
  /** What it holds, bound to the content: `ca-key`, `audit-signing-key`. */
  readonly name: string
}

/**
 * Seals `content` into a file of mode 0400, durably: the file is whole or it is not there.
 *
 * `replace` is for rotation; without it an existing file is never overwritten.
 *
 * @throws CONFIG_EXISTS, KEY_FILE_INVALID, KEY_UNAVAILABLE
 */
export async function sealFile(
  provider: KeyProvider,
  file: SealedFile,
  content: Uint8Array,
  options: { readonly replace: boolean } = { replace: false },
): Promise<void> {
  await writePrivateFile(file.path, await sealContent(provider, file.name, content), options)
}

/** Opens a sealed file. @throws KEY_FILE_UNSAFE, KEY_FILE_INVALID, KEY_WRONG, KEY_UNAVAILABLE */
export async function openSealed(provider: KeyProvider, file: SealedFile): Promise<Buffer> {
  const sealed = await readPrivateFile(file.path, MAX_FILE_BYTES)
  const parts = splitSealed(sealed)
  if (parts === undefined) throw invalidFile(file.path, 'it is not a sealed file of this version')
  const associated = associatedData(file.name)
  const fileKey = keyFrom(await unwrapFileKey(provider, file, parts.wrapped))
  const content = openBox(fileKey, { purpose: 'file', associated }, parts.box)
  if (content === undefined) throw invalidFile(file.path, 'it was changed or is damaged')
  return content
}

async function unwrapFileKey(provider: KeyProvider, file: SealedFile, wrapped: Buffer): Promise<Buffer> {
  try {
    return await provider.unwrap(wrapped, associatedData(file.name))
  } catch (cause) {
    if (isError(cause, 'KEY_WRONG')) throw new CloakroomError('KEY_WRONG', { what: file.path }, { cause })
    throw cause
  }
}

async function sealContent(provider: KeyProvider, name: string, content: Uint8Array): Promise<Buffer> {
  const associated = associatedData(name)
  const bytes = randomBytes(KEY_BYTES)
  const wrapped = await provider.wrap(bytes, associated)
  const box = sealBox(keyFrom(bytes), { purpose: 'file', associated }, content)
  return Buffer.concat([MARK, encodeFields([wrapped]), box])
}

function associatedData(name: string): Buffer {
  return encodeFields([FORMAT_FIELD, 'sealed-file', name])
}

function splitSealed(sealed: Buffer): { readonly wrapped: Buffer; readonly box: Buffer } | undefined {
  const start = MARK.length + LENGTH_BYTES
  if (sealed.length < start || !sealed.subarray(0, MARK.length).equals(MARK)) return undefined
  const end = start + sealed.readUInt32BE(MARK.length)
  return end > sealed.length ? undefined : { wrapped: sealed.subarray(start, end), box: sealed.subarray(end) }
}
