/**
 * Which headers of an exchange with a credential are changed on their way, besides the credential itself.
 */
import type { HeaderList } from '../model/message.ts'

// A part of a body can hold a part of a credential, which no search finds (security.md D2).
const NOT_ASKED: ReadonlySet<string> = new Set(['accept-encoding', 'range', 'if-range'])

// Alt-Svc would lead the caller past us (D10).
const NOT_PASSED: ReadonlySet<string> = new Set(['alt-svc'])

/** The request's headers, asking for a whole answer in plain bytes, the only kind that can be searched (rulings.md 26). */
export function askForPlainAnswer(headers: HeaderList): HeaderList {
  const kept = headers.filter(([name]) => !NOT_ASKED.has(name.toLowerCase()))
  return [...kept, ['Accept-Encoding', 'identity']]
}

/** Tells whether the answer's body can be searched: it has no content coding, or only `identity`. */
export function isPlainAnswer(headers: HeaderList): boolean {
  return headers.every(([name, value]) => {
    return name.toLowerCase() !== 'content-encoding' || /^(?:identity)?$/i.test(value.trim())
  })
}

/** The answer's headers without those that steer the caller's proxy use or speak in our name (D10, D11, acceptance 51). */
export function withoutSteering(headers: HeaderList): HeaderList {
  const kept = headers.filter(([name]) => !isSteering(name.toLowerCase()))
  return kept.length === headers.length ? headers : kept
}

function isSteering(name: string): boolean {
  return NOT_PASSED.has(name) || name.startsWith('proxy-') || name.startsWith('cloakroom-')
}
