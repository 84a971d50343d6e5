/**
 * Edits of policy files by the program.
 *
 * Rule of this file: an edit is checked together with the other files before it is written; the file is replaced in one step;
 * comments and order stay as the person wrote them.
 */
import { constants } from 'node:fs'
import { open, realpath, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { CloakroomError } from '../base/errors.ts'
import { parseYaml } from '../base/yaml.ts'
import type { PolicyText } from '../policy/compile.ts'
import { policyOf, readPolicyFiles } from '../policy/load.ts'
import type { ControlDeps, PolicySummary } from './control.ts'

/**
 * Changes one of the policy files and puts the result in force.
 *
 * @throws POLICY_INVALID, POLICY_TESTS_FAILED when the policy would not be accepted: then nothing was written; CLI_FAILED when the file cannot be written.
 */
export async function editPolicy(
  deps: ControlDeps,
  file: string,
  edit: (text: string) => string,
): Promise<PolicySummary> {
  const texts = await readPolicy(deps.policy.files)
  const changed = texts.map(one => (one.file === file ? { file, text: edit(one.text) } : one))
  const { mayHoldCredentials } = deps.policy.current()
  policyOf(changed, { mayHoldCredentials, now: deps.clock.now() })
  const text = changed.find(one => one.file === file)?.text
  if (text !== undefined) await replaceFile(file, text)
  return deps.policy.reload()
}

/** Finds the policy file that defines a caller. @throws CALLER_NOT_FOUND */
export async function fileOfCaller(deps: ControlDeps, caller: string): Promise<string> {
  for (const { file, text } of await readPolicy(deps.policy.files)) {
    const { data } = parseYaml(text, { file })
    const callers = typeof data === 'object' && data !== null && 'callers' in data ? data.callers : []
    if (Array.isArray(callers) && callers.some(one => one?.id === caller)) return file
  }
  throw new CloakroomError('CALLER_NOT_FOUND', { caller })
}

async function readPolicy(files: readonly string[]): Promise<readonly PolicyText[]> {
  const read = await readPolicyFiles(files)
  if (read.kind === 'texts') return read.texts
  const [first] = read.faults
  throw new CloakroomError('CLI_FAILED', {
    what: first === undefined ? '' : `${first.file} ${first.message}`,
  })
}

// Written beside and renamed over: who reads at this moment sees the old text or the new one. A symbolic link stays one.
async function replaceFile(link: string, text: string): Promise<void> {
  try {
    const file = await realpath(link)
    const { mode } = await stat(file)
    const beside = `${file}.new`
    await rm(beside, { force: true })
    const handle = await open(beside, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, mode & 0o777)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(beside, file)
    const directory = await open(dirname(file), 'r')
    await directory.sync().finally(() => directory.close())
  } catch (cause) {
    throw new CloakroomError(
      'CLI_FAILED',
      { what: `${link} cannot be written (${codeOf(cause)})` },
      { cause },
    )
  }
}

function codeOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown'
}
