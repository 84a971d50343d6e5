/**
 * The configuration: where it is found, what overrides what, and that every fault is told with its place.
 */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { minutes, seconds } from '../../src/base/clock.ts'
import { CloakroomError } from '../../src/base/errors.ts'
import { kib } from '../../src/base/size.ts'
import { formatConfigFault, instanceOfHost, loadConfig, readConfig } from '../../src/config/load.ts'
import { OPTIONS, variableOf } from '../../src/config/table.ts'
import { aDirectory } from '../support/directory.ts'

function aFile(t: Test, text: string): string {
  return join(aDirectory(t, { 'cloakroom.yaml': text }), 'cloakroom.yaml')
}

function faultsOf(file: string, request: { env?: Record<string, string>; set?: string[] } = {}): string[] {
  const read = readConfig({ flag: file, env: {}, ...request })
  return read.kind === 'faults'
    ? read.faults.map(fault => formatConfigFault(fault).replaceAll(`${dirname(file)}/`, ''))
    : []
}

t.test('tells every fault of a file at once, with line, column and what was meant', async t => {
  const file = aFile(
    t,
    [
      'proxy: { lisen: 127.0.0.1:3128, maxConnections: 0 }',
      'ops: { listen: example.com:9464 }',
      'store:',
      '  kind: postgres',
      '  maxStale: 60',
      'limits:',
      '  requestHead: 32KB',
      'admn: { socket: a }',
      '',
    ].join('\n'),
  )

  const faults = faultsOf(file)

  t.same(faults, [
    'cloakroom.yaml:1:10: proxy: unknown key "lisen"\n  hint: did you mean "listen"?',
    'cloakroom.yaml:1:49: proxy.maxConnections: is not a whole number from 1 to 100000',
    'cloakroom.yaml:2:16: ops.listen: is not IP:PORT such as 127.0.0.1:3128 or [::1]:3128 (port 0: any free one)',
    'cloakroom.yaml:4:9: store.kind: is not supported by this version; it is a word of a later one',
    'cloakroom.yaml:5:13: store.maxStale: expected text, found a number',
    'cloakroom.yaml:7:16: limits.requestHead: is not a size such as 512B, 32KiB, 1MiB or 2GiB',
    'cloakroom.yaml:8:1: unknown key "admn"\n  hint: did you mean "admin"?',
  ])
})

t.test('throws CONFIG_INVALID with the first fault and all of them as its cause', async t => {
  const file = aFile(t, 'proxy: { listen: nowhere }\nops: { listen: nowhere }\n')

  t.throws(() => loadConfig({ flag: file, env: {} }), {
    code: 'CONFIG_INVALID',
    details: { faults: 2 },
    cause: { faults: { length: 2 } },
  })
})

t.test('names the variable or the flag when the fault came from outside the file', async t => {
  const file = aFile(t, '')

  const faults = faultsOf(file, {
    env: { CLOAKROOM_OPS_LISTEN: 'nowhere', CLOAKROOM_PROXY_LISTN: 'x', CLOAKROOM_LIMITS_HEADERS: 'many' },
    set: ['log.level=loud', 'log.levle=info', 'nonsense'],
  })

  t.same(faults, [
    '--set log.level: log.level: expected "debug" | "info" | "warn" | "error" | "silent", found "loud"'.replaceAll(
      ' | ',
      ' or ',
    ),
    'CLOAKROOM_LIMITS_HEADERS: limits.headers: expected a number, found text',
    'CLOAKROOM_OPS_LISTEN: ops.listen: is not IP:PORT such as 127.0.0.1:3128 or [::1]:3128 (port 0: any free one)',
    'CLOAKROOM_PROXY_LISTN: names no option\n  hint: did you mean "CLOAKROOM_PROXY_LISTEN"?',
    '--set log.levle: names no option\n  hint: did you mean "log.level"?',
    '--set nonsense: is not OPTION=VALUE',
  ])
})

t.test('does not take the variables of a Kubernetes Service named cloakroom for options', async t => {
  const file = aFile(t, '')

  const faults = faultsOf(file, {
    env: {
      CLOAKROOM_PORT: 'tcp://10.0.0.1:3128',
      CLOAKROOM_PORT_3128_TCP_ADDR: '10.0.0.1',
      CLOAKROOM_SERVICE_HOST: '10.0.0.1',
      CLOAKROOM_SERVICE_PORT_PROXY: '3128',
    },
  })

  t.same(faults, [])
})

