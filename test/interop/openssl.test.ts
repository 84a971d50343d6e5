/**
 * The handshake with callers as `openssl s_client` sees it through CONNECT: versions, names, protocols and resumption.
 */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { aDirectory } from '../support/directory.ts'
import { handshakesOf, watchDistrust } from './support/distrust.ts'
import { pathOf, withPrograms } from './support/needs.ts'
import { type Ran, runProgram } from './support/process.ts'
import { ADDRESS, aSite, CREDENTIAL, NAME, recordFrom, recordsOf } from './support/site.ts'

const site = await aSite(t)

/** A tunnel by s_client, and one request in it when `request` is given. */
function sClient(args: readonly string[], { request = '', host = NAME } = {}): Promise<Ran> {
  const fixed = ['s_client', '-proxy', site.sidecar.addresses.proxy, '-connect', `${host}:443`]
  const trust = ['-verify_return_error', '-x509_strict']
  const ca = args.includes('-CAfile') ? [] : ['-CAfile', site.variables.SSL_CERT_FILE ?? '']
  // -ign_eof keeps it until the server closes; without a request the end of stdin ends it.
  const stay = request === '' ? [] : ['-ign_eof']
  return runProgram([pathOf('openssl'), ...fixed, ...trust, ...ca, ...stay, ...args], { input: request })
}

function getRequest(host = NAME): string {
  const lines = [`Host: ${host}`, `Authorization: Bearer ${site.placeholder}`, 'Connection: close']
  return ['GET /v1/things HTTP/1.1', ...lines, '', ''].join('\r\n')
}

function test(name: string, body: (t: Test) => Promise<void>): void {
  withPrograms(['openssl'], name, body)
}

test('TLS 1.1 is not spoken', async t => {
  const ran = await sClient(['-tls1_1', '-cipher', 'ALL:@SECLEVEL=0'])

  t.not(ran.code, 0)
  t.match(ran.said, /alert protocol version/)
  t.match(await handshakesOf(site.sidecar), { protocol_version: 1 })
})

test('another name than that of the tunnel is refused with an alert', async t => {
  const ran = await sClient(['-servername', 'else.example.test'])

  t.not(ran.code, 0)
  t.match(ran.said, /alert unrecognized name|unrecognized name/)
  t.notMatch(ran.said, 'BEGIN CERTIFICATE')
  t.match(await handshakesOf(site.sidecar), { sni_mismatch: 1 })
})

test('HTTP/2 alone is refused with an alert, and next to HTTP/1.1 it is not chosen', async t => {
  const alone = await sClient(['-alpn', 'h2'])
  const both = await sClient(['-alpn', 'h2,http/1.1'])

  t.match(alone.said, /alert no application protocol/)
  t.match(both.said, 'ALPN protocol: http/1.1')
  t.match(await handshakesOf(site.sidecar), { no_protocol: 1 })
})

test('a CA that it does not trust is told by an alert', async t => {
  const shownSince = await watchDistrust(site.sidecar)

  const ran = await sClient(['-CAfile', site.distrusting.SSL_CERT_FILE ?? ''])

  t.not(ran.code, 0)
  t.equal(await shownSince(), 'unknown_ca')
})

for (const version of ['tls1_2', 'tls1_3']) {
  for (const host of [NAME, ADDRESS]) {
    test(`${version} to ${host}: the certificate is strict, the answer is redacted`, async t => {
      const name = host === NAME ? ['-verify_hostname', host] : ['-noservername', '-verify_ip', host]

      const ran = await sClient([`-${version}`, ...name], { host, request: getRequest(host) })

      t.equal(ran.code, 0, ran.said)
      t.match(ran.out, 'Verify return code: 0 (ok)')
      t.match(ran.out, `"authorization":"Bearer ${site.placeholder}"`)
      t.notMatch(ran.said, CREDENTIAL)
    })
  }

  test(`${version}: a session is resumed`, async t => {
    const file = join(aDirectory(t), 'session')

    const first = await sClient([`-${version}`, '-sess_out', file], { request: getRequest() })
    const second = await sClient([`-${version}`, '-sess_in', file], { request: getRequest() })

    t.match(first.out, /^New, TLS/m)
    t.match(second.out, /^Reused, TLS/m)
    t.match(second.out, `"authorization":"Bearer ${site.placeholder}"`)
  })
}

test('the caller is known by the password that s_client sends with CONNECT', async t => {
  const before = recordsOf(site.place).length
  const [, user = '', password = ''] = /\/\/(.+):(.+)@/.exec(site.withPassword.HTTPS_PROXY ?? '') ?? []

  const ran = await sClient(['-proxy_user', user, '-proxy_pass', `pass:${password}`], {
    request: getRequest(),
  })

  t.equal(ran.code, 0, ran.said)
  const record = await recordFrom(
    site.place,
    before,
    ({ event, caller }) => event === 'outcome' && caller === 'billing',
  )
  t.match(record, { status: 200 })
})
