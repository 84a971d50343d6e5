/**
 * The written forms of addresses in the configuration. What they mean for dialling is net/'s business.
 */
import { bareHost, ipv6Groups, isIpHost, parseAuthority } from '../model/target.ts'

/** HOST:PORT with a port that is written: what upstream.resolve overrides. */
export function isResolveKey(text: string): boolean {
  return parseAuthority(text)?.port !== undefined
}

/** IP:PORT: what upstream.resolve points to. */
export function isResolveValue(text: string): boolean {
  const authority = parseAuthority(text)
  return authority?.port !== undefined && isIpHost(authority.host)
}

/** A CIDR range, IPv4 or IPv6, with no bits set behind its prefix: 10.0.0.1/8 is a slip of the pen. */
export function isAddressRange(text: string): boolean {
  const match = /^([0-9a-fA-F:.]+)\/(0|[1-9][0-9]{0,2})$/.exec(text)
  if (match === null) return false
  const bits = bitsOf(match[1] ?? '')
  const prefix = Number(match[2])
  return bits !== undefined && prefix <= bits.length && !bits.slice(prefix).includes('1')
}

function bitsOf(address: string): string | undefined {
  const groups = ipv6Groups(address.toLowerCase())
  if (groups !== undefined && address.includes(':')) return groups.map(group => binary(group, 16)).join('')
  if (!isIpHost(address) || bareHost(address).includes(':')) return undefined
  return address
    .split('.')
    .map(part => binary(Number(part), 8))
    .join('')
}

function binary(value: number, width: number): string {
  return value.toString(2).padStart(width, '0')
}
