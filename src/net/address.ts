/**
 * Kinds of IP address, and the guard that says which may be dialled.
 *
 * Rule of this file: only what is known to be public may be dialled; everything else needs the operator's word
 * (upstream.allowAddresses), and metadata services and our own listeners not even that (rulings.md 7; A10,
 * A14). Every form of an address is brought to one before it is judged: ::ffff:127.0.0.1 is 127.0.0.1.
 */
import { isIP } from 'node:net'
import { formatIpv6, ipv6Groups } from '../model/target.ts'
import { createRanges, type Ranges } from './range.ts'

export const ADDRESS_KINDS = [
  'public',
  'unspecified',
  'loopback',
  'private',
  'carrier',
  'link_local',
  'metadata',
  'unique_local',
  'site_local',
  'multicast',
  'broadcast',
  'documentation',
  'benchmark',
  'embedded_v4',
  'reserved',
  'own_address',
  'own_listener',
  'malformed',
] as const
export type AddressKind = (typeof ADDRESS_KINDS)[number]

// Services that hand out the machine's own credentials. The whole of 169.254.169/24 and 169.254.170/24: AWS, Google,
// Azure, DigitalOcean, OpenStack, ECS and EKS live there, and nothing else does.
const METADATA = createRanges([
  '169.254.169.0/24',
  '169.254.170.0/24',
  '169.254.0.23/32', // Tencent
  '100.100.100.200/32', // Alibaba
  '192.0.0.192/32', // Oracle
  '168.63.129.16/32', // Azure's wire server
  'fd00:ec2::/32', // AWS
  'fd20:ce::254/128', // Google
  'fe80::a9fe:a9fe/128', // OpenStack
])

// The most specific range decides; order is for reading. IANA's special-purpose registries.
const RANGES: readonly (readonly [AddressKind, Ranges])[] = [
  ['broadcast', createRanges(['255.255.255.255/32'])],
  ['unspecified', createRanges(['0.0.0.0/8', '::/128'])],
  ['loopback', createRanges(['127.0.0.0/8', '::1/128'])],
  ['private', createRanges(['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'])],
  ['carrier', createRanges(['100.64.0.0/10'])],
  ['link_local', createRanges(['169.254.0.0/16', 'fe80::/10'])],
  ['unique_local', createRanges(['fc00::/7'])],
  ['site_local', createRanges(['fec0::/10'])],
  ['multicast', createRanges(['224.0.0.0/4', 'ff00::/8'])],
  [
    'documentation',
    createRanges(['192.0.2.0/24', '198.51.100.0/24', '203.0.113.0/24', '2001:db8::/32', '3fff::/20']),
  ],
  ['benchmark', createRanges(['198.18.0.0/15', '2001:2::/48'])],
  [
    'embedded_v4',
    createRanges(['::/96', '::ffff:0:0:0/96', '64:ff9b::/96', '64:ff9b:1::/48', '2001::/32', '2002::/16']),
  ],
  [
    'reserved',
    createRanges([
      '192.0.0.0/24',
      '192.88.99.0/24',
      '240.0.0.0/4',
      '100::/64',
      '100:0:0:1::/64',
      '2001::/23',
      '5f00::/16',
    ]),
  ],
]

// Outside 2000::/3 nothing is assigned for use across the Internet (RFC 4291 2.4, IANA).
const GLOBAL_UNICAST = createRanges(['2000::/3'])

/** One spelling for each address: dotted for IPv4 and IPv4-mapped IPv6, RFC 5952 for the rest; undefined when malformed. */
export function normalAddress(ip: string): string | undefined {
  const version = isIP(ip)
  if (version === 4) return ip
  if (version !== 6 || ip.includes('%')) return undefined // zone ids are refused: they name interfaces
  const groups = ipv6Groups(ip.toLowerCase())
  if (groups === undefined) return undefined
  const isMapped = groups.slice(0, 5).every(group => group === 0) && groups[5] === 0xffff
  return isMapped ? dotted(groups[6], groups[7]) : formatIpv6(groups)
}

/** Says what kind of address this is; `malformed` for anything that is not an IP address, zone ids included. */
export function classifyAddress(ip: string): AddressKind {
  const address = normalAddress(ip)
  return address === undefined ? 'malformed' : classifyNormal(address)
}

