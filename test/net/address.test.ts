/**
 * Kinds of address at the edges of every range, in every spelling, and what the guard makes of them.
 */
import fc from 'fast-check'
import t from 'tap'
import { CloakroomError } from '../../src/base/errors.ts'
import {
  type AddressKind,
  classifyAddress,
  createAddressGuard,
  normalAddress,
} from '../../src/net/address.ts'
import { createRanges } from '../../src/net/range.ts'

// First and last address of each range, and the public neighbours on both sides where there are any.
const EDGES: Record<string, AddressKind> = {
  '0.0.0.0': 'unspecified',
  '0.255.255.255': 'unspecified',
  '1.0.0.0': 'public',
  '9.255.255.255': 'public',
  '10.0.0.0': 'private',
  '10.255.255.255': 'private',
  '11.0.0.0': 'public',
  '100.63.255.255': 'public',
  '100.64.0.0': 'carrier',
  '100.100.100.199': 'carrier',
  '100.100.100.200': 'metadata',
  '100.100.100.201': 'carrier',
  '100.127.255.255': 'carrier',
  '100.128.0.0': 'public',
  '126.255.255.255': 'public',
  '127.0.0.0': 'loopback',
  '127.255.255.255': 'loopback',
  '128.0.0.0': 'public',
  '168.63.129.15': 'public',
  '168.63.129.16': 'metadata',
  '168.63.129.17': 'public',
  '169.253.255.255': 'public',
  '169.254.0.0': 'link_local',
  '169.254.0.23': 'metadata',
  '169.254.168.255': 'link_local',
  '169.254.169.254': 'metadata',
  '169.254.170.2': 'metadata',
  '169.254.170.23': 'metadata',
  '169.254.171.0': 'link_local',
  '169.254.255.255': 'link_local',
  '169.255.0.0': 'public',
  '172.15.255.255': 'public',
  '172.16.0.0': 'private',
  '172.31.255.255': 'private',
  '172.32.0.0': 'public',
  '191.255.255.255': 'public',
  '192.0.0.0': 'reserved',
  '192.0.0.192': 'metadata',
  '192.0.0.255': 'reserved',
  '192.0.1.0': 'public',
  '192.0.1.255': 'public',
  '192.0.2.0': 'documentation',
  '192.0.2.255': 'documentation',
  '192.0.3.0': 'public',
  '192.88.98.255': 'public',
  '192.88.99.0': 'reserved',
  '192.88.99.255': 'reserved',
  '192.88.100.0': 'public',
  '192.167.255.255': 'public',
  '192.168.0.0': 'private',
  '192.168.255.255': 'private',
  '192.169.0.0': 'public',
  '198.17.255.255': 'public',
  '198.18.0.0': 'benchmark',
  '198.19.255.255': 'benchmark',
  '198.20.0.0': 'public',
  '198.51.99.255': 'public',
  '198.51.100.0': 'documentation',
  '198.51.100.255': 'documentation',
  '198.51.101.0': 'public',
  '203.0.112.255': 'public',
  '203.0.113.0': 'documentation',
  '203.0.113.255': 'documentation',
  '203.0.114.0': 'public',
  '223.255.255.255': 'public',
  '224.0.0.0': 'multicast',
  '239.255.255.255': 'multicast',
  '240.0.0.0': 'reserved',
  '255.255.255.254': 'reserved',
  '255.255.255.255': 'broadcast',
  '8.8.8.8': 'public',
  '::': 'unspecified',
  '::1': 'loopback',
  '::2': 'embedded_v4',
  '::127.0.0.1': 'embedded_v4',
  '::ffff:ffff': 'embedded_v4',
  '::1:0:0': 'reserved',
  '::ffff:127.0.0.1': 'loopback',
  '::ffff:7f00:1': 'loopback',
  '0:0:0:0:0:FFFF:A9FE:A9FE': 'metadata',
  '::ffff:10.0.0.1': 'private',
  '::ffff:8.8.8.8': 'public',
  '::ffff:0:127.0.0.1': 'embedded_v4',
  '64:ff9b::': 'embedded_v4',
  '64:ff9b::8.8.8.8': 'embedded_v4',
  '64:ff9b::169.254.169.254': 'metadata',
  '64:ff9b::ffff:ffff': 'embedded_v4',
  '64:ff9b:1::': 'embedded_v4',
  '64:ff9b:1::a9fe:a9fe': 'metadata',
  '64:ff9b:2::1': 'embedded_v4',
  '100::': 'reserved',
  '100::ffff:ffff:ffff:ffff': 'reserved',
  '100:0:0:1::': 'reserved',
  '1fff:ffff::': 'reserved',
  '2000::': 'public',
  '2000:ffff::': 'public',
  '2001::': 'embedded_v4',
  '2001:0:4136:e378:8000:63bf:3fff:fdd2': 'embedded_v4',
  '2001:0:a9fe:a9fe::': 'metadata',
  '2001:0:4136:e378:8000:63bf:5601:5601': 'metadata',
  '2001:1::1': 'reserved',
  '2001:2::': 'benchmark',
  '2001:10::': 'reserved',
  '2001:20::': 'reserved',
  '2001:1ff:ffff::': 'reserved',
  '2001:200::': 'public',
  '2001:db7:ffff::': 'public',
  '2001:db8::': 'documentation',
  '2001:db8:ffff::1': 'documentation',
  '2001:db9::': 'public',
  '2001:4860:4860::8888': 'public',
  '2001:4860::5efe:7f00:1': 'embedded_v4',
  '2001:4860::200:5efe:808:808': 'embedded_v4',
  '2001:4860::5efe:a9fe:a9fe': 'metadata',
  '2001:ffff::': 'public',
  '2002::': 'embedded_v4',
  '2002:7f00:1::': 'embedded_v4',
  '2002:a9fe:a9fe::1': 'metadata',
  '2002:ffff:ffff::': 'embedded_v4',
  '2003::': 'public',
  '3ffe:ffff::': 'public',
  '3fff::': 'documentation',
  '3fff:fff:ffff::': 'documentation',
  '3fff:1000::': 'public',
  '4000::': 'reserved',
  '5f00::': 'reserved',
  'fbff:ffff::': 'reserved',
  'fc00::': 'unique_local',
  'fd00:ec2::254': 'metadata',
  'fd00:ec2::23': 'metadata',
  'fd20:ce::254': 'metadata',
  'fdff:ffff::': 'unique_local',
  'fe00::': 'reserved',
  'fe80::': 'link_local',
  'fe80::a9fe:a9fe': 'metadata',
  'febf:ffff::': 'link_local',
  'fec0::': 'site_local',
  'feff:ffff::': 'site_local',
  'ff00::': 'multicast',
  'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff': 'multicast',
}

