/**
 * The grammar of a request once more, written the other way: as regular expressions over whole text, from RFC 9110 and RFC 9112
 * and threat-model.md 1.E, with nothing shared with src/http1.
 *
 * Slow and without limits of size. Where the codec and this model disagree, one of them is wrong.
 */

export type ModelMessage = {
  readonly method: string
  readonly rawTarget: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body: string
  readonly trailers: readonly (readonly [string, string])[]
  readonly rest: string
}

const REQUEST_LINE = /^([A-Z][A-Z0-9_-]*) ([!"$-[\]-~]+) HTTP\/1\.([01])\r\n/
const FIELD_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)\r\n/
const CHUNK = /^([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n/

const AUTHORITY = "[!$%&'()*+,\\-.:;=@[\\]_~0-9A-Za-z]+"
const ABSOLUTE = `[Hh][Tt][Tt][Pp][Ss]?://${AUTHORITY}(?:[/?]|$)`
const TARGETS = {
  connect: new RegExp(`^${AUTHORITY}$`),
  options: new RegExp(`^(?:[*]$|/|${ABSOLUTE})`),
  other: new RegExp(`^(?:/|${ABSOLUTE})`),
}

function targetKind(method: string | undefined): keyof typeof TARGETS {
  if (method === 'CONNECT') return 'connect'
  return method === 'OPTIONS' ? 'options' : 'other'
}

/** Reads one whole message; undefined when it is refused or cut short. */
export function readByModel(input: string): ModelMessage | undefined {
  const line = REQUEST_LINE.exec(input)
  if (line === null || !TARGETS[targetKind(line[1])].test(line[2] ?? '')) return undefined
  const fields = fieldLines(input.slice(line[0].length))
  if (fields === undefined) return undefined
  const head = { method: line[1] ?? '', rawTarget: line[2] ?? '', headers: fields.lines }
  const all = (name: RegExp) => fields.lines.filter(([field]) => name.test(field)).map(([, value]) => value)
  const lengths = all(/^content[-_]length$/i)
  const codings = all(/^transfer[-_]encoding$/i)
  if (fields.lines.some(([field]) => /^(?:content_length|transfer_encoding)$/i.test(field))) return undefined
  if (lengths.length + codings.length > 1) return undefined
  if (codings.length === 1) {
    if (line[3] !== '1' || !/^chunked$/i.test(codings[0] ?? '') || head.method === 'CONNECT') return undefined
    return chunkedBody(head, fields.rest)
  }
  if (lengths.length === 1 && !/^(?:0|[1-9][0-9]{0,15})$/.test(lengths[0] ?? '')) return undefined
  const length = BigInt(lengths[0] ?? 0)
  if (length > 2n ** 53n - 1n || (head.method === 'CONNECT' && length > 0n)) return undefined
  if (BigInt(fields.rest.length) < length) return undefined
  const end = Number(length)
  return { ...head, body: fields.rest.slice(0, end), trailers: [], rest: fields.rest.slice(end) }
}

type Lines = { readonly lines: [string, string][]; readonly rest: string }

function fieldLines(text: string): Lines | undefined {
  const lines: [string, string][] = []
  let rest = text
  while (!rest.startsWith('\r\n')) {
    const match = FIELD_LINE.exec(rest)
    if (match === null) return undefined
    lines.push([match[1] ?? '', (match[2] ?? '').replace(/^[\t ]+|[\t ]+$/g, '')])
    rest = rest.slice(match[0].length)
  }
  return { lines, rest: rest.slice(2) }
}

type Head = Pick<ModelMessage, 'method' | 'rawTarget' | 'headers'>

function chunkedBody(head: Head, text: string): ModelMessage | undefined {
  let body = ''
  let rest = text
  for (;;) {
    const line = CHUNK.exec(rest)
    if (line === null) return undefined
    const size = BigInt(`0x${line[1]}`)
    rest = rest.slice(line[0].length)
    if (size === 0n) break
    if (size > BigInt(rest.length)) return undefined
    const end = Number(size)
    if (rest.slice(end, end + 2) !== '\r\n') return undefined
    body += rest.slice(0, end)
    rest = rest.slice(end + 2)
  }
  const trailers = fieldLines(rest)
  return trailers === undefined ? undefined : { ...head, body, trailers: trailers.lines, rest: trailers.rest }
}
