/**
 * Our certificates in the eyes of other TLS libraries: OpenSSL, Python (strict), GnuTLS, Go and Java.
 *
 * Each case needs a program: where it is missing the case is skipped by name, and in CI it fails.
 */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/base/clock.ts'
import { createAuthority, loadAuthority } from '../../src/tls/authority.ts'
import { createLeafCache } from '../../src/tls/leaf-cache.ts'
import { createTerminator } from '../../src/tls/terminate.ts'
import { appTrust } from '../../src/tls/trust.ts'
import { trustStorePkcs12 } from '../../src/tls/trust-store.ts'
import { withPrograms } from './support/needs.ts'

const run = promisify(execFile)
const directory = mkdtempSync(join(tmpdir(), 'certificates-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))

const HOSTS = {
  name: 'api.example.test',
  underscore: 'my_host.example.test',
  long: `${'a'.repeat(60)}.${'b'.repeat(60)}.example.test`,
  four: '127.0.0.1',
  six: '[::1]',
}
const made = createAuthority({ commonName: 'Cloakroom interop', clock: systemClock })
const authority = loadAuthority({ ...made, clock: systemClock, file: 'ca.pem' })
const ca = place('ca.pem', made.certificatePem)

function place(name: string, content: string | Buffer): string {
  const path = join(directory, name)
  writeFileSync(path, content)
  return path
}

/** Serves one HTTP answer inside TLS as `host`, and tells the port. */
async function aSite(t: Test, host: string): Promise<number> {
  const leafCache = createLeafCache({ authority, clock: systemClock })
  const terminator = createTerminator({ leafCache, clock: systemClock })
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    terminator
      .terminate(socket, host)
      .then(secured =>
        secured.once('data', () =>
          secured.end('HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nwelcome'),
        ),
      )
      .catch(() => socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const address = server.address()
  return address !== null && typeof address === 'object' ? address.port : 0
}

/** Runs a program; its output, or what it said when it failed. */
async function said(program: string, args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await run(program, args, { timeout: 100_000 })
    return stdout
  } catch (cause) {
    return `failed: ${String(cause)}`
  }
}

withPrograms(['openssl'], 'openssl verify -x509_strict accepts every leaf', async t => {
  for (const [kind, host] of Object.entries(HOSTS)) {
    const leaf = place(`${kind}.pem`, authority.mint(host).certificatePem)
    t.match(
      await said('openssl', ['verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', ca, leaf]),
      /: OK\n$/,
      kind,
    )
  }
})

withPrograms(
  ['openssl'],
  'openssl verify refuses a leaf outside of the name constraints of its CA',
  async t => {
    const bound = createAuthority({
      commonName: 'Bound',
      clock: systemClock,
      nameConstraints: ['api.example.test', '*.shop.test', '192.0.2.1'],
    })
    const minter = loadAuthority({ ...bound, clock: systemClock, file: 'bound.pem' })
    const boundCa = place('bound.pem', bound.certificatePem)
    const verdict = async (host: string) => {
      const leaf = place('bound-leaf.pem', minter.mint(host).certificatePem)
      return said('openssl', ['verify', '-x509_strict', '-CAfile', boundCa, leaf])
    }

    for (const host of ['api.example.test', 'a.shop.test', '192.0.2.1'])
      t.match(await verdict(host), /: OK\n$/, host)
    for (const host of ['evil.test', 'example.test', '192.0.2.2', '[::1]'])
      t.match(await verdict(host), /failed/, host)
  },
)

const PYTHON = `
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
context.verify_flags |= ssl.VERIFY_X509_STRICT
with socket.create_connection(('127.0.0.1', int(sys.argv[2]))) as raw:
    with context.wrap_socket(raw, server_hostname=sys.argv[3]) as tls:
        tls.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
        print(tls.recv(1000).decode().split()[-1])
`

withPrograms(['python3'], 'Python with VERIFY_X509_STRICT accepts names and addresses', async t => {
  for (const host of [HOSTS.name, HOSTS.four]) {
    const port = await aSite(t, host)
    t.equal((await said('python3', ['-c', PYTHON, ca, String(port), host])).trim(), 'welcome', host)
  }
  const port = await aSite(t, HOSTS.four)
  t.match(await said('python3', ['-c', PYTHON, ca, String(port), 'localhost']), /failed/)
})

withPrograms(['wget'], 'GnuTLS, as wget has it, accepts names and addresses', async t => {
  for (const host of ['localhost', '127.0.0.1']) {
    const port = await aSite(t, host)
    const args = ['-q', '-O-', '--no-proxy', `--ca-certificate=${ca}`, `https://${host}:${port}/`]
    t.equal(await said('wget', args), 'welcome', host)
  }
  const port = await aSite(t, '127.0.0.1')
  t.match(await said('wget', ['-q', '-O-', '--no-proxy', `https://127.0.0.1:${port}/`]), /failed/)
})

withPrograms(['curl'], 'curl accepts names and addresses', async t => {
  for (const host of [HOSTS.name, HOSTS.four]) {
    const port = await aSite(t, host)
    const to = `${host}:${port}:127.0.0.1`
    const args = ['-sS', '--noproxy', '*', '--cacert', ca, '--resolve', to, `https://${host}:${port}/`]
    t.equal(await said('curl', args), 'welcome', host)
  }
})

const GO = `package main

import ("crypto/tls"; "crypto/x509"; "fmt"; "os")

func main() {
	pem, _ := os.ReadFile(os.Args[1])
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	for i := 2; i < len(os.Args); i += 2 {
		c, err := tls.Dial("tcp", "127.0.0.1:"+os.Args[i], &tls.Config{RootCAs: pool, ServerName: os.Args[i+1]})
		if err != nil { fmt.Println(err); continue }
		fmt.Println("accepted", os.Args[i+1], c.VerifyHostname(os.Args[i+1]) == nil)
		c.Close()
	}
}
`

withPrograms(['go'], 'Go accepts names and addresses, and refuses another host', async t => {
  const source = place('main.go', GO)
  const ports = [await aSite(t, HOSTS.name), await aSite(t, HOSTS.four), await aSite(t, HOSTS.four)].map(
    String,
  )
  const [byName = '', byAddress = '', wrong = ''] = ports

  const lines = (
    await said('go', ['run', source, ca, byName, HOSTS.name, byAddress, HOSTS.four, wrong, '127.0.0.2'])
  ).split('\n')

  t.equal(lines[0], `accepted ${HOSTS.name} true`)
  t.equal(lines[1], `accepted ${HOSTS.four} true`)
  t.match(lines[2], /127\.0\.0\.2/)
})

const JAVA = `
import java.net.URI;
import java.net.http.*;

public class Visit {
  public static void main(String[] args) throws Exception {
    for (String url : args) {
      try {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
        System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
      } catch (Exception e) { System.out.println("refused " + e.getMessage()); }
    }
  }
}
`

withPrograms(['keytool'], 'Java reads the trust store as certificates to trust', async t => {
  const store = place('list.p12', trustStorePkcs12(appTrust([made.certificatePem]), 'changeit'))
  const listed = await said('keytool', ['-list', '-keystore', store, '-storepass', 'changeit'])

  t.equal(listed.match(/trustedCertEntry/g)?.length, appTrust([made.certificatePem]).length)
  t.match(listed, /cloakroom-0,/)
  t.match(await said('keytool', ['-list', '-keystore', store, '-storepass', 'wrong-one']), /failed/)
})

withPrograms(
  ['java'],
  'Java accepts names and addresses with the trust store, and nothing without it',
  async t => {
    const store = place('trust.p12', trustStorePkcs12(appTrust([made.certificatePem]), 'changeit'))
    const source = place('Visit.java', JAVA)
    const urls = [
      `https://localhost:${await aSite(t, 'localhost')}/`,
      `https://127.0.0.1:${await aSite(t, '127.0.0.1')}/`,
    ]
    const trusting = [`-Djavax.net.ssl.trustStore=${store}`, '-Djavax.net.ssl.trustStorePassword=changeit']

    t.equal(await said('java', [...trusting, source, ...urls]), 'welcome\nwelcome\n')
    t.match(await said('java', [source, ...urls]), /^refused.*\nrefused/)
  },
)
