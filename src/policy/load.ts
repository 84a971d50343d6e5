/**
 * Reads policy files and makes a policy of them.
 *
 * Rules of this file: each file is opened and read once, by its content alone (a ConfigMap is a chain of symbolic links, so
 * links are followed), up to a size bound; what was read is what is hashed and compiled (threat-model.md B9).
 */
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { CloakroomError, type ErrorCode } from '../base/errors.ts'
import { type Fault, formatFault, MAX_YAML_SIZE } from '../base/yaml.ts'
import { formatTestResult, runPolicyTests } from './check.ts'
import { type CompileOptions, compilePolicy } from './compile.ts'
import type { CompiledPolicy } from './compiled.ts'
import type { PolicyText } from './source.ts'

export type ReadPolicy =
  | { readonly kind: 'texts'; readonly texts: readonly PolicyText[] }
  | { readonly kind: 'faults'; readonly faults: readonly Fault[] }

export type LoadOptions = CompileOptions & {
  /** Wall clock for the policy's own tests. */
  readonly now: number
}

/** Reads all files, or says of each one that cannot be read why. Never throws. */
export async function readPolicyFiles(files: readonly string[]): Promise<ReadPolicy> {
  const results = await Promise.all(files.map(readOne))
  const faults = results.flatMap(result => (typeof result.text === 'string' ? [] : [result.text]))
  if (faults.length > 0) return { kind: 'faults', faults }
  return {
    kind: 'texts',
    texts: results.map(({ file, text }) => ({ file, text: typeof text === 'string' ? text : '' })),
  }
}

/**
 * Reads, compiles and tests a policy.
 *
 * @throws POLICY_INVALID with the first fault, POLICY_TESTS_FAILED when its own tests fail.
 */
export async function loadPolicy(files: readonly string[], options: LoadOptions): Promise<CompiledPolicy> {
  const read = await readPolicyFiles(files)
  if (read.kind === 'faults') throw invalid(read.faults)
  return policyOf(read.texts, options)
}

/**
 * Compiles texts and runs the tests that they carry.
 *
 * @throws POLICY_INVALID with the first fault, POLICY_TESTS_FAILED when its own tests fail.
 */
export function policyOf(texts: readonly PolicyText[], options: LoadOptions): CompiledPolicy {
  const compiled = compilePolicy(texts, options)
  if (compiled.kind === 'faults') throw invalid(compiled.faults)
  const results = runPolicyTests(compiled.policy, options.now)
  const failed = results.filter(({ ok }) => !ok)
  if (failed.length > 0) {
    const cause = new Error(failed.map(formatTestResult).join('\n'))
    throw new CloakroomError(
      'POLICY_TESTS_FAILED',
      { failed: failed.length, total: results.length },
      { cause },
    )
  }
  return compiled.policy
}

function invalid(faults: readonly Fault[]): CloakroomError<ErrorCode> {
  const [first] = faults
  const text = first === undefined ? 'no fault' : formatFault(first)
  const cause = new Error(faults.map(formatFault).join('\n'))
  return new CloakroomError('POLICY_INVALID', { faults: faults.length, first: text }, { cause })
}

type OneFile = { readonly file: string; readonly text: string | Fault }

async function readOne(file: string): Promise<OneFile> {
  const fault = (message: string): OneFile => ({
    file,
    text: { file, line: 1, column: 1, path: '', message },
  })
  let handle: FileHandle | undefined
  try {
    // O_NONBLOCK: opening a named pipe would otherwise wait for a writer for ever.
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
    if (!(await handle.stat()).isFile()) return fault('is not a file')
    const bytes = await readBounded(handle)
    if (bytes === undefined) return fault(`is larger than ${MAX_YAML_SIZE} bytes`)
    return { file, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) }
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown'
    return fault(code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'is not UTF-8' : `cannot be read: ${code}`)
  } finally {
    await handle?.close().catch(() => undefined) // read only: nothing can be lost by a failed close
  }
}

async function readBounded(handle: FileHandle): Promise<Buffer | undefined> {
  const buffer = Buffer.alloc(MAX_YAML_SIZE + 1)
  let length = 0
  for (;;) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length)
    if (bytesRead === 0) return buffer.subarray(0, length)
    length += bytesRead
    if (length > MAX_YAML_SIZE) return undefined
  }
}
