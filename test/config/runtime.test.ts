/**
 * What speaks against running: old releases, dangerous flags in both places where they can stand, dangerous variables.
 */
import t from 'tap'
import { isPatched, type Runtime, splitOptions, unsafeRuntime } from '../../src/config/runtime.ts'

const SAFE: Runtime = { version: 'v24.18.1', flags: [], env: {}, ownPreloads: ['/opt/register.mjs'] }

const DANGEROUS = [
  '--inspect',
  '--inspect=0.0.0.0:9229',
  '--inspect-brk',
  '--inspect-wait',
  '--inspect-port=9229',
  '--inspect-publish-uid=http',
  '--debug-port=9229',
  '--allow-inspector',
  '--experimental-network-inspection',
  '--insecure-http-parser',
  '--insecure_http_parser',
  '--tls-keylog=/tmp/keys',
  '--tls_keylog=/tmp/keys',
  '--tls-min-v1.0',
  '--tls-min-v1.1',
  '--tls-cipher-list=ALL',
  '--openssl-legacy-provider',
  '--openssl-config=/tmp/x',
  '--openssl-shared-config',
  '--experimental-config-file=/tmp/x.json',
  '--experimental-config-file',
  '--experimental-default-config-file',
  '--env-file=/tmp/.env',
  '--env-file',
  '--env-file-if-exists=/tmp/.env',
  '--security-revert=CVE-2023-46809',
  '--heapsnapshot-signal=SIGUSR2',
  '--heapsnapshot-near-heap-limit=1',
  '--heap-prof',
  '--heap-prof-dir=/tmp',
  '--cpu-prof',
  '--cpu-prof-dir=/tmp',
  '--prof',
  '--abort-on-uncaught-exception',
  '--build-snapshot',
  '--snapshot-blob=x',
  '--report-on-signal',
  '--report-on-fatalerror',
  '--report-uncaught-exception',
  '--trace-tls',
  '--trace-event-categories=node.http',
  '--trace-env',
  '--import=./evil.mjs',
  '--require=./evil.cjs',
  '-r=./evil.cjs',
  '--loader=./evil.mjs',
  '--experimental-loader=./evil.mjs',
  '--expose-internals',
  '--allow-natives-syntax',
  '--watch',
  '--unhandled-rejections=none',
]

const HARMLESS = [
  '--max-old-space-size=192',
  '--max-old-space-size-percentage=75',
  '--disable-sigusr1',
  '--enable-source-maps',
  '--disable-proto=throw',
  '--frozen-intrinsics',
  '--no-warnings',
  '--no-insecure-http-parser',
  '--tls-min-v1.3',
  '--use-system-ca',
  '--import=/opt/register.mjs',
]

for (const flag of DANGEROUS) {
  t.test(`refuses ${flag}, as a flag and in NODE_OPTIONS`, async t => {
    const asFlag = unsafeRuntime({ ...SAFE, flags: [flag] })
    const asOption = unsafeRuntime({ ...SAFE, env: { NODE_OPTIONS: `--no-warnings ${flag}` } })

    t.equal(asFlag.length, 1)
    t.equal(asOption.length, 1)
    t.match(asFlag[0], { code: 'CONFIG_UNSAFE_RUNTIME' })
    t.match(asOption[0]?.what, /^NODE_OPTIONS with -/)
    t.notMatch(`${asFlag[0]?.what} ${asFlag[0]?.why}`, /tmp|evil|CVE/, 'a value is not repeated')
  })
}

t.test('lets harmless flags pass, in both places', async t => {
  t.same(unsafeRuntime({ ...SAFE, flags: HARMLESS }), [])
  t.same(unsafeRuntime({ ...SAFE, env: { NODE_OPTIONS: HARMLESS.join(' ') } }), [])
})

t.test('refuses flags whose value is the next argument, or that hide behind quotes', async t => {
  t.equal(unsafeRuntime({ ...SAFE, flags: ['--import', './evil.mjs', '--inspect'] }).length, 2)
  t.equal(unsafeRuntime({ ...SAFE, flags: ['--import', '/opt/register.mjs'] }).length, 0)
  t.equal(unsafeRuntime({ ...SAFE, env: { NODE_OPTIONS: '"--inspect" --no-warnings' } }).length, 1)
  t.equal(unsafeRuntime({ ...SAFE, env: { NODE_OPTIONS: '--ins"pect"' } }).length, 1)
  t.same(splitOptions('a  "b c" d\\e "f\\"g"'), ['a', 'b c', 'd\\e', 'f"g'])
})

t.test('refuses variables that print headers, save keys, turn checks off or reconfigure OpenSSL', async t => {
  const refused = {
    NODE_TLS_REJECT_UNAUTHORIZED: '0',
    SSLKEYLOGFILE: 'x',
    NODE_DEBUG: 'http',
    NODE_DEBUG_NATIVE: 'tls',
    OPENSSL_CONF: '/tmp/openssl.cnf',
    OPENSSL_CONF_INCLUDE: '/tmp',
    OPENSSL_MODULES: '/tmp',
    OPENSSL_ENGINES: '/tmp',
  }
  const ignored = {
    NODE_TLS_REJECT_UNAUTHORIZED: '1',
    NODE_DEBUG: '',
    OPENSSL_CONF: '',
    NODE_EXTRA_CA_CERTS: 'ca.pem',
    SSL_CERT_FILE: 'ca.pem',
    HTTPS_PROXY: 'http://127.0.0.1:3128',
  }

  for (const [name, value] of Object.entries(refused)) {
    t.match(unsafeRuntime({ ...SAFE, env: { [name]: value } }), [{ what: `the variable ${name}` }])
  }
  t.same(unsafeRuntime({ ...SAFE, env: ignored }), [])
})

t.test('refuses releases without the security fixes, and lines that never got them', async t => {
  const old = ['v18.20.8', 'v20.20.2', 'v22.30.0', 'v24.0.0', 'v24.18.0', 'v25.9.9', 'v26.5.0', '', 'banana']
  const good = ['v24.18.1', 'v24.19.0', 'v24.21.0', 'v26.5.1', 'v26.10.0', 'v27.0.0', 'v28.1.0']

  for (const version of old) t.notOk(isPatched(version), version)
  for (const version of good) t.ok(isPatched(version), version)
  t.match(unsafeRuntime({ ...SAFE, version: 'v20.20.2' }), [{ code: 'CONFIG_RUNTIME_TOO_OLD' }])
})

t.test('reports everything that is wrong, not only the first', async t => {
  const problems = unsafeRuntime({
    ...SAFE,
    version: 'v20.0.0',
    flags: ['--inspect'],
    env: { NODE_OPTIONS: '--tls-keylog=x', NODE_DEBUG: 'tls' },
  })

  t.equal(problems.length, 4)
})