t.test('refuses a configuration without a required audit sink', async t => {
  const none = aFile(t, 'audit: { sinks: [] }\n')
  const optional = aFile(t, 'audit: { sinks: [{ kind: stdout, required: false }] }\n')

  for (const file of [none, optional]) {
    t.match(faultsOf(file)[0], 'at least one sink must be required')
  }
})

t.test('refuses two listeners on one address, and a socket path that the system cannot hold', async t => {
  const file = aFile(t, `ops: { listen: 127.0.0.1:3128 }\nadmin: { socket: ${'a'.repeat(120)}.sock }\n`)

  const faults = faultsOf(file)

  t.equal(faults.length, 2)
  t.match(faults[0], /cloakroom.yaml:1:16: ops.listen: 127.0.0.1:3128 is the address of proxy.listen too/)
  t.match(faults[1], /cloakroom.yaml:2:18: admin.socket: the path of the socket has [0-9]+ bytes/)
})

t.test('tells what it tried when there is no configuration', async t => {
  const cwd = aDirectory(t)

  t.throws(() => loadConfig({ env: {}, cwd, flag: 'missing.yaml' }), {
    code: 'CONFIG_NOT_FOUND',
    details: { tried: 'missing.yaml' },
  })
  t.throws(() => loadConfig({ env: { CLOAKROOM_CONFIG: 'gone.yaml' }, cwd }), {
    code: 'CONFIG_NOT_FOUND',
    details: { tried: 'gone.yaml' },
  })
})

t.test(
  'finds the file by flag, then variable, then ./cloakroom.yaml, then ./.cloakroom/cloakroom.yaml',
  async t => {
    const cwd = aDirectory(t, {
      'cloakroom.yaml': 'log: { level: warn }',
      '.cloakroom/cloakroom.yaml': 'log: { level: error }',
      'flag/cloakroom.yaml': 'log: { level: debug }',
      'variable.yaml': 'log: { level: silent }',
      'empty/.cloakroom/cloakroom.yaml': 'log: { level: error }',
    })
    const env = { CLOAKROOM_CONFIG: 'variable.yaml' }

    t.equal(loadConfig({ flag: 'flag/cloakroom.yaml', env, cwd }).log.level, 'debug')
    t.equal(
      loadConfig({ flag: 'flag', env, cwd }).log.level,
      'debug',
      'a directory stands for its cloakroom.yaml',
    )
    t.equal(loadConfig({ env, cwd }).log.level, 'silent')
    t.equal(loadConfig({ env: {}, cwd }).log.level, 'warn')
    t.equal(loadConfig({ env: {}, cwd: join(cwd, 'empty') }).log.level, 'error')
  },
)

t.test('lets a flag win over a variable and a variable over the file', async t => {
  const file = aFile(t, 'limits: { idle: 1s, dns: 1s, tls: 1s }\n')
  const env = { CLOAKROOM_LIMITS_DNS: '2s', CLOAKROOM_LIMITS_TLS: '2s' }

  const { limits } = loadConfig({ flag: file, env, set: ['limits.tls=3s'] })

  t.same([limits.idle, limits.dns, limits.tls], [seconds(1), seconds(2), seconds(3)])
})

t.test('reads lists, pairs, numbers and addresses from variables', async t => {
  const file = aFile(t, '')
  const env = {
    CLOAKROOM_POLICY_FILES: 'a.yaml, sub/b.yaml',
    CLOAKROOM_UPSTREAM_ALLOW_ADDRESSES: '10.0.0.0/8,fd00::/8',
    CLOAKROOM_UPSTREAM_RESOLVE: 'api.example.com:443=127.0.0.1:8443',
    CLOAKROOM_LIMITS_TUNNELS: '7',
    CLOAKROOM_RELAY_LISTEN: '[::1]:0',
  }

  const config = loadConfig({ flag: file, env })

  t.same(config.policy.files, [join(dirname(file), 'a.yaml'), join(dirname(file), 'sub/b.yaml')])
  t.same(config.upstream.allowAddresses, ['10.0.0.0/8', 'fd00::/8'])
  t.same(config.upstream.resolve, { 'api.example.com:443': '127.0.0.1:8443' })
  t.equal(config.limits.tunnels, 7)
  t.same(config.relay.listen, { host: '::1', port: 0 })
})

