/**
 * Ranges of IP addresses in CIDR form.
 *
 * Own arithmetic rather than net.BlockList, which misses 64:ff9b::/96 and ::127.0.0.1 (threat-model.md A14).
 */
import { isIP } from 'node:net'
import { CloakroomError } from '../base/errors.ts'
import { ipv6Groups } from '../model/target.ts'

export type Ranges = {
  /** Tells whether an address in normal form lies in one of the ranges; families never match each other. */
  has(address: string): boolean
}

type Range = { readonly width: number; readonly first: bigint; readonly shift: bigint }
type Bits = { readonly width: number; readonly value: bigint }

/** @throws CONFIG_INVALID naming the first that is not a CIDR, or that has bits set behind its prefix. */
export function createRanges(cidrs: readonly string[]): Ranges {
  const ranges = cidrs.map(cidr => {
    const range = parseCidr(cidr)
    if (range !== undefined) return range
    const first = `upstream.allowAddresses: ${cidr} is not an address or a CIDR such as 10.0.0.0/8`
    throw new CloakroomError('CONFIG_INVALID', { faults: 1, first })
  })
  return {
    has(address) {
      const bits = bitsOf(address)
      if (bits === undefined) return false
      return ranges.some(range => range.width === bits.width && bits.value >> range.shift === range.first)
    },
  }
}

function parseCidr(text: string): Range | undefined {
  const match = /^([^/]+?)(?:\/(0|[1-9][0-9]{0,2}))?$/.exec(text)
  const bits = bitsOf(match?.[1] ?? '')
  if (bits === undefined) return undefined
  const prefix = match?.[2] === undefined ? bits.width : Number(match[2])
  if (prefix > bits.width) return undefined
  const shift = BigInt(bits.width - prefix)
  // 10.1.2.3/8 is more likely a mistake than a wish for 10.0.0.0/8.
  if ((bits.value >> shift) << shift !== bits.value) return undefined
  return { width: bits.width, first: bits.value >> shift, shift }
}

function bitsOf(address: string): Bits | undefined {
  const version = isIP(address)
  if (version === 4) return { width: 32, value: join(address.split('.').map(Number), 8n) }
  const groups = version === 6 ? ipv6Groups(address.toLowerCase()) : undefined
  return groups === undefined ? undefined : { width: 128, value: join(groups, 16n) }
}

function join(parts: readonly number[], width: bigint): bigint {
  return parts.reduce((sum, part) => (sum << width) | BigInt(part), 0n)
}