function classifyNormal(address: string): AddressKind {
  if (METADATA.has(address)) return 'metadata'
  const inside = embeddedIpv4(address)
  if (inside.some(one => METADATA.has(one))) return 'metadata' // NAT64 leads there
  for (const [kind, ranges] of RANGES) if (ranges.has(address)) return kind
  if (inside.length > 0) return 'embedded_v4'
  return address.includes(':') && !GLOBAL_UNICAST.has(address) ? 'reserved' : 'public'
}

/** IPv4 addresses that a translator or tunnel would find in an IPv6 address. */
function embeddedIpv4(address: string): readonly string[] {
  const groups = address.includes(':') ? ipv6Groups(address) : undefined
  if (groups === undefined) return []
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = groups
  if (a === 0x2002) return [dotted(b, c)] // 6to4, RFC 3056
  if (a === 0x2001 && b === 0) return [dotted(c, d), dotted(g ^ 0xffff, h ^ 0xffff)] // Teredo, RFC 4380: server, client
  if (a === 0x64 && b === 0xff9b) return [dotted(g, h)] // NAT64, RFC 6052 and RFC 8215
  if ((e & 0xfdff) === 0 && f === 0x5efe) return [dotted(g, h)] // ISATAP, RFC 5214, under any prefix
  const isZero = a === 0 && b === 0 && c === 0 && d === 0
  if (isZero && (e === 0xffff || e === 0) && f === 0 && g !== 0) return [dotted(g, h)] // RFC 2765; IPv4-compatible
  return []
}

function dotted(high = 0, low = 0): string {
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.')
}

export type Endpoint = { readonly address: string; readonly port: number }

export type AddressGuardOptions = {
  /** CIDRs that the operator allows besides public addresses; a plain address is a CIDR of one. */
  readonly allowAddresses: readonly string[]
  /** What we listen on ourselves; asked anew for each check. */
  readonly ownListeners: () => readonly Endpoint[]
  /** The addresses of this machine's interfaces; asked anew for each check. */
  readonly localAddresses: () => readonly string[]
}

export type AddressCheck =
  | { readonly ok: true; readonly allowed: 'public' | 'by_operator' }
  | { readonly ok: false; readonly kind: AddressKind }

export type AddressGuard = {
  /** Says whether this very address and port may be dialled. */
  check(ip: string, port: number): AddressCheck
}

/**
 * Makes the guard of all outbound connections (SECURITY I5).
 *
 * @throws CONFIG_INVALID when a CIDR is malformed.
 */
export function createAddressGuard(options: AddressGuardOptions): AddressGuard {
  const allowed = createRanges(options.allowAddresses)
  return {
    check(ip, port) {
      const address = normalAddress(ip)
      if (address === undefined) return { ok: false, kind: 'malformed' }
      const kind = classifyNormal(address)
      if (kind === 'metadata') return { ok: false, kind }
      const local = new Set(options.localAddresses().map(one => normalAddress(one)))
      if (isOwnListener(address, port, options.ownListeners(), local))
        return { ok: false, kind: 'own_listener' }
      if (allowed.has(address)) return { ok: true, allowed: 'by_operator' }
      if (local.has(address)) return { ok: false, kind: 'own_address' }
      return kind === 'public' ? { ok: true, allowed: 'public' } : { ok: false, kind }
    },
  }
}

// A10. A listener on all addresses is reached by every address of this machine; one on a single address also by the
// unspecified one, which the kernel dials as loopback, and by a translator that leads back here.
function isOwnListener(
  address: string,
  port: number,
  listeners: readonly Endpoint[],
  local: ReadonlySet<string | undefined>,
): boolean {
  const reached = [address, ...embeddedIpv4(address)]
  return listeners.some(listener => {
    if (listener.port !== port) return false
    const bound = normalAddress(listener.address)
    const isEverywhere = bound === '0.0.0.0' || bound === '::'
    return reached.some(one => {
      const kind = classifyNormal(one)
      const isHere = kind === 'unspecified' || kind === 'loopback' || local.has(one)
      return one === bound || kind === 'unspecified' || (isEverywhere && isHere)
    })
  })
}
