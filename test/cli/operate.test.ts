/**
 * The commands around secrets: policy, callers, reload, halt, audit, CA; by the real binary.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { EMPTY_CHAIN, linkRecord } from '../../src/audit/chain.ts'
import { encodeIntents, encodeOutcome } from '../../src/audit/encode.ts'
import type { ErrorCode } from '../../src/base/errors.ts'
import type { Reason } from '../../src/model/decision.ts'
import { exchange, keys, swap } from '../audit/fixtures.ts'
import { aPlace, aRunningSidecar, cloakroom } from '../support/cli.ts'
import { makeCanary } from '../support/oracle.ts'

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

t.test('checks, tests and explains the policy', async t => {
  const place = await aPlace(t, POLICY)
  const broken = join(place.directory, 'broken.yaml')
  writeFileSync(broken, 'version: 1\nruls: []\ncallers: [{ id: A }]\n')
  const failing = join(place.directory, 'failing.yaml')
  writeFileSync(failing, POLICY.replace('decision: deny', 'decision: allow'))
  const asks = ['policy', 'explain', '--swap', 'acme/stripe in header.authorization']

  const [check, people, test, bad, wrong, allow, deny, unclear, nobody] = await Promise.all([
    place.run(['policy', 'check', '--json']),
    place.run(['policy', 'check']),
    place.run(['policy', 'test']),
    place.run(['policy', 'check', broken]),
    place.run(['policy', 'check', failing]),
    place.run([...asks, 'GET', 'https://api.example.com/v1/a', '--json']),
    place.run([...asks, 'GET https://api.example.com/admin']),
    place.run(['policy', 'explain', 'api.example.com']),
    place.run([...asks, '--caller', 'nobody', 'GET', 'https://api.example.com/v1/a']),
  ])

  t.match(JSON.parse(check.out), { rules: 1, callers: 1, tests: 2 })
  t.match(people.out, 'ok: 1 rule, 1 caller, 2 tests passed')
  t.match(test.out, /:19:5: ok: |: ok: local GET/)
  t.equal(bad.code, 1)
  t.match(bad.err, /broken\.yaml:2:1: unknown key "ruls"\n +hint: did you mean "rules"\?/)
  t.match(bad.err, /broken\.yaml:3:/)
  t.equal(wrong.code, 1)
  t.match(wrong.err, /POLICY_TESTS_FAILED.*\n.*FAILED: local GET/)
  t.match(JSON.parse(allow.out), { decision: 'allow', rule: 'example', swaps: [{ secret: 'acme/stripe' }] })
  t.match(deny.out, /deny by .*path_not_allowed/)
  t.equal(unclear.code, 2)
  t.equal(nobody.code, 2)
})

t.test('explains a request of the audit log: the record leads, and a refusal stays a denial', async t => {
  const place = await aPlace(t, POLICY)
  const file = join(place.directory, 'state/audit.jsonl')
  const asked = {
    caller: 'local',
    tenant: 'acme',
    rule: 'example',
    target: 'https://api.example.com:443',
    method: 'GET',
    path: '/v1/a',
    swaps: [],
    sent: false,
    intended: false,
  }
  const denied = (error: ErrorCode, reason: Reason) => ({
    outcome: { kind: 'denied', status: 403, error, source: 'policy', reason } as const,
  })
  const refused = { secret: 'acme/stripe', placeholder: 'xclk_r…Q3xZ', in: 'header.x-other' }
  const sent = exchange({ ...asked, swaps: [swap], ...denied('SWAP_REFUSED_IN_BODY', 'body_placeholder') })
  const ids = ['1', '2', '3'].map(digit => `01J${digit.repeat(23)}`)
  const [misplaced = '', damaged = '', body = ''] = ids
  const records = [
    encodeOutcome(
      exchange({
        ...asked,
        request: misplaced,
        refused: [refused],
        ...denied('SWAP_REFUSED', 'placeholder_misplaced'),
      }),
    ),
    encodeOutcome(
      exchange({
        ...asked,
        request: damaged,
        refused: [{ placeholder: '…' }],
        ...denied('SWAP_REFUSED', 'placeholder_damaged'),
      }),
    ),
    ...encodeIntents({ ...sent, request: body }),
    encodeOutcome({ ...sent, request: body, sent: true, intended: true }),
  ]
  let after = EMPTY_CHAIN
  const lines = records.map(members => {
    const linked = linkRecord(members, { after, time: '2026-11-23T00:00:00.000Z', instance: '"pod"' })
    after = linked.head
    return `${linked.line}\n`
  })
  mkdirSync(join(place.directory, 'state'), { recursive: true, mode: 0o700 })
  writeFileSync(file, lines.join(''), { mode: 0o600 })

  const tail = await place.run(['audit', 'tail'])
  const [first, second, third, json, unknown] = await Promise.all([
    ...ids.map(id => place.run(['policy', 'explain', id])),
    place.run(['policy', 'explain', body, '--json']),
    place.run(['policy', 'explain', `01J${'9'.repeat(23)}`]),
  ])

  t.match(
    tail.out.split('\n')[0],
    /^2026-11-23T\S+Z 1 refused 01J1{23} local 403 placeholder_misplaced GET https:\/\/api\.example\.com:443\/v1\/a acme\/stripe in header\.x-other$/,
  )
  t.match(first?.out, /^recorded at 2026-11-23.*: denied, SWAP_REFUSED, placeholder_misplaced\n/)
  t.match(first?.out, 'xclk_r…Q3xZ in header.x-other: acme/stripe')
  t.match(first?.out, 'deny by example: placeholder_misplaced')
  t.notMatch(first?.out, /by itself|policy explain/)
  t.match(second?.out, /denied, SWAP_REFUSED, placeholder_damaged\n {2}what stands there is not a whole/)
  t.notMatch(second?.out, 'by itself')
  t.match(third?.out, /body_placeholder\n {2}the body holds a placeholder.*\n {2}hint: send the placeholder/)
  t.match(third?.out, 'by itself, the policy as it is now says: allow by example')
  t.match(JSON.parse(json?.out ?? ''), {
    decision: 'deny',
    reason: 'body_placeholder',
    now: { decision: 'allow' },
  })
  t.equal(unknown?.code, 1)
})

t.test('makes callers whose passwords are shown once, in force at once', async t => {
  const place = await aPlace(t, POLICY)
  const sidecar = await aRunningSidecar(t, place)

  const refused = await place.run(['caller', 'add', 'billing'])
  const added = await place.run(['caller', 'add', 'billing', '--tenant', 'acme', '--json'])
  const list = await place.run(['caller', 'list'])
  const rotated = await place.run(['caller', 'rotate', 'billing', '--json'])
  const finished = await place.run(['caller', 'rotate', 'billing', '--finish'])
  const revoked = await place.run(['caller', 'revoke', 'billing'])
  const revived = await place.run(['caller', 'rotate', 'billing'])
  const after = await place.run(['caller', 'list', '--json'])

  t.equal(refused.code, 2)
  const { password, proxy } = JSON.parse(added.out)
  t.match(proxy, `http://billing:${password}@127.0.0.1:3128`)
  t.match(list.out, /billing +1 password +acme/)
  t.not(JSON.parse(rotated.out).password, password)
  t.match(finished.out, '1 older password ended')
  t.equal(revoked.code, 0, revoked.err)
  t.equal(revived.code, 2, 'a revoked caller stays revoked')
  t.match(revived.err, 'caller billing is revoked')
  t.match(JSON.parse(after.out), [
    { caller: 'local' },
    { caller: 'billing', passwords: 0, tenants: ['acme'] },
  ])
  t.notMatch(sidecar.log(), password)
  t.notMatch(readFileSync(join(place.directory, 'state/audit.jsonl'), 'utf8'), password)
})

t.test('reloads on request and on SIGHUP, and keeps the last good policy', async t => {
  const place = await aPlace(t, POLICY)
  const sidecar = await aRunningSidecar(t, place)
  const file = join(place.directory, 'policy.yaml')

  writeFileSync(file, `${POLICY}nonsense: 1\n`)
  const bad = await place.run(['reload'])
  writeFileSync(file, POLICY.replace('id: example', 'id: renamed').replace('rule: example', 'rule: renamed'))
  const good = await place.run(['reload', '--json'])
  sidecar.child.kill('SIGHUP')
  const status = await place.run(['status', '--json'])

  t.equal(bad.code, 1)
  t.match(bad.err, /POLICY_INVALID.*\n.*nonsense/)
  t.equal(good.code, 0)
  t.equal(JSON.parse(status.out).policy.hash, JSON.parse(good.out).hash)
  t.equal(await sidecar.stop('SIGINT'), 0)
})

t.test('halts and lifts, and tells what is halted', async t => {
  const place = await aPlace(t, POLICY)
  await aRunningSidecar(t, place)

  const two = await place.run(['halt', '--tenant', 'acme', '--secret', 'acme/a'])
  const halted = await place.run(['halt', '--secret', 'acme/stripe'])
  const status = await place.run(['status', '--json'])
  const other = await place.run(['halt', '--lift', '--secret', 'acme/other'])
  const everything = await place.run(['halt', '--lift'])
  const lifted = await place.run(['halt', '--lift', '--secret', 'acme/stripe', '--json'])

  t.equal(two.code, 2)
  t.equal(halted.out, 'halted: secret acme/stripe\n')
  t.same(JSON.parse(status.out).halted, ['secret acme/stripe'])
  t.equal(other.code, 1)
  t.match(halted.err, 'no such secret; halted all the same')
  t.equal(everything.code, 1)
  t.match(everything.out, 'there was no halt of everything')
  t.match(everything.err, 'still halted: secret acme/stripe')
  t.match(JSON.parse(lifted.out), { lifted: true, inForce: [] })
})

t.test('tells a halt of what does not exist from one of what does, and lifts them all at once', async t => {
  const place = await aPlace(t, POLICY)
  await aRunningSidecar(t, place)
  await place.run(['secret', 'put', 'acme/stripe', ...TARGET], { input: CANARY })

  const misused = await place.run(['halt', '--all'])
  const secret = await place.run(['halt', '--secret', 'acme/stripe', '--json'])
  const tenant = await place.run(['halt', '--tenant', 'acme', '--json'])
  const slip = await place.run(['halt', '--tenant', 'amce', '--json'])
  const lifted = await place.run(['halt', '--lift', '--all', '--json'])
  const again = await place.run(['halt', '--lift', '--all'])
  const status = await place.run(['status', '--json'])

  t.equal(misused.code, 2)
  t.match(JSON.parse(secret.out), { known: true })
  t.match(JSON.parse(tenant.out), { known: true })
  t.match(JSON.parse(slip.out), { scope: 'tenant amce', known: false })
  t.match(slip.err, 'no such tenant')
  t.match(JSON.parse(lifted.out), { lifted: true, inForce: [] })
  t.equal(again.code, 1)
  t.same(JSON.parse(status.out).halted, [])
})

t.test('finds nothing good in an audit log that is empty or gone', async t => {
  const place = await aPlace(t)
  const file = join(place.directory, 'state/audit.jsonl')

  const gone = await place.run(['audit', 'verify'])
  writeFileSync(file, '', { mode: 0o600 })
  const empty = await place.run(['audit', 'verify'])

  t.equal(gone.code, 1)
  t.match(gone.err, 'there is no log')
  t.equal(empty.code, 1)
  t.match(empty.err, 'the log is empty')
})

t.test('verifies the audit log, and finds a changed record by file and line', async t => {
  const place = await aPlace(t)
  await place.run(['secret', 'put', 'acme/a', ...TARGET], { input: CANARY })
  const file = join(place.directory, 'state/audit.jsonl')

  const good = await place.run(['audit', 'verify'])
  const report = await place.run(['audit', 'verify', '--json'])
  const { last } = JSON.parse(report.out)
  const anchored = await place.run(['audit', 'verify', '--anchor', `${last.seq}:${last.hash}`])
  const tail = await place.run(['audit', 'tail', '-n', '2', '--json'])
  const container = await place.run(['env', '--format', 'k8s'])
  const notes = await place.run(['audit', 'tail', '-n', '9'])
  const slip = await place.run(['secret', 'put', 'acme/b', '--target', 'nonsense'], { input: CANARY })
  const foreign = join(place.directory, 'foreign.pem')
  writeFileSync(foreign, keys.publicKey.export({ type: 'spki', format: 'pem' }))
  const wrongKey = await place.run(['audit', 'verify', '--public-key', foreign])
  const noKey = await place.run(['audit', 'verify', '--public-key', `${foreign}.gone`])
  const text = readFileSync(file, 'utf8')
  writeFileSync(file, text.replace('"acme/a"', '"acme/b"'))
  const bad = await place.run(['audit', 'verify'])
  const elsewhere = await place.run(['audit', 'verify', '--anchor', 'nonsense'])

  t.equal(good.code, 0, good.err)
  t.match(good.out, /^[0-9]+ records, unbroken\n/)
  t.equal(anchored.code, 0)
  t.equal(tail.out.trim().split('\n').length, 2)
  t.equal(bad.code, 1)
  t.match(bad.err, /error AUDIT_BROKEN[\s\S]*audit\.jsonl:2: /)
  t.equal(elsewhere.code, 2)
  t.match(notes.out, /Z \d+ secret_put .*acme\/a/)
  t.notMatch(notes.out, /prev=|hash=|signature=/)
  t.match(container.err, /mount the files .*127\.0\.0\.1 is the sidecar only in its own pod/)
  t.notMatch(container.out, 'mount the files')
  t.match(slip.err, /: --target must be https:\/\/HOST/)
  t.notMatch(slip.err, /targets\.0|admin request/)
  t.equal(wrongKey.code, 1)
  t.match(
    wrongKey.err,
    /^cloakroom: error AUDIT_BROKEN: .*no checkpoint is signed with the public key given.*\nhint: /,
  )
  t.match(noKey.err, /foreign\.pem\.gone.*no such file/)
  t.notMatch(noKey.err, /\n +at /)
})

t.test('shows, exports and replaces the CA with an overlap', async t => {
  const place = await aPlace(t)
  const bundle = () =>
    readFileSync(join(place.directory, 'state/trust/ca.pem'), 'utf8').split('BEGIN').length - 1
  const [before] = JSON.parse((await place.run(['ca', 'show', '--json'])).out)

  const early = await place.run(['ca', 'rotate', '--finish'])
  const prepared = await place.run(['ca', 'rotate', '--json'])
  const twice = await place.run(['ca', 'rotate'])
  const trustedDuring = bundle()
  const finished = await place.run(['ca', 'rotate', '--finish'])
  const after = JSON.parse((await place.run(['ca', 'show', '--json'])).out)
  const sidecar = await aRunningSidecar(t, place)

  t.equal(early.code, 2)
  t.equal(prepared.code, 0, prepared.err)
  t.equal(twice.code, 1)
  t.match(twice.err, /a new CA is prepared already.*ca rotate --finish/)
  t.equal(trustedDuring, 2, 'apps trust the CA to come before it is used')
  t.equal(finished.code, 0, finished.err)
  t.match(after, [
    { role: 'current', fingerprint: JSON.parse(prepared.out).fingerprint },
    { role: 'previous', fingerprint: before.fingerprint },
  ])
  t.equal(bundle(), 2, 'the old one stays trusted')
  t.equal(await sidecar.stop(), 0)
})

t.test('exports the CA for each kind of reader', async t => {
  const place = await aPlace(t)
  const out = join(place.directory, 'store.p12')

  const pem = await place.run(['ca', 'export'])
  const bundle = await place.run(['ca', 'export', '--format', 'bundle'])
  const binary = await place.run(['ca', 'export', '--format', 'pkcs12'])
  const file = await place.run(['ca', 'export', '--format', 'pkcs12', '--out', out])
  const dry = await place.run(['ca', 'install', '--dry-run', '--json'])

  t.match(pem.out, /^-----BEGIN CERTIFICATE-----\n/)
  t.ok(bundle.out.split('BEGIN').length > 100)
  t.equal(binary.code, 2)
  t.equal(file.code, 0)
  t.equal(readFileSync(out)[0], 0x30)
  if (dry.code === 0) t.equal(JSON.parse(dry.out).done, false)
})

t.test('prints completion scripts that name every command', async t => {
  const scripts = await Promise.all(['bash', 'zsh', 'fish'].map(shell => cloakroom(['completion', shell])))

  for (const { code, out } of scripts) {
    t.equal(code, 0)
    for (const word of ['init', 'secret', 'placeholder', 'verify', 'doctor']) t.match(out, word)
  }
})

t.test('prints the schema of policy files', async t => {
  const { code, out } = await cloakroom(['policy', 'schema'])

  t.equal(code, 0)
  t.match(JSON.parse(out).properties.version, { const: 1 })
})

t.test('tells its version', async t => {
  const text = await cloakroom(['version'])
  const json = await cloakroom(['version', '--json'])
  const flags = await Promise.all([cloakroom(['--version']), cloakroom(['-V'])])

  t.match(text.out, /^cloakroom \d+\.\d+\.\d+ \(Node\.js \d+\.\d+\.\d+/)
  t.match(JSON.parse(json.out), { version: /^\d/, node: process.versions.node })
  for (const { code, out } of flags) t.same([code, out], [0, text.out])
})
