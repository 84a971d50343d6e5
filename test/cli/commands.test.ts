/**
 * The commands as people and scripts run them: the real binary, once without a sidecar and once with one.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { aPlace, aRunningSidecar, cloakroom, type Place } from '../support/cli.ts'
import { aDirectory } from '../support/directory.ts'
import { findLeaks, makeCanary } from '../support/oracle.ts'

const TARGET = ['--target', 'https://api.example.com']
const CANARY = makeCanary('acme', 'stripe')

const POLICY = `version: 1
callers:
  - id: local
    identify: { source: loopback }
    tenants: ['*']
rules:
  - id: example
    callers: [local]
    target: https://api.example.com
    methods: [GET]
    paths: [/v1/**]
    swap:
      - secrets: ['*/stripe']
        in: [header.authorization]
tests:
  - given: { caller: local, request: 'GET https://api.example.com/v1/a', swap: acme/stripe in header.authorization }
    expect: { decision: allow, rule: example }
  - given: { caller: local, request: 'GET https://api.example.com/admin' }
    expect: { decision: deny }
`

t.test('exits 2 and says what is wrong for every kind of wrong usage', async t => {
  const wrong: [args: string[], says: RegExp][] = [
    [['secrte', 'list'], /unknown command 'secrte' \(Did you mean secret\?\)/],
    [['secret', 'lst'], /unknown command 'lst' \(Did you mean list\?\)/],
    [['secret', 'list', '--tenent', 'acme'], /unknown option '--tenent'/],
    [['secret', 'put'], /missing required argument/],
    [['init', 'a', 'b'], /too many arguments/],
    [['env', '--format', 'xml'], /Allowed choices are sh, dotenv, json, docker, k8s/],
    [['exec'], /missing required argument/],
    [['completion', 'tcsh'], /must be bash, zsh or fish/],
    [['run', 'now'], /too many arguments/],
    [['audit', 'verfy'], /unknown command/],
  ]

  const results = await Promise.all(wrong.map(([args]) => cloakroom(args)))

  for (const [i, { code, out, err }] of results.entries()) {
    const [args, says] = wrong[i] ?? [[], /-/]
    t.equal(code, 2, args.join(' '))
    t.equal(out, '')
    t.match(err, /^cloakroom: error CLI_USAGE: /)
    t.match(err, says)
    t.match(err, /\nhint: /)
  }
})

t.test('shows help for the program, a group and a command on stdout, and exits 0', async t => {
  const asked = [['--help'], ['help'], ['secret', '--help'], ['secret', 'put', '--help'], ['help', 'secret']]

  for (const { code, out, err } of await Promise.all(asked.map(args => cloakroom(args)))) {
    t.equal(code, 0)
    t.match(out, /^Usage: cloakroom/)
    t.equal(err, '')
  }
  const none = await cloakroom([])
  t.equal(none.code, 2, 'no command is wrong usage')
  t.match(none.err, /^Usage: cloakroom/)
})

t.test('says what it tried when there is no configuration, as text and as JSON', async t => {
  const cwd = aDirectory(t)

  const text = await cloakroom(['secret', 'list'], { cwd })
  const json = await cloakroom(['secret', 'list', '--json'], { cwd })

  t.equal(text.code, 1)
  t.match(text.err, /error CONFIG_NOT_FOUND: .*cloakroom\.yaml/)
  t.match(JSON.parse(json.err), { error: { code: 'CONFIG_NOT_FOUND', hint: /init/ } })
  t.equal(json.out, '')
})

t.test('lists every fault of a configuration with its place', async t => {
  const directory = aDirectory(t, { 'cloakroom.yaml': 'proxi: {}\nops: { listen: nowhere }\n' })

  const { code, err } = await cloakroom(['--config', directory, 'status'])

  t.equal(code, 1)
  t.match(err, /error CONFIG_INVALID: 2 faults/)
  t.match(err, /cloakroom\.yaml:1:1: unknown key "proxi"\n +hint: did you mean "proxy"\?/)
  t.match(err, /cloakroom\.yaml:2:16: ops\.listen/)
})

t.test('exits 3 for what only a running sidecar can do', async t => {
  const place = await aPlace(t)
  const args = [['status'], ['reload'], ['halt'], ['halt', '--lift', '--tenant', 'acme']]

  for (const { code, err } of await Promise.all(args.map(one => place.run(one)))) {
    t.equal(code, 3)
    t.match(err, /error CLI_UNREACHABLE/)
  }
})

// Every command on secrets, run one after the other; the same twice.
async function secretStory(t: Test, place: Place): Promise<string> {
  const seen: string[] = []
  const run = async (args: string[], input?: string) => {
    const result = await place.run(args, input === undefined ? {} : { input })
    seen.push(result.out, result.err)
    return result
  }

  const put = await run(['secret', 'put', 'acme/stripe', ...TARGET, '--shape', 'sk_live_'], `${CANARY}\n`)
  t.equal(put.code, 0, put.err)
  t.match(put.out, /^sk_live_xclk_r[0-9A-Za-z]{28}\n$/)

  const again = await run(['--json', 'secret', 'put', 'acme/stripe'], `${CANARY}v2`)
  t.match(JSON.parse(again.out), {
    secret: 'acme/stripe',
    version: 2,
    placeholder: put.out.trim(),
    targets: ['https://api.example.com:443'],
  })
  const wide = await run(['secret', 'put', 'acme/stripe', '--target', 'https://b.example.com'], CANARY)
  t.equal(wide.code, 1)
  t.match(wide.err, /SECRET_TARGETS_WIDENED.*\n.*--widen/)
  await run(['secret', 'put', 'acme/two', ...TARGET], CANARY)
  const two = ['secret', 'put', 'acme/two', '--target', 'https://b.example.com']
  t.match((await run([...two, '--widen'], CANARY)).err, /api\.example\.com:443 https:\/\/b\.example\.com:443/)
  t.match((await run(two, CANARY)).err, /SECRET_TARGETS_NARROWED.*api\.example\.com.*\n.*--narrow/)
  t.match((await run([...two, '--narrow'], CANARY)).err, /\nremoved: https:\/\/api\.example\.com:443\n/)
  t.equal((await run(['secret', 'delete', 'acme/two', '--yes'])).code, 0)
  t.equal((await run(['secret', 'rotate', 'acme/stripe'], CANARY)).code, 0)
  t.equal((await run(['secret', 'placeholder', 'acme/stripe'])).out, put.out)

  const list = await run(['secret', 'list'])
  t.match(list.out, /acme\/stripe +3 +active +https:\/\/api\.example\.com:443/)
  t.match((await run(['secret', 'get', 'acme/stripe'])).out, /state +active/)
  t.equal(JSON.parse((await run(['secret', 'versions', 'acme/stripe', '--json'])).out).length, 3)
  for (const [command, state] of [
    ['disable', 'disabled'],
    ['enable', 'active'],
    ['revoke', 'revoked'],
  ] as const) {
    t.match((await run(['secret', command, 'acme/stripe'])).out, `acme/stripe is ${state}`)
  }
  const lines = [
    { secret: 'globex/a', value: CANARY, targets: ['https://a.example.com'] },
    {
      secret: 'globex/b',
      valueBase64: Buffer.from(CANARY).toString('base64'),
      targets: ['https://a.example.com'],
    },
  ]
  const imported = await run(['secret', 'import'], lines.map(line => JSON.stringify(line)).join('\n'))
  t.equal(imported.out.trim().split('\n').length, 2, imported.err)
  t.equal(JSON.parse((await run(['secret', 'list', '--tenant', 'globex', '--json'])).out).length, 2)

  t.equal((await run(['secret', 'delete', 'acme/stripe'])).code, 2, 'nobody can be asked')
  t.equal((await run(['secret', 'delete', 'acme/stripe', '--yes'])).code, 0)
  t.equal((await run(['secret', 'get', 'acme/stripe'])).code, 1)
  for (const secret of ['globex/a', 'globex/b']) await run(['secret', 'delete', secret, '--yes'])
  return seen.join('')
}

t.test('keeps secrets without a sidecar, and shows no value on the way', async t => {
  const place = await aPlace(t)

  const seen = await secretStory(t, place)

  t.same(findLeaks(seen, CANARY), [])
  const audit = readFileSync(join(place.directory, 'state/audit.jsonl'), 'utf8')
  t.match(audit, '"secret_put"')
  t.same(findLeaks(audit, CANARY), [])
})

t.test('keeps secrets through a running sidecar, and stops it with exit 0', async t => {
  const place = await aPlace(t, POLICY)
  const sidecar = await aRunningSidecar(t, place)

  const seen = await secretStory(t, place)
  const status = await place.run(['status', '--json'])
  const second = await place.run(['--set', 'admin.socket=state/other.sock', 'secret', 'list'])
  const code = await sidecar.stop()

  t.same(findLeaks(seen + sidecar.log(), CANARY), [])
  const { proxy, ops } = sidecar.addresses
  t.match(JSON.parse(status.out), { addresses: { proxy, ops }, policy: { rules: 1 }, halted: [] })
  t.equal(second.code, 1)
  t.match(second.err, /STORAGE_LOCKED/)
  t.equal(code, 0)
  t.match(sidecar.log(), /"message":"ready".*"proxy":"127\.0\.0\.1:[0-9]+"/)
  t.match(sidecar.log(), /"message":"stopped","reason":"SIGTERM"/)
})

t.test('refuses values on the command line, empty ones and unfit ones', async t => {
  const place = await aPlace(t)
  const put = (...more: string[]) => ['secret', 'put', 'acme/a', ...TARGET, ...more]

  const results = await Promise.all([
    place.run([...put(), CANARY]),
    place.run(put('--value', CANARY)),
    place.run(put(`--value=${CANARY}`)),
    place.run(put(), { input: '' }),
    place.run(put(), { input: '\n' }),
    place.run(put('--file', '/no/such/file')),
    place.run(put('--expires', 'soon'), { input: CANARY }),
    place.run(['secret', 'put', 'acme', ...TARGET], { input: CANARY }),
  ])
  const short = await place.run(put(), { input: 'short' })
  const control = await place.run(put(), { input: `${CANARY}\r\nX-Evil: 1` })

  for (const { code, err } of results) {
    t.equal(code, 2, err)
    t.same(findLeaks(err, CANARY), [], 'what was given is not repeated')
  }
  for (const { code, err } of [short, control]) {
    t.equal(code, 1)
    t.match(err, /SECRET_INVALID/)
  }
  t.equal(JSON.parse((await place.run(['secret', 'list', '--json'])).out).length, 0)
})

t.test('takes one final newline off a value, and no other', async t => {
  const place = await aPlace(t)
  const file = join(place.directory, 'value')
  writeFileSync(file, `${CANARY}\n`)

  const fromFile = await place.run(['secret', 'put', 'acme/a', ...TARGET, '--file', file])
  const two = await place.run(['secret', 'put', 'acme/b', ...TARGET], { input: `${CANARY}\n\n` })

  t.equal(fromFile.code, 0, fromFile.err)
  t.equal(two.code, 1, 'a newline that stays is a control character')
})

t.test('names the line of an import that is wrong, and stores nothing of it', async t => {
  const place = await aPlace(t)
  const good = JSON.stringify({ secret: 'acme/a', value: CANARY, targets: ['https://a.example.com'] })
  const bad = [
    `{"secret":"acme/b","value":"${CANARY}"`,
    '{"secret":"acme/b"}',
    '{"secret":"acme/b","value":"x","more":1}',
  ]

  for (const line of bad) {
    const { code, err } = await place.run(['secret', 'import', '-'], { input: `${good}\n\n${line}\n` })

    t.equal(code, 2)
    t.match(err, /line 3: /)
    t.same(findLeaks(err, CANARY), [])
  }
  t.equal(JSON.parse((await place.run(['secret', 'list', '--json'])).out).length, 0)
})
