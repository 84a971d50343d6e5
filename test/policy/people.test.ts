/**
 * What people use: edits of callers, the policy's own tests, and explanations.
 */
import t from 'tap'
import { REASONS } from '../../src/model/decision.ts'
import { formatTestResult, runPolicyTests } from '../../src/policy/check.ts'
import { addCaller, addCallerPassword, removeCaller, removeCallerPasswords } from '../../src/policy/edit.ts'
import { explain, formatExplanation } from '../../src/policy/explain.ts'
import { REASON_TEXTS } from '../../src/policy/reasons.ts'
import { parseRequestText } from '../../src/policy/request.ts'
import { ask, CALLERS, HASH, NOW, placeholder, policyFrom, STRIPE, secretOf } from './support.ts'

const OTHER = 'cd'.repeat(32)
const hashesOf = (text: string, id: string) =>
  policyFrom(text)
    .callers.get(id)
    ?.passwordHashes.map(hash => hash.toString('hex'))

t.test('edits of callers refuse what is not there or is there already', async t => {
  t.throws(() => addCaller(STRIPE, { id: 'billing', sha256: OTHER, tenants: ['*'] }), { code: 'CLI_FAILED' })
  t.throws(() => addCallerPassword(STRIPE, 'nobody', OTHER), { code: 'CLI_FAILED' })
  t.throws(() => addCallerPassword(STRIPE, 'pair', OTHER), { code: 'CLI_FAILED' })
  t.throws(() => removeCaller(STRIPE, 'nobody'), { code: 'CLI_FAILED' })
  t.throws(() => removeCaller(STRIPE, 'billing'), {
    code: 'CLI_FAILED',
    message: /rule stripe still names caller billing/,
  })
  t.throws(() => removeCaller('a: &x 1', 'billing'), { code: 'CLI_FAILED' })
})

