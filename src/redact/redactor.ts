/**
 * Takes the credentials of one exchange out of its answer, and puts the placeholders back (rulings.md 26).
 *
 * Rules of this file: it looks for every credential that the request carried, and in everything the answer holds: reason, header
 * names and values, body, trailers. There is no size limit and no cap on finds (threat-model.md D2). Redaction is a second line:
 * an upstream that wants to leak a credential can always transform it first; what holds is where it may be sent at all.
 */
import { createReplacer, type Replacement, type Replacer } from '../base/replacer.ts'
import type { HeaderList, ResponseHead } from '../model/message.ts'
import type { SecretValue } from '../model/secret.ts'
import { formsOf } from './forms.ts'

/** A credential as it was sent, and the placeholder (with its shape in front) that the caller knows it by. */
export type SentSecret = { readonly value: SecretValue; readonly placeholder: string; readonly shape: string }

/** A text that held a credential in a form of its own, such as the base64 of Basic, and the caller's own text. */
export type SentText = { readonly sent: Buffer; readonly original: Buffer }

export type BodyRedactor = {
  /** Returns what may be passed on; without a find it shares memory with `chunk`. Holds back only what may become a find. */
  push(chunk: Buffer): Buffer
  /** Ends the body. */
  flush(): Buffer
  readonly count: number
}

export type Redactor = {
  head(head: ResponseHead): { readonly head: ResponseHead; readonly count: number }
  /** For trailers. */
  headers(headers: HeaderList): { readonly headers: HeaderList; readonly count: number }
  /** Starts the answer's body. */
  body(): BodyRedactor
  /** Overwrites all that was derived from the credentials; call it when the exchange ends, after the body. */
  dispose(): void
}

/**
 * Prepares for one exchange; `texts` are taken over and overwritten by `dispose`.
 *
 * The secret values are read here and not kept: they may be disposed of at any time after.
 */
export function createRedactor(secrets: readonly SentSecret[], texts: readonly SentText[]): Redactor {
  const replacer = createReplacer(
    distinct([...texts.map(asReplacement), ...secrets.flatMap(replacementsFor)]),
  )
  const streams: { dispose(): void }[] = []
  return {
    head(head) {
      const reason = redactText(replacer, head.reason)
      const { headers, count } = redactHeaders(replacer, head.headers)
      const total = count + reason.count
      return { head: total === 0 ? head : { ...head, reason: reason.text, headers }, count: total }
    },
    headers: headers => redactHeaders(replacer, headers),
    body() {
      const stream = replacer.stream()
      streams.push(stream)
      return stream
    },
    dispose() {
      for (const stream of streams) stream.dispose()
      replacer.dispose()
    },
  }
}

function asReplacement({ sent, original }: SentText): Replacement {
  return { pattern: sent, by: original }
}

function replacementsFor({ value, placeholder, shape }: SentSecret): Replacement[] {
  const shown = Buffer.from(shape + placeholder, 'latin1')
  return value.use(bytes => formsOf(bytes, shown))
}

// Many forms of a value may be the same text: fewer patterns, and a cheaper search.
function distinct(replacements: readonly Replacement[]): Replacement[] {
  const kept: Replacement[] = []
  for (const replacement of replacements) {
    if (kept.some(({ pattern }) => sameBytes(pattern, replacement.pattern))) replacement.pattern.fill(0)
    else kept.push(replacement)
  }
  return kept
}

// The length first: a call of equals costs fifty times as much.
function sameBytes(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && a.equals(b)
}

// One search over all of them first: almost no head holds a credential. A find may be one across two values, so each is then
// looked at alone.
function redactHeaders(
  replacer: Replacer,
  headers: HeaderList,
): { readonly headers: HeaderList; readonly count: number } {
  let all = ''
  for (const [name, value] of headers) all += `${name}\n${value}\n`
  if (redactText(replacer, all).count === 0) return { headers, count: 0 }
  let count = 0
  const redacted = headers.map(([name, value]) => {
    const newName = redactText(replacer, name)
    const newValue = redactText(replacer, value)
    count += newName.count + newValue.count
    return [newName.text, newValue.text] as const
  })
  return { headers: redacted, count }
}

function redactText(replacer: Replacer, text: string): { readonly text: string; readonly count: number } {
  if (text === '') return { text, count: 0 }
  const { bytes, count } = replacer.replaceAll(Buffer.from(text, 'latin1'))
  return { text: count === 0 ? text : bytes.toString('latin1'), count }
}
