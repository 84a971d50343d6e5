/**
 * What stands in our certificates, read back by node:crypto and by OpenSSL's chain check inside Node.
 */
import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { days, hours } from '../../src/base/clock.ts'
import { CloakroomError } from '../../src/base/errors.ts'
import { createAuthority, loadAuthority } from '../../src/tls/authority.ts'
import {
  distinguishedName,
  extension,
  formatPem,
  KEY_USAGE,
  keyIdentifier,
  keyUsage,
  OID,
  readAuthority,
  signCertificate,
  splitPem,
} from '../../src/tls/certificate.ts'
import { type Der, octets, sequence, yes } from '../../src/tls/der.ts'
import { anAuthority, aServerCertificate } from '../support/certificates.ts'
import { manualClock } from '../support/clock.ts'

const clock = manualClock()

function whyRefused(load: () => unknown): string {
  try {
    load()
  } catch (cause) {
    if (!(cause instanceof CloakroomError) || cause.code !== 'TLS_AUTHORITY_INVALID') throw cause
    return cause.message
  }
  return 'accepted'
}

/** A self-signed certificate of a P-256 key with any extensions. */
function aCertificate(extensions: (identifier: Buffer) => readonly Der[], lifetime = days(1)) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const name = distinguishedName('faulty CA')
  const now = clock.now()
  const der = signCertificate(
    {
      issuer: name,
      subject: name,
      publicKey,
      notBefore: now,
      notAfter: now + lifetime,
      extensions: extensions(keyIdentifier(publicKey)),
    },
    privateKey,
  )
  return { certificatePem: formatPem('CERTIFICATE', der), privateKey, clock, file: 'ca.pem' }
}

const isCa = extension(OID.basicConstraints, true, sequence(yes()))
const signs = keyUsage(KEY_USAGE.certSign)
const ski = (identifier: Buffer) => extension(OID.subjectKeyIdentifier, false, octets(identifier))

t.test('a certificate that cannot be a CA is refused by file and fault', async t => {
  const leafLike = keyUsage(KEY_USAGE.digitalSignature)
  const notCa = extension(OID.basicConstraints, true, sequence())

  const refused = {
    notCa: whyRefused(() => loadAuthority(aCertificate(id => [notCa, signs, ski(id)]))),
    noConstraints: whyRefused(() => loadAuthority(aCertificate(id => [signs, ski(id)]))),
    noCertSign: whyRefused(() => loadAuthority(aCertificate(id => [isCa, leafLike, ski(id)]))),
    noKeyUsage: whyRefused(() => loadAuthority(aCertificate(id => [isCa, ski(id)]))),
    noIdentifier: whyRefused(() => loadAuthority(aCertificate(() => [isCa, signs]))),
    expired: whyRefused(() => loadAuthority(aCertificate(id => [isCa, signs, ski(id)], -1000))),
  }

  t.match(refused.notCa, /ca\.pem.*not the certificate of a CA/)
  t.match(refused.noConstraints, /ca\.pem.*not the certificate of a CA/)
  t.match(refused.noCertSign, /ca\.pem.*keyUsage/)
  t.match(refused.noKeyUsage, /ca\.pem.*keyUsage/)
  t.match(refused.noIdentifier, /ca\.pem.*subject key identifier/)
  t.match(refused.expired, /ca\.pem.*expired/)
  t.equal(
    whyRefused(() => loadAuthority(aCertificate(id => [isCa, signs, ski(id)]))),
    'accepted',
  )
})

t.test('a key that is not the one of the certificate, or of another kind, is refused', async t => {
  const made = createAuthority({ commonName: 'CA', clock })
  const other = createAuthority({ commonName: 'CA', clock })
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })

  const swapped = whyRefused(() => loadAuthority({ ...made, privateKey: other.privateKey, clock, file: 'f' }))
  const kind = whyRefused(() => loadAuthority({ ...made, privateKey: rsa.privateKey, clock, file: 'f' }))

  t.match(swapped, /does not belong/)
  t.match(kind, /P-256/)
})

t.test('what is not a certificate is refused, wherever it was cut', async t => {
  const made = createAuthority({ commonName: 'CA', clock })

  for (let end = 0; end < made.certificatePem.length - 26; end += 7) {
    const certificatePem = made.certificatePem.slice(0, end)
    t.match(
      whyRefused(() => loadAuthority({ ...made, certificatePem, clock, file: 'f' })),
      /not a certificate/,
    )
  }
})

t.test('a CA from the future is refused with a hint at the clock', async t => {
  const made = createAuthority({ commonName: 'CA', clock: manualClock(clock.now() + days(2)) })

  t.match(
    whyRefused(() => loadAuthority({ ...made, clock, file: 'f' })),
    /clock/,
  )
})

t.test('an expired CA mints nothing, and no leaf outlives its CA', async t => {
  const moving = manualClock()
  const { authority } = anAuthority({ clock: moving })

  moving.advance(days(360))
  const late = authority.mint('api.example.test')
  moving.advance(days(5))

  t.equal(late.notAfter, authority.notAfter)
  t.equal(new X509Certificate(late.certificatePem).validToDate.getTime(), authority.notAfter)
  t.match(
    whyRefused(() => authority.mint('api.example.test')),
    /expired/,
  )
})

