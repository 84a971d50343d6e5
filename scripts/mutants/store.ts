/**
 * Guards on secrets at rest: encryption and what it is bound to, rows, caches, files.
 */
import type { Mutant } from './mutant.ts'

export const STORE: readonly Mutant[] = [
  {
    name: 'a sealed version is bound to nothing',
    file: 'keys/envelope.ts',
    find: '  return encodeFields([\n    FORMAT_FIELD,\n    binding.storeId,',
    replace: '  return Buffer.alloc(0) ?? encodeFields([\n    FORMAT_FIELD,\n    binding.storeId,',
    test: 'keys/box',
    only: 'refuses a version that is bound to anything else',
  },
  ...(
    [
      ['store', 'binding.storeId'],
      ['tenant', 'binding.tenant'],
      ['secret', 'binding.secretId'],
      ['version', 'encodeNumber(binding.version)'],
      ['targets', 'targetsDigest(binding.targets)'],
      ['expiry', 'encodeNumber(binding.expiresAt)'],
    ] as const
  ).map(([what, member]) => ({
    name: `a sealed version is not bound to its ${what}`,
    file: 'keys/envelope.ts',
    find: `    ${member},\n`,
    replace: '',
    test: 'keys/box',
    only: 'refuses a version that is bound to anything else',
  })),
  {
    name: 'plaintext is given out before its tag is checked',
    file: 'keys/aead.ts',
    find: '    decipher.final()\n',
    replace: '',
    test: 'keys/primitives',
    only: 'refuses a sealed text with any one bit changed',
  },
  {
    name: 'a shorter tag will do',
    file: 'keys/aead.ts',
    find: `  const tagStart = sealed.length - TAG_BYTES
  const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  })`,
    replace: `  const tagStart = NONCE_BYTES + Math.min(3, sealed.length - AEAD_OVERHEAD)
  const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(0, NONCE_BYTES), {
    authTagLength: Math.max(4, Math.min(16, sealed.length - tagStart)),
  })`,
    test: 'keys/primitives',
    only: 'refuses every truncation',
  },
  {
    name: 'every text is sealed under one nonce',
    file: 'keys/aead.ts',
    find: 'const nonce = randomBytes(NONCE_BYTES)',
    replace: 'const nonce = Buffer.alloc(NONCE_BYTES, randomBytes.length)',
    test: 'keys/primitives',
    only: 'never seals two texts under one nonce',
  },
  {
    name: 'a box opens under a second key',
    file: 'keys/box.ts',
    find: 'if (!equalBytes(derived.commitment, box.subarray(1 + SALT_BYTES, HEADER_BYTES))) return undefined',
    replace: '',
    test: 'keys/box',
    only: 'refuses under the second key',
  },
  {
    name: 'a box of any format is read',
    file: 'keys/box.ts',
    find: 'if (box.length < BOX_OVERHEAD || box[0] !== FORMAT) return undefined',
    replace: 'if (box.length < BOX_OVERHEAD) return undefined',
    test: 'keys/box',
    only: 'refuses every format but its own',
  },
  {
    name: 'the row of a secret is believed unchecked',
    file: 'secrets/genuine.ts',
    find: "if (!isSameMac(secret.mac, macOfSecret(rowKey, storeId, secret))) throw tampered(secret, 'its columns')",
    replace: '',
    test: 'secrets/tamper',
  },
  {
    name: 'the row of a version is believed unchecked',
    file: 'secrets/genuine.ts',
    find: `    if (!isSameMac(version.mac, macOfVersion(key.rowKey, place(secret.tenant), version)))
      throw`,
    replace: '    if (key.version < 0)\n      throw',
    test: 'secrets/tamper',
  },
  {
    name: 'the state of a secret is not part of its MAC',
    file: 'keys/row-mac.ts',
    find: '    row.state,\n',
    replace: '',
    test: 'secrets/tamper',
  },
  {
    name: 'a value that is sealed for another placeholder is used',
    file: 'secrets/resolve.ts',
    find: 'if (opened.placeholder === swap.placeholder) return opened',
    replace: 'if (opened.placeholder.length > 0) return opened',
    test: 'secrets/resolve',
    only: 'refuses a secret that is sealed for another placeholder',
  },
  {
    name: 'a permit may cross tenants',
    file: 'secrets/resolve.ts',
    find: "invariant(swap.secret.tenant === permit.tenant, 'a permit swaps secrets of its own tenant')",
    replace: "invariant(true, 'a permit swaps secrets of its own tenant')",
    test: 'secrets/resolve',
    only: 'a permit that crosses tenants',
  },
  {
    name: 'values that were opened beside one that failed are not wiped',
    file: 'secrets/resolve.ts',
    find: '  disposeAll(opened)\n  throw failed.reason',
    replace: '  throw failed.reason',
    test: 'secrets/resolve',
    only: 'disposes of all that it opened',
  },
  {
    name: 'cached rows are found without their tenant',
    file: 'secrets/reader.ts',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    find: 'return `${ref.tenant}/${ref.name}`',
    replace: 'return ref.name',
    test: 'secrets/embedded',
  },
  {
    name: 'cached tenant keys are found without their tenant',
    file: 'keys/keyring.ts',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    find: 'cache.get(`${tenant}/${version}`',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    replace: 'cache.get(`${version}`',
    test: 'secrets/embedded',
  },
  {
    name: 'a row that was read before a change is cached after it',
    file: 'secrets/reader.ts',
    find: '    if (generation === this.#generation) {\n',
    replace: '    if (generation >= 0) {\n',
    test: 'secrets/embedded',
    only: 'a row that was read before a change',
  },
  {
    name: 'a store that cannot be asked is served from the cache for ever',
    file: 'secrets/reader.ts',
    find: 'if (now - this.#answeredAt > this.#maxStale + POLL)',
    replace: 'if (now < 0)',
    test: 'secrets/embedded',
    only: 'serves from its cache',
  },
  {
    name: 'a secret that may not be used is opened',
    file: 'secrets/reader.ts',
    find: 'if (genuine === undefined || !isUsable(genuine, this.#options.clock.now())) {',
    replace: 'if (genuine === undefined || isUsable === undefined) {',
    test: 'secrets/embedded',
  },
  {
    name: 'a key file that others may read is taken',
    file: 'keys/private-file.ts',
    find: 'return (mode & OTHERS_MASK) === 0',
    replace: 'return (mode & OTHERS_MASK) >= 0',
    test: 'keys/files',
    only: 'refuses a key file that others may use',
  },
  {
    name: 'a key file is replaced unasked',
    file: 'keys/private-file.ts',
    find: 'if (options.replace) await rename(draft, path)',
    replace: 'if (options.replace || path !== draft) await rename(draft, path)',
    test: 'keys/files',
    only: 'never replaces a key file',
  },
  {
    name: 'a state directory that others may use is taken',
    file: 'storage/private-directory.ts',
    find: 'if ((mode & OTHERS_MASK) !== 0) throw',
    replace: 'if ((mode & OTHERS_MASK) < 0) throw',
    test: 'storage/sqlite',
    only: 'refuses a directory or file that others may use',
  },
  {
    name: 'a link is followed in the place of the state directory',
    file: 'storage/private-directory.ts',
    find: 'return lstatSync(path)',
    replace:
      "return lstatSync(path).isSymbolicLink() ? process.getBuiltinModule('node:fs').statSync(path) : lstatSync(path)",
    test: 'storage/sqlite',
    only: 'refuses a directory or file that is a link',
  },
  {
    name: 'two processes hold a state directory',
    file: 'storage/state-lock.ts',
    find: '; BEGIN EXCLUSIVE',
    replace: '',
    test: 'storage/sqlite',
    only: 'one process holds',
  },
]