const MALFORMED = [
  '',
  ' ',
  'localhost',
  '127.1',
  '0x7f.1',
  '2130706433',
  '0177.0.0.1',
  '1.2.3',
  '1.2.3.4.5',
  '256.1.1.1',
]
const MORE_MALFORMED = [
  'fe80::1%eth0',
  '::1%1',
  '[::1]',
  '1::2::3',
  '12345::',
  '127.0.0.1:80',
  '1.2.3.4/8',
  '１.2.3.4',
]

const NOBODY = { ownListeners: () => [], localAddresses: () => [] }

t.test('what is not an IP address is malformed', async t => {
  const guard = createAddressGuard({ ...NOBODY, allowAddresses: ['0.0.0.0/0', '::/0'] })
  for (const text of [...MALFORMED, ...MORE_MALFORMED]) {
    t.equal(classifyAddress(text), 'malformed', text)
    t.same(guard.check(text, 443), { ok: false, kind: 'malformed' }, text)
  }
})

t.test('every address at the edge of a range has the kind of its range', async t => {
  for (const [ip, kind] of Object.entries(EDGES)) t.equal(classifyAddress(ip), kind, ip)
})

t.test('without a word of the operator only public addresses pass', async t => {
  const guard = createAddressGuard({ ...NOBODY, allowAddresses: [] })

  for (const [ip, kind] of Object.entries(EDGES)) {
    const expected = kind === 'public' ? { ok: true, allowed: 'public' } : { ok: false, kind }
    t.same(guard.check(ip, 443), expected, ip)
  }
})

t.test('metadata addresses are never dialled, whatever the operator allows, in any spelling', async t => {
  const guard = createAddressGuard({ ...NOBODY, allowAddresses: ['0.0.0.0/0', '::/0', '169.254.169.254'] })

  for (const [ip, kind] of Object.entries(EDGES)) t.equal(guard.check(ip, 443).ok, kind !== 'metadata', ip)
})

t.test('what the operator names passes as such, and its neighbours do not', async t => {
  const guard = createAddressGuard({
    ...NOBODY,
    allowAddresses: ['127.0.0.0/8', '10.1.0.0/16', 'fd12::/16', '::1'],
  })

  for (const ip of ['127.0.0.1', '::ffff:127.9.9.9', '10.1.255.255', 'fd12:1::1', '::1', '0:0:0:0:0:0:0:1'])
    t.same(guard.check(ip, 443), { ok: true, allowed: 'by_operator' }, ip)
  for (const ip of ['10.2.0.0', '10.0.255.255', 'fd13::1', '::127.0.0.1', '64:ff9b::127.0.0.1', '::2'])
    t.equal(guard.check(ip, 443).ok, false, ip)
})