t.test('refuses ranges and addresses that are slips of the pen', async t => {
  const bad = [
    '10.0.0.1/8',
    '10.0.0.0/33',
    '10.0.0/8',
    'fd00::1/8',
    'fd00::/129',
    '10.0.0.0',
    '010.0.0.0/8',
    '/8',
  ]

  for (const range of bad) {
    t.equal(faultsOf(aFile(t, `upstream: { allowAddresses: ['${range}'] }`)).length, 1, range)
  }
  for (const address of [
    '127.0.0.1',
    '127.0.0.1:65536',
    '127.0.0.1:-1',
    ':3128',
    'localhost.:1',
    '0x7f.1:1',
  ]) {
    t.equal(faultsOf(aFile(t, `proxy: { listen: '${address}' }`)).length, 1, address)
  }
})

t.test('gives a complete, frozen configuration for an empty file', async t => {
  const file = aFile(t, '')

  const config = loadConfig({ flag: file, env: {} })

  const directory = dirname(file)
  t.equal(config.file, file)
  t.same(config.proxy.listen, { host: '127.0.0.1', port: 3128 })
  t.equal(config.relay.listen, undefined)
  t.equal(config.admin.socket, join(directory, 'state/admin.sock'))
  t.same(config.audit.sinks, [
    { kind: 'file', path: join(directory, 'state/audit.jsonl'), required: true, maxSize: 256 * 1024 * 1024 },
  ])
  t.equal(config.limits.requestHead, kib(32))
  t.equal(config.limits.upstreamHead, minutes(5))
  t.throws(() => Object.assign(config.limits, { idle: 0 }), TypeError)
})

t.test('gives every option a description, a default and a variable of its own', async t => {
  const variables = OPTIONS.flatMap(option => option.variable ?? [])

  t.ok(OPTIONS.length > 50)
  t.equal(new Set(variables).size, variables.length)
  t.equal(variableOf('upstream.certificateAuthorities'), 'CLOAKROOM_UPSTREAM_CERTIFICATE_AUTHORITIES')
  for (const option of OPTIONS) {
    t.ok(option.description.length > 10, option.path)
    t.not(option.byDefault, undefined, option.path)
    t.ok(option.unit, option.path)
  }
})

t.test('names an instance after its host, in the letters that names have', async t => {
  t.equal(instanceOfHost('Web-01.Example.COM'), 'web-01.example.com')
  t.equal(instanceOfHost('__å'), 'cloakroom')
  t.equal(instanceOfHost('a'.repeat(80)).length, 63)
})

t.test('reports a directory or an unreadable thing in place of a file', async t => {
  const directory = aDirectory(t, { 'cloakroom.yaml/inner': '' })

  t.throws(() => loadConfig({ flag: join(directory, 'cloakroom.yaml'), env: {} }), CloakroomError)
})

t.test('ships an annotated example that names every option and changes none', async t => {
  const example = join(import.meta.dirname, '..', '..', 'config', 'cloakroom.yaml')
  const empty = loadConfig({ flag: aFile(t, ''), env: {} })

  const shown = loadConfig({ flag: example, env: {} })

  const relative = (config: typeof shown) => JSON.stringify(config).replaceAll(config.directory, '.')
  t.same(JSON.parse(relative(shown)), JSON.parse(relative(empty)))
  const text = readFileSync(example, 'utf8')
  for (const { path, name } of OPTIONS) t.match(text, new RegExp(`^ +${name}:`, 'm'), path)
})

t.test('a CA file that is not there is a fault of the configuration, with its place', async t => {
  const file = aFile(t, 'upstream:\n  certificateAuthorities: [gone.pem]\n')

  const [fault] = faultsOf(file)

  t.match(fault, /:2:28: upstream\.certificateAuthorities\[0\]: there is no file .*gone\.pem\n {2}hint: /)
})
