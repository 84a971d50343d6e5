import { X509Certificate } from 'node:crypto'
import { rootCertificates } from 'node:tls'
import t from 'tap'
import { days, systemClock } from '../../src/base/clock.ts'
import { CloakroomError } from '../../src/base/errors.ts'
import {
  distinguishedName,
  extension,
  formatPem,
  OID,
  signCertificate,
  splitPem,
} from '../../src/tls/certificate.ts'
import { content, decode, items, readOid, sequence, yes } from '../../src/tls/der.ts'
import { classifyHandshakeError, isSilentRejection } from '../../src/tls/handshake.ts'
import { createTickets } from '../../src/tls/tickets.ts'
import { appTrust, bundlePem, loadUpstreamTrust } from '../../src/tls/trust.ts'
import { trustStorePkcs12 } from '../../src/tls/trust-store.ts'
import { anAuthority } from '../support/certificates.ts'
import { manualClock } from '../support/clock.ts'

const fingerprint = (pem: string) => new X509Certificate(pem).fingerprint256

t.test('a file without a certificate, or with a broken one, is refused by name', async t => {
  const good = anAuthority().certificatePem
  for (const pem of ['', 'hello', good.slice(0, 200), good + good.replace(/\n[A-Za-z]{2}/, '\nAA==')]) {
    try {
      loadUpstreamTrust({ certificateAuthorities: [{ file: 'corp.pem', pem }], ownCertificatePem: good })
      t.fail('accepted')
    } catch (cause) {
      t.equal(cause instanceof CloakroomError && cause.code, 'CONFIG_INVALID')
      t.match(String(cause), /corp\.pem/)
    }
  }
})

t.test('our own CA is never trusted upstream, under whatever name', async t => {
  const own = anAuthority()
  const corporate = anAuthority()
  const now = systemClock.now()
  const renamed = formatPem(
    'CERTIFICATE',
    signCertificate(
      {
        issuer: distinguishedName('innocent'),
        subject: distinguishedName('innocent'),
        publicKey: new X509Certificate(own.certificatePem).publicKey,
        notBefore: now,
        notAfter: now + days(1),
        extensions: [extension(OID.basicConstraints, true, sequence(yes()))],
      },
      own.privateKey,
    ),
  )

  const trust = loadUpstreamTrust({
    certificateAuthorities: [
      { file: 'a.pem', pem: `${corporate.certificatePem}${own.certificatePem}` },
      { file: 'b.pem', pem: renamed },
    ],
    ownCertificatePem: own.certificatePem,
  })

  const extra = trust.pems.slice(rootCertificates.length)
  t.same(extra.map(fingerprint), [fingerprint(corporate.certificatePem)])
})

t.test('a predecessor of our CA is not trusted either', async t => {
  const [before, after] = [anAuthority(), anAuthority()]

  const trust = loadUpstreamTrust({
    certificateAuthorities: [{ file: 'a.pem', pem: before.certificatePem }],
    ownCertificatePem: after.certificatePem + before.certificatePem,
  })

  t.equal(trust.pems.length, rootCertificates.length)
})

t.test('upstreams must speak TLS 1.2 at least, and the public roots are trusted', async t => {
  const trust = loadUpstreamTrust({
    certificateAuthorities: [],
    ownCertificatePem: anAuthority().certificatePem,
  })
  const native = trust.secureContext.context as { getMinProto(): number }

  t.equal(native.getMinProto(), 0x0303)
  t.same(trust.pems, rootCertificates)
})

t.test('the bundle of the app holds the public roots, the private ones and our CA, once each', async t => {
  const own = anAuthority().certificatePem
  const corporate = anAuthority().certificatePem

  const pems = splitPem(bundlePem([corporate, own, own, rootCertificates[0] ?? '']))

  t.equal(pems.length, rootCertificates.length + 2)
  t.same(pems.slice(-2).map(fingerprint), [fingerprint(corporate), fingerprint(own)])
})

