/**
 * Compiling: golden messages for every kind of fault, several files as one, and what comes out cannot be changed.
 *
 * test/vectors/policy/*.golden: a policy, a line of dashes, its faults.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { formatFault } from '../../src/base/yaml.ts'
import { compilePolicy, hashTexts } from '../../src/policy/compile.ts'
import { isSharedBase, isSharedByPath } from '../../src/policy/shared-hosts.ts'
import { CALLERS, faultsFrom, policyFrom, STRIPE } from './support.ts'

const VECTORS = join(import.meta.dirname, '..', 'vectors', 'policy')

for (const name of readdirSync(VECTORS).filter(file => file.endsWith('.golden'))) {
  t.test(`says what is wrong: ${name}`, async t => {
    const [input = '', expected = ''] = readFileSync(join(VECTORS, name), 'utf8').split(/^-----\n/m)

    const faults = faultsFrom(input)

    t.ok(faults.length > 0, 'there are faults')
    t.equal(`${faults.join('\n')}\n`, expected)
  })
}

t.test('a name where a list must stand comes with the list that is meant', async t => {
  const [fault] = faultsFrom(STRIPE.replace('callers: [billing, single, pair]', 'callers: billing'))

  t.match(fault, /callers: expected a list, found text\n {2}hint: write a list: \[billing\]/)
})

t.test('puts several files together: callers of one, rules of another', async t => {
  const rules =
    "version: 1\nrules: [{ id: a, callers: [billing], target: 'https://a.example.com', methods: [GET], paths: ['/**'] }]\n"

  const compiled = compilePolicy([
    { file: 'callers.yaml', text: CALLERS },
    { file: 'rules.yaml', text: rules },
  ])

  t.match(compiled, { kind: 'compiled', policy: { rules: [{ id: 'a', written: { file: 'rules.yaml' } }] } })
})

t.test('finds duplicates and disagreements between files, each in its own file', async t => {
  const compiled = compilePolicy([
    { file: 'a.yaml', text: STRIPE.replace('version: 1', 'version: 1\nunmatched: observe') },
    { file: 'b.yaml', text: STRIPE.replace('version: 1', 'version: 1\nunmatched: deny') },
  ])

  t.equal(compiled.kind, 'faults')
  if (compiled.kind !== 'faults') return
  const text = compiled.faults.map(formatFault).join('\n')
  t.match(text, /b\.yaml:2:12: unmatched: another file says otherwise/)
  t.match(text, /b\.yaml:\d+:\d+: callers\[0\]\.id: another caller has this name/)
  t.match(text, /b\.yaml:\d+:\d+: rules\[0\]\.id: another rule has this name/)
  t.match(text, /neither is more specific/)
  t.notMatch(text, /^a\.yaml/m)
})

t.test('the hash covers every byte and every border between files', async t => {
  const one = [
    { file: 'a', text: 'ab' },
    { file: 'b', text: 'c' },
  ]
  const two = [
    { file: 'a', text: 'a' },
    { file: 'b', text: 'bc' },
  ]

  t.not(hashTexts(one), hashTexts(two))
  t.match(hashTexts(one), /^sha256:[0-9a-f]{64}$/)
  t.equal(policyFrom(STRIPE).hash, hashTexts([{ file: 'other-name', text: STRIPE }]))
})

t.test('a compiled policy cannot be changed', async t => {
  const policy = policyFrom(STRIPE)
  const [rule] = policy.rules

  t.ok(Object.isFrozen(policy) && Object.isFrozen(policy.rules) && Object.isFrozen(rule))
  t.ok(Object.isFrozen(rule?.terms) && Object.isFrozen(rule?.swaps) && Object.isFrozen(rule?.target))
  t.ok(Object.isFrozen(policy.callers.get('billing')?.caller))
})

t.test('limits become numbers, and redaction is on unless a rule says no', async t => {
  const policy = policyFrom(
    `${STRIPE}    response: { redact: false }\n    limits: { rate: 120/m, burst: 5, concurrency: 2, upstreamHead: 60s, idle: 5m }\n`,
  )

  t.same(policy.rules[0]?.terms, {
    rule: 'stripe',
    redact: false,
    limits: { rate: 2, burst: 5, concurrency: 2, upstreamHead: 60_000, idle: 300_000 },
    observed: undefined,
  })
  t.match(policyFrom(STRIPE).rules[0]?.terms, { redact: true, limits: undefined })
})

t.test('rules apart by callers, methods or paths stand together', async t => {
  const rules = [
    "{ id: a, callers: [billing], target: 'https://api.example.com', methods: [GET], paths: ['/v1/**'] }",
    "{ id: b, callers: [billing], target: 'https://api.example.com', methods: [POST], paths: ['/v1/**'] }",
    "{ id: c, callers: [billing], target: 'https://api.example.com', methods: [GET, POST], paths: ['/v2/**'] }",
    "{ id: d, callers: [single], target: 'https://api.example.com', methods: [GET, POST], paths: ['/**'] }",
    "{ id: e, callers: [pair], target: 'https://api.example.com', mode: tunnel }",
  ]

  t.same(faultsFrom(`${CALLERS}rules:\n${rules.map(rule => `  - ${rule}\n`).join('')}`), [])
})

t.test('knows the hosts that anybody can get a name on', async t => {
  for (const base of [
    'com',
    'co.uk',
    'com.au',
    'org.br',
    's3.amazonaws.com',
    'amazonaws.com',
    'github.io',
    'okta.com',
    'acme.okta.com',
    'eu.auth0.com',
    'myshopify.com',
    'blob.core.windows.net',
    'workers.dev',
    'x.workers.dev',
  ]) {
    t.equal(isSharedBase(base), true, base)
  }
  for (const base of ['stripe.com', 'example.co.uk', 'notgithub.io', 'example.com', 'internal.example.org']) {
    t.equal(isSharedBase(base), false, base)
  }
  for (const host of [
    's3.amazonaws.com',
    's3.eu-west-1.amazonaws.com',
    'api.telegram.org',
    'hooks.slack.com',
  ]) {
    t.equal(isSharedByPath(host), true, host)
  }
  t.equal(isSharedByPath('api.stripe.com'), false)
})

t.test('a policy of 1,000 rules compiles in a moment', async t => {
  const rules = Array.from(
    { length: 1000 },
    (_, i) =>
      `  - { id: r${i}, callers: [billing], target: 'https://h${i}.example.com', methods: [GET], paths: ['/v1/**'] }\n`,
  )
  const started = performance.now()

  t.equal(policyFrom(`${CALLERS}rules:\n${rules.join('')}`).rules.length, 1000)

  t.ok(performance.now() - started < 5000, `${Math.round(performance.now() - started)} ms`)
})
