/**
 * Changes the callers in the text of a policy file, for `cloakroom caller`: comments and everything else stay.
 *
 * Rule of this file: text in, text out. The caller of these functions compiles the result before it is written anywhere.
 */
import { CloakroomError } from '../base/errors.ts'
import { editYaml, parseYaml, type YamlEditor } from '../base/yaml.ts'

export type NewCaller = { readonly id: string; readonly sha256: string; readonly tenants: readonly string[] }

/** Adds a caller that is known by a password. @throws CLI_FAILED when there is one with this name. */
export function addCaller(text: string, { id, sha256, tenants }: NewCaller): string {
  if (indexOfCaller(text, id) >= 0) throw failed(`there is a caller ${id} already`)
  return edited(text, editor => {
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
  return edited(text, editor => editor.remove(['callers', index]))
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
  return edited(text, editor => {
    editor.set(['callers', index, 'identify', 'proxyAuthorization', 'sha256'], hashes, 'flow')
  })
}

/** Edits, and takes every top-level section that did not change from the old text as it stood, spaces and all. */
function edited(text: string, edit: (editor: YamlEditor) => void): string {
  const changed = editYaml(text, edit)
  // A last line without its end would run into a section that is added behind it.
  const before = sectionsOf(text.endsWith('\n') ? text : `${text}\n`)
  const after = sectionsOf(changed)
  const kept = after.map(
    section => before.find(old => old.key === section.key && old.data === section.data) ?? section,
  )
  const joined = kept.map(({ lines }) => lines.join('')).join('')
  const dataOf = (yaml: string) => JSON.stringify(parseYaml(yaml, { file: 'policy' }).data)
  return dataOf(joined) === dataOf(changed) ? joined : changed
}

type Section = { readonly key: string; readonly data: string; readonly lines: readonly string[] }

// From the line of one top-level key to that of the next; what stands before the first is a section of its own.
function sectionsOf(text: string): readonly Section[] {
  const parsed = parseYaml(text, { file: 'policy' })
  const lines = text.split(/(?<=\n)/)
  const mapping = typeof parsed.data === 'object' && parsed.data !== null ? Object.entries(parsed.data) : []
  const starts = mapping.map(([key, data]) => ({
    key,
    data: JSON.stringify(data),
    line: parsed.position([key], 'key').line - 1,
  }))
  // A flow mapping has its keys on one line: it is one section.
  const isBlock = starts.every(({ line }, i) => line > (starts[i - 1]?.line ?? -1))
  if (!isBlock || starts.length === 0) return [{ key: '', data: text, lines }]
  const head = { key: '', data: '', lines: lines.slice(0, starts[0]?.line) }
  return [
    head,
    ...starts.map((start, i) => ({ ...start, lines: lines.slice(start.line, starts[i + 1]?.line) })),
  ]
}

function failed(what: string): CloakroomError<'CLI_FAILED'> {
  return new CloakroomError('CLI_FAILED', { what })
}