t.test('the CA lasts a year, is for leaves only, and its name is its own', async t => {
  const made = createAuthority({ commonName: 'Cloakroom', clock })
  const certificate = new X509Certificate(made.certificatePem)
  const fields = readAuthority(made.certificatePem)

  t.equal(certificate.ca, true)
  t.equal(certificate.validToDate.getTime() - clock.now(), days(365))
  t.equal(clock.now() - certificate.validFromDate.getTime(), hours(1))
  t.equal(fields?.keyUsage, KEY_USAGE.certSign | KEY_USAGE.crlSign)
  t.equal(fields?.subjectKeyIdentifier?.length, 20)
  t.match(certificate.subject, /^CN=Cloakroom [0-9a-f]{8}$/)
  t.not(
    certificate.subject,
    new X509Certificate(createAuthority({ commonName: 'Cloakroom', clock }).certificatePem).subject,
  )
})

t.test('a leaf is for exactly one host, for seven days, for servers, and can sign nothing', async t => {
  const { authority, certificatePem } = anAuthority({ clock })
  const ca = new X509Certificate(certificatePem)

  const leaf = authority.mint('api.example.test')

  const [own = '', ...chain] = splitPem(leaf.certificatePem)
  const certificate = new X509Certificate(own)
  t.same(chain, splitPem(certificatePem))
  t.equal(certificate.subjectAltName, 'DNS:api.example.test')
  t.equal(certificate.subject, 'CN=api.example.test')
  t.equal(certificate.ca, false)
  t.same(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1']) // Node's name for extended key usage
  t.equal(readAuthority(own)?.keyUsage, KEY_USAGE.digitalSignature)
  t.equal(readAuthority(own)?.subjectKeyIdentifier, undefined)
  t.equal(certificate.validToDate.getTime() - clock.now(), days(7))
  t.ok(certificate.verify(ca.publicKey))
  t.ok(certificate.checkIssued(ca)) // issuer, AKI against SKI, key usage
  t.ok(certificate.raw.includes(Buffer.from(authority.keyId, 'hex')))
  t.ok(certificate.publicKey.equals(createPublicKey(leaf.privateKey)))
})

t.test('a leaf matches its host and no other', async t => {
  const { authority } = anAuthority({ clock })
  const certificate = new X509Certificate(authority.mint('api.example.test').certificatePem)

  for (const other of [
    'example.test',
    'x.api.example.test',
    'xapi.example.test',
    'api.example.test.evil.test',
  ])
    t.equal(certificate.checkHost(other), undefined, other)
  t.equal(certificate.checkHost('API.example.test'), 'api.example.test')
})

t.test('an address stands in the certificate as an address', async t => {
  const { authority } = anAuthority({ clock })

  const four = new X509Certificate(authority.mint('127.0.0.1').certificatePem)
  const six = new X509Certificate(authority.mint('[2001:db8::1]').certificatePem)

  t.equal(four.subjectAltName, 'IP Address:127.0.0.1')
  t.equal(six.subjectAltName, 'IP Address:2001:DB8:0:0:0:0:0:1')
  t.equal(four.checkHost('127.0.0.1'), undefined)
  t.notOk(four.subject)
})

t.test('a host too long for a common name leaves the subject empty', async t => {
  const { authority } = anAuthority({ clock })
  const fits = `${'a'.repeat(59)}.test`
  const long = `${'a'.repeat(60)}.test`

  t.equal(new X509Certificate(authority.mint(fits).certificatePem).subject, `CN=${fits}`)
  const nameless = new X509Certificate(authority.mint(long).certificatePem)
  t.notOk(nameless.subject)
  t.equal(nameless.checkHost(long), long)
})

t.test('serials are positive, sixteen octets and never the same', async t => {
  const { authority } = anAuthority({ clock })

  const serials = Array.from(
    { length: 200 },
    () => new X509Certificate(authority.mint('a.test').certificatePem).serialNumber,
  )

  t.equal(new Set(serials).size, 200)
  for (const serial of serials) t.match(serial, /^[4-7][0-9A-F]{31}$/)
})

t.test('any host that a target may have gets a certificate that matches it', async () => {
  const { authority } = anAuthority({ clock })
  const label = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?$/)

  fc.assert(
    fc.property(fc.array(label, { minLength: 2, maxLength: 6 }), labels => {
      const host = [...labels, 'test'].join('.')
      const certificate = new X509Certificate(authority.mint(host).certificatePem)
      return certificate.checkHost(host) === host && certificate.subjectAltName === `DNS:${host}`
    }),
    { numRuns: 50 },
  )
})

t.test('name constraints stand in the CA as a critical extension', async t => {
  const plain = createAuthority({ commonName: 'CA', clock })
  const bound = createAuthority({
    commonName: 'CA',
    clock,
    nameConstraints: ['api.example.test', '*.x.test'],
  })
  const critical = Buffer.from('0603551d1e0101ff', 'hex') // OID 2.5.29.30, TRUE

  t.notOk(new X509Certificate(plain.certificatePem).raw.includes(critical))
  const { raw } = new X509Certificate(bound.certificatePem)
  t.ok(raw.includes(critical))
  t.ok(raw.includes(Buffer.from('\x82\x10api.example.test', 'latin1')))
  t.ok(raw.includes(Buffer.from('\x82\x06x.test', 'latin1'))) // a constraint covers the names below it
  t.ok(raw.includes(Buffer.from([0x87, 8, 0, 0, 0, 0, 0, 0, 0, 0]))) // and every address is excluded
})

t.test('a server certificate is not taken for a CA', async t => {
  const { certificatePem, privateKey } = aServerCertificate(anAuthority({ clock }))

  t.match(
    whyRefused(() => loadAuthority({ certificatePem, privateKey, clock, file: 'f' })),
    /not the certificate of a CA/,
  )
})
