/**
 * Targets: what the caller asked for, as scheme, host and port, in one normal form.
 *
 * Rule of this file: hosts are ASCII, lower case, without a trailing dot, and never converted from anything else
 * (threat-model.md A4, A5, A7). The same function reads CONNECT targets, absolute-form targets and Host headers, so two spellings
 * either are the same Target or one of them is refused. Nothing here ever uses the URL class (A6).
 */

export type Scheme = 'http' | 'https'

/** `host` is a lower-case LDH name, a dotted IPv4 address, or an IPv6 address in brackets. */
export type Target = { readonly scheme: Scheme; readonly host: string; readonly port: number }

export type Authority = { readonly host: string; readonly port: number | undefined }

export const DEFAULT_PORTS = { http: 80, https: 443 } as const

const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/
const IPV4 =
  /^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$/
const PORT = /^[1-9][0-9]{0,4}$/

/** Reads a host name or IP literal into normal form; undefined when it is anything else (A4, A7). */
export function parseHost(text: string): string | undefined {
  const lower = text.toLowerCase()
  if (lower.startsWith('[')) return parseIpv6(lower)
  if (IPV4.test(lower)) return lower
  const name = lower.endsWith('.') ? lower.slice(0, -1) : lower
  if (name.length === 0 || name.length > 253) return undefined
  const labels = name.split('.')
  if (!labels.every(label => LABEL.test(label))) return undefined
  const last = labels[labels.length - 1] ?? ''
  // A7: getaddrinfo reads 127.1, 0x7f.1 and 2130706433 as addresses; a name's last label is never numeric.
  return /^(?:[0-9]+|0x[0-9a-f]*)$/.test(last) ? undefined : name
}

/** Reads `host[:port]`; the port is undefined when absent. Refuses userinfo, empty ports, leading zeros (A5). */
export function parseAuthority(text: string): Authority | undefined {
  const close = text.startsWith('[') ? text.indexOf(']') : 0
  if (close < 0) return undefined
  const colon = text.indexOf(':', close)
  if (colon < 0) return withHost(text, undefined)
  const port = text.slice(colon + 1)
  if (!PORT.test(port) || Number(port) > 65535) return undefined
  return withHost(text.slice(0, colon), Number(port))
}

function withHost(text: string, port: number | undefined): Authority | undefined {
  const host = parseHost(text)
  return host === undefined ? undefined : { host, port }
}

/** Makes a target of an authority, with the scheme's port where none is written. */
export function targetOf(scheme: Scheme, authority: Authority): Target {
  return { scheme, host: authority.host, port: authority.port ?? DEFAULT_PORTS[scheme] }
}

/** Reads `https://host[:port]` without a path, as policy and secrets name targets. */
export function parseTarget(text: string): Target | undefined {
  const match = /^(https?):\/\/([^/?#@\\]+)$/.exec(text)
  const scheme = match?.[1] as Scheme | undefined
  const authority = match?.[2] === undefined ? undefined : parseAuthority(match[2])
  return scheme === undefined || authority === undefined ? undefined : targetOf(scheme, authority)
}

/** Writes `https://host:port`, always with the port: the form in audit records and keys of caches. */
export function formatTarget(target: Target): string {
  return `${target.scheme}://${target.host}:${target.port}`
}

/** Writes the Host header for a target: the port only where it is not the scheme's own. */
export function formatHostHeader(target: Target): string {
  return target.port === DEFAULT_PORTS[target.scheme] ? target.host : `${target.host}:${target.port}`
}

export function sameTarget(a: Target, b: Target): boolean {
  return a.scheme === b.scheme && a.host === b.host && a.port === b.port
}

/** Tells whether the host is an IP literal rather than a name. */
export function isIpHost(host: string): boolean {
  return host.startsWith('[') || IPV4.test(host)
}

/** The host as a socket or a certificate wants it: an IPv6 address without its brackets. */
export function bareHost(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host
}

// RFC 4291 2.2 and RFC 5952: eight groups, or fewer with one "::"; no zone id; normal form is what we compare.
function parseIpv6(text: string): string | undefined {
  if (!text.endsWith(']')) return undefined
  const groups = ipv6Groups(text.slice(1, -1))
  return groups === undefined ? undefined : `[${formatIpv6(groups)}]`
}

/** Parses an IPv6 address (no brackets, no zone) into its eight 16-bit groups; undefined when malformed. */
export function ipv6Groups(text: string): readonly number[] | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = groupsOf(halves[0] ?? '')
  const tail = halves.length === 2 ? groupsOf(halves[1] ?? '') : []
  if (head === undefined || tail === undefined) return undefined
  const missing = 8 - head.length - tail.length
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined
  return [...head, ...new Array<number>(missing).fill(0), ...tail]
}

function groupsOf(text: string): number[] | undefined {
  if (text === '') return []
  const parts = text.split(':')
  const groups: number[] = []
  for (const [i, part] of parts.entries()) {
    if (i === parts.length - 1 && IPV4.test(part)) {
      const [a = 0, b = 0, c = 0, d = 0] = part.split('.').map(Number)
      groups.push(a * 256 + b, c * 256 + d)
    } else if (/^[0-9a-f]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16))
    else return undefined
  }
  return groups
}

/** Writes groups in the form of RFC 5952: lower case, the longest run of zeros shortened. */
export function formatIpv6(groups: readonly number[]): string {
  let best = { start: -1, length: 1 }
  for (let start = 0; start < 8; start++) {
    let length = 0
    while (start + length < 8 && groups[start + length] === 0) length++
    if (length > best.length) best = { start, length }
  }
  const hex = (part: readonly number[]) => part.map(group => group.toString(16)).join(':')
  if (best.start < 0) return hex(groups)
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`
}
