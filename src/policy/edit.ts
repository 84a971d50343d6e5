/**
 * Changes the callers in the text of a policy file, for `cloakroom caller`: comments and everything else stay.
 *
 * Rule of this file: text in, text out. The caller of these functions compiles the result before it is written anywhere.
 */
import { CloakroomError } from '../base/errors.ts'
import { editYaml, parseYaml } from '../base/yaml.ts'

export type NewCaller = { readonly id: string; readonly sha256: string; readonly tenants: readonly string[] }

/** Adds a caller that is known by a password. @throws CLI_FAILED when there is one with this name. */
export function addCaller(text: string, { id, sha256, tenants }: NewCaller): string {
  if (indexOfCaller(text, id) >= 0) throw failed(`there is a caller ${id} already`)
  return editYaml(text, editor => {
    editor.append(['callers'], { id, identify: { proxyAuthorization: { sha256: [sha256] } }, tenants })
  })
}

/** Adds a password to a caller beside those it has: the first half of a replacement. @throws CLI_FAILED */
export function addCallerPassword(text: string, id: string, sha256: string): string {
  return editPasswords(text, id, hashes => [...hashes, sha256])
}

/** Keeps the `keep` newest passwords of a caller: 1 ends a replacement, 0 revokes the caller. @throws CLI_FAILED */
export function removeCallerPasswords(text: string, id: string, keep: number): string {
  return editPasswords(text, id, hashes => (keep === 0 ? [] : hashes.slice(-keep)))
}

/** Removes a caller that no rule and no test names. @throws CLI_FAILED naming those that do. */
export function removeCaller(text: string, id: string): string {
  const index = requireCaller(text, id)
  const { rules = [], tests = [] } = looseSource(text)
  const naming = rules.filter(rule => rule.callers?.includes(id)).map(rule => `rule ${rule.id}`)
  const tested = tests.some(test => test.given?.caller === id) ? ['a test'] : []
  const users = [...naming, ...tested]
  if (users.length > 0) throw failed(`${users.join(', ')} still names caller ${id}`)
  return editYaml(text, editor => editor.remove(['callers', index]))
}

type Loose = {
  readonly callers?: readonly LooseCaller[]
  readonly rules?: readonly { readonly id?: string; readonly callers?: readonly string[] }[]
  readonly tests?: readonly { readonly given?: { readonly caller?: string } }[]
}
type LooseCaller = {
  readonly id?: string
  readonly identify?: { readonly proxyAuthorization?: { readonly sha256?: string | readonly string[] } }
}

// Not validated: an edit must be possible in a file whose rules have faults, and editYaml refuses what is not YAML.
function looseSource(text: string): Loose {
  const { data } = parseYaml(text, { file: 'policy' })
  return typeof data === 'object' && data !== null ? (data as Loose) : {}
}

function indexOfCaller(text: string, id: string): number {
  const { callers } = looseSource(text)
  return Array.isArray(callers) ? callers.findIndex(caller => caller?.id === id) : -1
}

function requireCaller(text: string, id: string): number {
  const index = indexOfCaller(text, id)
  if (index < 0) throw failed(`there is no caller ${id} in this file`)
  return index
}

function editPasswords(
  text: string,
  id: string,
  change: (hashes: readonly string[]) => readonly string[],
): string {
  const index = requireCaller(text, id)
  const written = looseSource(text).callers?.[index]?.identify?.proxyAuthorization?.sha256
  if (written === undefined) throw failed(`caller ${id} is not known by a password`)
  const hashes = change(typeof written === 'string' ? [written] : written)
  return editYaml(text, editor => {
    editor.set(['callers', index, 'identify', 'proxyAuthorization', 'sha256'], hashes, 'flow')
  })
}

function failed(what: string): CloakroomError<'CLI_FAILED'> {
  return new CloakroomError('CLI_FAILED', { what })
}