t.test('adds, replaces and revokes a caller, and keeps comments', async t => {
  const text = `# ours\n${CALLERS}  # the end\n`

  const added = addCaller(text, { id: 'new', sha256: HASH, tenants: ['acme'] })
  t.match(added, /# ours/)
  t.match(added, /# the end/)
  t.same(hashesOf(added, 'new'), [HASH])

  const both = addCallerPassword(added, 'new', OTHER)
  t.same(hashesOf(both, 'new'), [HASH, OTHER])
  t.same(hashesOf(removeCallerPasswords(both, 'new', 1), 'new'), [OTHER])
  t.same(hashesOf(removeCallerPasswords(both, 'new', 0), 'new'), [])
  t.equal(policyFrom(removeCaller(both, 'new')).callers.has('new'), false)
})

t.test('an edit leaves every byte of the other sections as it stood', async t => {
  const tail = STRIPE.slice(STRIPE.indexOf('rules:')).replace(
    '[GET, POST, OPTIONS]',
    '[GET,POST,  OPTIONS]   # spaced',
  )

  for (const text of [
    `# head\n\n${CALLERS}\n# before rules\n${tail}`,
    `version:   1  # one\n${tail.replace('[billing, single, pair]', '[]')}`,
  ]) {
    const added = addCaller(text, { id: 'new', sha256: HASH, tenants: ['acme'] })

    t.ok(added.includes(text.slice(text.indexOf('rules:')).trimEnd()))
    t.ok(added.startsWith(text.slice(0, text.indexOf('\n'))))
    t.match(added, /- id: new\n/)
  }
  t.match(addCaller('version: 1', { id: 'new', sha256: HASH, tenants: ['acme'] }), /^version: 1\ncallers:\n/)
  t.match(addCaller('{ version: 1, callers: [] }', { id: 'new', sha256: HASH, tenants: ['acme'] }), /id: new/)
})

t.test('adds the first caller to a policy without any', async t => {
  t.same(hashesOf(addCaller('version: 1\n', { id: 'new', sha256: HASH, tenants: ['*'] }), 'new'), [HASH])
})

t.test("a policy's tests say what was expected and what came", async t => {
  const policy =
    policyFrom(`${STRIPE}  - { id: blind, callers: [billing], target: 'https://b.example.com', mode: tunnel }
tests:
  - given: { caller: billing, request: 'POST https://api.stripe.com/v1/charges', swap: acme/stripe in header.authorization }
    expect: { rule: stripe, decision: allow }
  - given: { caller: billing, request: 'POST https://api.stripe.com/v1/api_keys' }
    expect: { decision: deny, reason: path_not_allowed }
  - given: { caller: billing, request: 'CONNECT https://b.example.com' }
    expect: { decision: tunnel, rule: blind }
  - given: { caller: billing, request: 'CONNECT https://api.stripe.com' }
    expect: { decision: intercept }
  - given: { caller: billing, request: 'POST https://api.stripe.com/v1/charges', swap: acme/stripe in header.authorization, targets: ['https://api.github.com'] }
    expect: { decision: deny, reason: placeholder_for_other_target }
  - given: { caller: single, request: 'POST https://api.stripe.com/v1/charges', tenant: globex }
    expect: { decision: allow, rule: stripe }
`)

  const results = runPolicyTests(policy, NOW)

  t.same(
    results.map(({ ok }) => ok),
    [true, true, true, true, true, false],
  )
  t.equal(
    results.slice(5).map(formatTestResult).join(),
    'policy.yaml:34:5: FAILED: single POST https://api.stripe.com:443/v1/charges: expected decision allow, got deny; expected rule stripe, got default',
  )
})

t.test('an explanation tells what every rule says, and shows no placeholder', async t => {
  const policy = policyFrom(`${STRIPE}
  - { id: wide, callers: [billing], target: 'https://*.stripe.com', methods: [GET, POST, OPTIONS], paths: ['/**'] }
  - { id: github, callers: [billing], target: 'https://api.github.com', methods: [GET], paths: ['/**'] }
  - { id: others, callers: [single], target: 'https://*.stripe.com', methods: [GET], paths: [/v2] }
`)
  const found = placeholder(secretOf('acme', 'github'))
  const path = `/v1/charges/${found.placeholder}?k=${found.placeholder}`

  const explanation = explain(policy, ask(policy, { path, found: [found] }))
  const text = formatExplanation(explanation)

  t.match(explanation, { decision: 'deny', rule: 'stripe', reason: 'placeholder_not_allowed' })
  t.match(text, /=> stripe \(policy\.yaml:\d+\)\n/)
  t.match(text, / {2}\+ wide \(policy\.yaml:\d+\): stripe decides/)
  t.match(text, / {2}- github .*: is for api\.github\.com/)
  t.match(text, / {2}- others .*: is for single/)
  t.match(text, /xclk_r…4567 in header\.authorization: acme\/github, active/)
  t.notMatch(JSON.stringify(explanation) + text, found.placeholder)
})

t.test('an explanation of a denial names the first thing that does not fit in each rule', async t => {
  const policy = policyFrom(STRIPE)
  const whyFor = (given: Parameters<typeof ask>[1]) => explain(policy, ask(policy, given)).rules[0]?.why

  t.equal(whyFor({ target: 'http://api.stripe.com' }), 'is for https')
  t.equal(whyFor({ target: 'https://api.stripe.com:8443' }), 'is for port 443')
  t.equal(whyFor({ path: '/v2' }), 'is for paths /v1/charges, /v1/charges/*')
  t.equal(whyFor({ method: 'PUT' }), 'is for methods GET, POST, OPTIONS')
  t.match(explain(policy, ask(policy, { path: '/v2' })), {
    rule: 'default',
    text: /no rule of this caller/,
    swaps: [],
  })
})

t.test('every reason has a text for people', async t => {
  for (const reason of REASONS) t.ok(REASON_TEXTS[reason].length > 10, reason)
})

t.test('reads requests as people write them', async t => {
  t.match(parseRequestText('GET https://api.example.com'), { method: 'GET', path: '/' })
  t.match(parseRequestText('GET https://api.example.com?x=1'), { path: '/?x=1' })
  t.match(parseRequestText('POST https://api.example.com:8443/a?b=/../c'), {
    target: { port: 8443 },
    path: '/a?b=/../c',
  })
  for (const bad of [
    '',
    'GET',
    'get https://a.com',
    'GET a.com',
    'GET ftp://a.com',
    'GET https://u@a.com/',
    'GET https://a.com/ x',
  ]) {
    t.equal(parseRequestText(bad), undefined, bad)
  }
})