t.test('our own listeners are refused by address and port, in every way that leads to them', async t => {
  const guard = createAddressGuard({
    allowAddresses: ['0.0.0.0/0', '::/0'],
    ownListeners: () => [
      { address: '127.0.0.1', port: 3128 },
      { address: '0.0.0.0', port: 9464 },
      { address: '::', port: 9465 },
      { address: '::1', port: 3129 },
    ],
    localAddresses: () => ['127.0.0.1', '::1', '192.0.2.7', '2001:db8::7'],
  })
  const own: [string, number][] = [
    ['127.0.0.1', 3128],
    ['::ffff:127.0.0.1', 3128],
    ['0.0.0.0', 3128],
    ['::', 3128],
    ['64:ff9b::127.0.0.1', 3128],
    ['127.0.0.1', 9464],
    ['127.5.5.5', 9464],
    ['192.0.2.7', 9464],
    ['0.0.0.0', 9464],
    ['::1', 9465],
    ['2001:db8::7', 9465],
    ['192.0.2.7', 9465],
    ['::ffff:192.0.2.7', 9465],
    ['::1', 3129],
    ['::', 3129],
  ]
  const others: [string, number][] = [
    ['127.0.0.1', 3127],
    ['192.0.2.7', 3128],
    ['192.0.2.8', 9464],
    ['127.0.0.1', 3129],
  ]

  for (const [ip, port] of own)
    t.same(guard.check(ip, port), { ok: false, kind: 'own_listener' }, `${ip} ${port}`)
  for (const [ip, port] of others) t.equal(guard.check(ip, port).ok, true, `${ip} ${port}`)
})

t.test(
  'an address of this machine is refused unless the operator names it, and changes are followed',
  async t => {
    let local: string[] = []
    const options = { ownListeners: () => [], localAddresses: () => local }
    const guard = createAddressGuard({ ...options, allowAddresses: [] })
    const lenient = createAddressGuard({ ...options, allowAddresses: ['93.184.216.34'] })

    t.equal(guard.check('93.184.216.34', 443).ok, true)
    local = ['93.184.216.34']
    t.same(guard.check('93.184.216.34', 443), { ok: false, kind: 'own_address' })
    t.same(lenient.check('::ffff:93.184.216.34', 443), { ok: true, allowed: 'by_operator' })
  },
)

t.test('a range that is not a CIDR is refused at load, by name', async t => {
  for (const cidr of [
    '',
    'x',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/08',
    '10.0.0.0/',
    '10.0.0.1/8',
    '10.0.0.0/-1',
    'fd00::1%1/8',
    '10/8',
  ]) {
    try {
      createAddressGuard({ ...NOBODY, allowAddresses: ['127.0.0.0/8', cidr] })
      t.fail(`accepted ${cidr}`)
    } catch (cause) {
      t.equal(cause instanceof CloakroomError && cause.code, 'CONFIG_INVALID', cidr)
      t.ok(String(cause).includes(cidr))
    }
  }
})

t.test('mapped and plain forms of any IPv4 address are judged alike', async () => {
  const byte = fc.nat(255)
  fc.assert(
    fc.property(byte, byte, byte, byte, (a, b, c, d) => {
      const plain = `${a}.${b}.${c}.${d}`
      const hex = `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`
      const kinds = [plain, `::ffff:${plain}`, `::FFFF:${hex}`, `0:0:0:0:0:ffff:${hex}`].map(classifyAddress)
      return new Set(kinds).size === 1 && normalAddress(`::ffff:${hex}`) === plain
    }),
  )
})

t.test('a range holds exactly the addresses with its prefix', async () => {
  const address = fc.nat(0xffffffff)
  const dotted = (value: number) => [24, 16, 8, 0].map(shift => (value >>> shift) & 255).join('.')
  fc.assert(
    fc.property(address, address, fc.integer({ min: 0, max: 32 }), (a, b, prefix) => {
      const mask = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0
      const ranges = createRanges([`${dotted((a & mask) >>> 0)}/${prefix}`])
      return ranges.has(dotted(b)) === ((a & mask) >>> 0 === (b & mask) >>> 0) && ranges.has(dotted(a))
    }),
  )
})