t.test('the trust store holds every certificate as one that Java trusts', async t => {
  const pems = appTrust([anAuthority().certificatePem])

  const root = decode(trustStorePkcs12(pems, 'changeit'))

  const [version, authenticated, mac] = items(root)
  t.same(content(version), Buffer.of(3))
  const contents = decode(content(items(items(authenticated)[1])[0]))
  const [data] = items(contents)
  const bags = items(decode(content(items(items(data)[1])[0])))
  t.equal(bags.length, pems.length)
  const aliases = new Set<string>()
  for (const [i, bag] of bags.entries()) {
    const [, certBag, attributes] = items(bag)
    const der = content(items(items(items(certBag)[0])[1])[0])
    const [name, trusted] = items(attributes)
    if (new X509Certificate(der).fingerprint256 !== fingerprint(pems[i] ?? '')) t.fail(`certificate ${i}`)
    aliases.add(content(items(items(name)[1])[0]).toString('latin1'))
    if (readOid(items(trusted)[0]) !== '2.16.840.1.113894.746875.1.1') t.fail(`attribute of ${i}`)
  }
  t.equal(aliases.size, pems.length)
  t.equal(content(items(items(mac)[0])[1]).length, 32)
})

t.test('ticket keys are renewed by age, keep one predecessor, and every good ticket is renewed', async t => {
  const clock = manualClock()
  const native = { enableTicketKeyCallback: () => undefined } as {
    enableTicketKeyCallback: () => void
    onticketkeycallback?: (name: Buffer, iv: Buffer, isNew: boolean) => unknown[]
  }
  createTickets(clock).apply({ context: native })
  const issue = () => native.onticketkeycallback?.(Buffer.alloc(16), Buffer.alloc(16), true)[3] as Buffer
  const accept = (name: Buffer) => native.onticketkeycallback?.(name, Buffer.alloc(16), false)[0]

  const first = issue()
  t.equal(accept(first), 2)
  t.equal(accept(Buffer.alloc(16)), 0)
  clock.advance(12 * 3_600_000)
  const second = issue()
  t.notSame(second, first)
  t.equal(accept(first), 2)
  clock.advance(12 * 3_600_000)
  t.equal(accept(second), 2)
  t.equal(accept(first), 0)
  clock.advance(48 * 3_600_000)
  t.equal(accept(second), 0)
})

t.test('a Node without the ticket callback shares keys in the documented way', async t => {
  let keys: Buffer = Buffer.alloc(0)
  createTickets(manualClock()).apply({ context: { setTicketKeys: (given: Buffer) => (keys = given) } })

  t.equal(keys.length, 48)
})

t.test('the ends of handshakes have names from a closed set', async t => {
  const named = (code: string) => classifyHandshakeError(Object.assign(new Error('x'), { code }))

  t.equal(named('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA'), 'unknown_ca')
  t.equal(named('ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_UNKNOWN'), 'bad_certificate')
  t.equal(named('ERR_SSL_NO_SHARED_CIPHER'), 'no_cipher')
  t.equal(named('ECONNRESET'), 'reset')
  t.equal(named('__proto__'), 'other')
  t.equal(named('constructor'), 'other')
  t.equal(classifyHandshakeError('text'), 'other')
})

t.test('silence is taken for a refusal only when it is short and complete', async t => {
  t.equal(isSilentRejection({ handshake: 2, openFor: 5, bytesRead: 0 }), true)
  t.equal(isSilentRejection({ handshake: 2, openFor: 5, bytesRead: 1 }), false)
  t.equal(isSilentRejection({ handshake: 2, openFor: 101, bytesRead: 0 }), false)
  t.equal(isSilentRejection({ handshake: 200, openFor: 1999, bytesRead: 0 }), true)
  t.equal(isSilentRejection({ handshake: 9000, openFor: 5001, bytesRead: 0 }), false)
})
