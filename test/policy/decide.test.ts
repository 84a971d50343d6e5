/**
 * Decisions: every reason, the order of the checks, what is answered alike, and who alone gets a swap.
 */
import t from 'tap'
import type { Decision } from '../../src/model/decision.ts'
import { decide, decideConnection } from '../../src/policy/decide.ts'
import { ask, CALLERS, NOW, placeholder, policyFrom, STRIPE, secretOf, target } from './support.ts'

const policy = policyFrom(STRIPE)
const brief = (decision: Decision) =>
  decision.kind === 'deny'
    ? `${decision.as} ${decision.rule} ${decision.reason}`
    : `allow ${decision.permit.terms.rule} ${decision.permit.swaps.length}`

t.test('denies what no rule allows, and says at which step', async t => {
  const cases: readonly (readonly [string, Parameters<typeof ask>[1]])[] = [
    ['denied default host_not_allowed', { target: 'https://evil.example' }],
    ['denied default host_not_allowed', { target: 'https://api.stripe.com.evil.example' }],
    ['denied default host_not_allowed', { target: 'https://evilapi.stripe.com' }],
    ['denied default port_not_allowed', { target: 'https://api.stripe.com:8443' }],
    ['denied default scheme_not_allowed', { target: 'http://api.stripe.com' }],
    ['denied default caller_not_allowed', { caller: 'stranger' }],
    ['denied default no_rule', { caller: 'stranger', target: 'https://evil.example' }],
    ['denied default path_not_allowed', { path: '/v1/api_keys' }],
    ['denied default path_not_allowed', { path: '/v1/charges/' }],
    ['denied default path_not_allowed', { path: '/V1/charges' }],
    ['denied default path_not_allowed', { path: '/v1/charges/a/b' }],
    ['denied default path_not_allowed', { path: '/v1/api_keys', method: 'DELETE' }],
    ['denied default method_not_allowed', { method: 'DELETE' }],
    ['denied default method_not_allowed', { method: 'post' }],
    ['denied default method_not_allowed', { method: 'TRACE' }],
    ['denied default path_ambiguous', { path: '/v1/charges/../api_keys' }],
    ['denied default path_ambiguous', { path: '/v1/charges/%2e%2E' }],
    ['tenant default tenant_not_allowed', { caller: 'single', tenant: 'globex' }],
    ['tenant default tenant_not_allowed', { caller: 'pair', tenant: 'other' }],
  ]

  for (const [expected, given] of cases) {
    t.equal(brief(decide(policy, ask(policy, given))), expected, JSON.stringify(given))
    // rulings.md 11: a denial is the same whether the request holds a placeholder or not, good or bad.
    for (const info of [
      placeholder(),
      placeholder(secretOf('foreign')),
      { ...placeholder(), info: undefined },
    ]) {
      t.equal(brief(decide(policy, ask(policy, { ...given, found: [info] }))), expected)
    }
  }
})

t.test('refuses every placeholder that may not be swapped, with one answer and its own reason', async t => {
  const cases: readonly (readonly [string, Parameters<typeof placeholder>, Parameters<typeof ask>[1]?])[] = [
    ['placeholder_misplaced', [{}, { location: undefined }]],
    ['placeholder_damaged', [{}, { location: undefined, placeholder: '' }]],
    ['placeholder_unknown', [{}, { info: undefined }]],
    ['placeholder_foreign', [secretOf('globex')], { caller: 'single' }],
    ['placeholder_foreign', [secretOf('globex')], { tenant: 'acme' }],
    ['placeholder_foreign', [secretOf('other')], { caller: 'pair' }],
    ['placeholder_not_allowed', [secretOf('acme', 'github')]],
    ['placeholder_not_allowed', [], { method: 'OPTIONS' }],
    ['placeholder_misplaced', [{}, { location: { in: 'header', name: 'x-api-key' } }]],
    ['placeholder_misplaced', [{}, { location: { in: 'query', name: 'Key' } }]],
    ['placeholder_misplaced', [{}, { location: { in: 'basic', part: 'user' } }]],
    ['placeholder_misplaced', [{}, { location: { in: 'path' } }], { path: '/v1/charges/x' }],
    ['placeholder_for_other_target', [{ targets: ['https://api.github.com:443'] }]],
    ['placeholder_for_other_target', [{ targets: ['https://api.stripe.com:8443'] }]],
    ['placeholder_for_other_target', [{ targets: [] }]],
    ['secret_disabled', [{ state: 'disabled' }]],
    ['secret_revoked', [{ state: 'revoked' }]],
    ['secret_not_yet_valid', [{ notBefore: NOW + 1 }]],
    ['secret_expired', [{ expiresAt: NOW }]],
  ]

  for (const [reason, [info, place], given] of cases) {
    const decision = decide(policy, ask(policy, { ...given, found: [placeholder(info, place)] }))
    t.equal(brief(decision), `refused stripe ${reason}`)
  }
})

t.test('names no foreign tenant in the decision', async t => {
  const decision = decide(policy, ask(policy, { caller: 'pair', found: [placeholder(secretOf('other'))] }))

  t.match(decision, { reason: 'placeholder_foreign', tenant: undefined })
})

t.test('refuses placeholders of two tenants in one request, with the answer for placeholders', async t => {
  const found = [placeholder(secretOf('acme')), placeholder(secretOf('globex'))]

  t.equal(brief(decide(policy, ask(policy, { caller: 'pair', found }))), 'refused stripe tenant_unclear')
})

t.test('one bad placeholder refuses a request with good ones', async t => {
  const found = [placeholder(), placeholder({}, { info: undefined })]

  t.equal(brief(decide(policy, ask(policy, { found }))), 'refused stripe placeholder_unknown')
})

t.test('refuses more than four swaps and takes four', async t => {
  const four = [placeholder(), placeholder(), placeholder(), placeholder()]

  t.equal(
    brief(decide(policy, ask(policy, { found: [...four, placeholder()] }))),
    'refused stripe placeholder_too_many',
  )
  t.equal(brief(decide(policy, ask(policy, { found: four }))), 'allow stripe 4')
})

t.test('finds the tenant: the only one, the named one, or the one of all placeholders', async t => {
  const tenantOf = (given: Parameters<typeof ask>[1]) => {
    const decision = decide(policy, ask(policy, given))
    return decision.kind === 'allow' ? decision.permit.tenant : decision.reason
  }

  t.equal(tenantOf({ caller: 'single' }), 'acme')
  t.equal(tenantOf({ caller: 'pair', tenant: 'globex' }), 'globex')
  t.equal(tenantOf({ caller: 'pair', found: [placeholder(secretOf('globex'))] }), 'globex')
  t.equal(tenantOf({ caller: 'pair' }), undefined)
  t.equal(tenantOf({ caller: 'billing', found: [placeholder(secretOf('any'))] }), 'any')
})

t.test('a secret named with its tenant is not for other tenants', async t => {
  const named = policyFrom(STRIPE.replace("'*/stripe'", 'acme/stripe'))

  t.equal(brief(decide(named, ask(named, { found: [placeholder(secretOf('acme'))] }))), 'allow stripe 1')
  t.equal(
    brief(decide(named, ask(named, { found: [placeholder(secretOf('globex'))] }))),
    'refused stripe placeholder_not_allowed',
  )
})

t.test('a location of one clause does not serve the secret of another', async t => {
  const two = policyFrom(`${STRIPE}      - { secrets: ['*/github'], in: [header.x-github] }\n`)
  const place = { location: { in: 'header', name: 'x-github' } } as const

  t.equal(
    brief(decide(two, ask(two, { found: [placeholder({}, place)] }))),
    'refused stripe placeholder_misplaced',
  )
})

t.test('an IP target gets no credential unless the operator named its address', async t => {
  const text = STRIPE.replace('https://api.stripe.com', 'https://127.0.0.1:8443')
  const given = {
    target: 'https://127.0.0.1:8443',
    found: [placeholder({ targets: ['https://127.0.0.1:8443'] })],
  }
  const closed = policyFrom(text)
  const open = policyFrom(text, { mayHoldCredentials: host => host === '127.0.0.1' })

  t.equal(brief(decide(closed, ask(closed, given))), 'refused stripe target_is_address')
  t.equal(brief(decide(open, ask(open, given))), 'allow stripe 1')
})

t.test('allows and gives the swap with version and place', async t => {
  const decision = decide(policy, ask(policy, { found: [placeholder()], path: '/v1/charges?key=x' }))

  t.match(decision, {
    kind: 'allow',
    permit: {
      terms: { rule: 'stripe', redact: true, observed: undefined },
      tenant: 'acme',
      swaps: [{ secret: { tenant: 'acme', name: 'stripe', version: 1 }, location: { in: 'header' } }],
    },
  })
})

t.test('observe mode passes what the rule would deny, and never a placeholder', async t => {
  const observing = policyFrom(`${STRIPE}    mode: observe\n`)
  const observed = decide(observing, ask(observing, { path: '/v1/api_keys' }))

  t.match(observed, {
    kind: 'allow',
    permit: { swaps: [], terms: { rule: 'stripe', observed: 'path_not_allowed' } },
  })
  t.match(decide(observing, ask(observing, { method: 'PUT' })), {
    permit: { terms: { observed: 'method_not_allowed' } },
  })
  for (const found of [[placeholder()], [placeholder({}, { info: undefined })]]) {
    t.equal(
      brief(decide(observing, ask(observing, { path: '/v1/api_keys', found }))),
      'denied default path_not_allowed',
    )
  }
  t.equal(brief(decide(observing, ask(observing, { path: '/v1/../x' }))), 'denied default path_ambiguous')
  t.equal(brief(decide(observing, ask(observing, { method: 'TRACE' }))), 'denied default method_not_allowed')
  t.equal(
    brief(decide(observing, ask(observing, { target: 'https://evil.example' }))),
    'denied default host_not_allowed',
  )
  t.equal(brief(decide(observing, ask(observing, { found: [placeholder()] }))), 'allow stripe 1')
})

t.test('unmatched: observe passes hosts that no rule names, and nothing else', async t => {
  const open = policyFrom(STRIPE.replace('version: 1', 'version: 1\nunmatched: observe'))
  const plain = { target: 'http://other.example', path: '/' }

  t.same(decideConnection(open, { id: 'billing' }, target('https://other.example')), {
    kind: 'tunnel',
    rule: 'unmatched',
  })
  t.match(decide(open, ask(open, plain)), {
    permit: { terms: { rule: 'unmatched', observed: 'host_not_allowed' } },
  })
  t.equal(
    brief(decide(open, ask(open, { ...plain, found: [placeholder()] }))),
    'denied default host_not_allowed',
  )
  t.match(decideConnection(open, { id: 'billing' }, target('https://api.stripe.com:444')), { kind: 'deny' })
  t.match(decideConnection(open, { id: 'stranger' }, target('https://other.example')), { kind: 'deny' })
})

t.test('CONNECT: intercepted, passed blind, or denied, for the target as a whole', async t => {
  const mirror = policyFrom(
    `${STRIPE}  - { id: mirror, callers: [billing], target: 'https://packages.example.com', mode: tunnel }\n`,
  )
  const connect = (text: string, id = 'billing') => decideConnection(mirror, { id }, target(text))

  t.same(connect('https://api.stripe.com'), { kind: 'intercept' })
  t.same(connect('https://packages.example.com'), { kind: 'tunnel', rule: 'mirror' })
  t.same(connect('https://packages.example.com', 'single'), {
    kind: 'deny',
    rule: 'default',
    reason: 'caller_not_allowed',
  })
  t.same(connect('https://packages.example.com:8443'), {
    kind: 'deny',
    rule: 'default',
    reason: 'port_not_allowed',
  })
  t.same(connect('https://evil.example'), { kind: 'deny', rule: 'default', reason: 'host_not_allowed' })
  t.equal(
    brief(decide(mirror, ask(mirror, { target: 'https://packages.example.com' }))),
    'denied default tunnel_only',
  )
})

t.test('a wildcard is exactly one label', async t => {
  const wild = policyFrom(`${CALLERS}
rules:
  - { id: wild, callers: [billing], target: 'https://*.example.com', methods: [GET], paths: ['/**'] }
`)
  const reasonFor = (host: string) =>
    brief(decide(wild, ask(wild, { target: `https://${host}`, method: 'GET', path: '/' })))

  t.equal(reasonFor('a.example.com'), 'allow wild 0')
  for (const host of [
    'example.com',
    'a.b.example.com',
    'aexample.com',
    'a.example.com.evil.org',
    'a.evilexample.com',
  ]) {
    t.equal(reasonFor(host), 'denied default host_not_allowed', host)
  }
})

t.test('the most specific rule decides, wherever it stands', async t => {
  const rules = [
    "  - { id: wild, callers: [billing], target: 'https://*.stripe.com', methods: [GET, POST], paths: ['/**'] }",
    "  - { id: host, callers: [billing], target: 'https://api.stripe.com', methods: [GET, POST], paths: ['/**'] }",
    "  - { id: below, callers: [billing], target: 'https://api.stripe.com', methods: [GET, POST], paths: ['/v1/**'] }",
    "  - { id: one, callers: [billing], target: 'https://api.stripe.com', methods: [GET, POST], paths: ['/v1/*'] }",
    "  - { id: exact, callers: [billing], target: 'https://api.stripe.com', methods: [GET, POST], paths: [/v1/charges] }",
    "  - { id: fewer, callers: [billing], target: 'https://api.stripe.com', methods: [GET], paths: [/v1/charges] }",
  ]

  for (const order of [rules, [...rules].reverse()]) {
    const nested = policyFrom(`${CALLERS}rules:\n${order.join('\n')}\n`)
    const ruleFor = (given: Parameters<typeof ask>[1]) => brief(decide(nested, ask(nested, given)))

    t.equal(ruleFor({ method: 'GET', path: '/v1/charges' }), 'allow fewer 0')
    t.equal(ruleFor({ path: '/v1/charges' }), 'allow exact 0')
    t.equal(ruleFor({ path: '/v1/other' }), 'allow one 0')
    t.equal(ruleFor({ path: '/v1' }), 'allow below 0')
    t.equal(ruleFor({ path: '/v1/a/b' }), 'allow below 0')
    t.equal(ruleFor({ path: '/v2' }), 'allow host 0')
    t.equal(ruleFor({ target: 'https://files.stripe.com', path: '/v1/charges' }), 'allow wild 0')
  }
})

t.test('says foreign, not unclear, of a placeholder that the caller could never use', async t => {
  const found = [placeholder(secretOf('other')), placeholder(secretOf('acme'))]

  t.equal(brief(decide(policy, ask(policy, { caller: 'pair', found }))), 'refused stripe placeholder_foreign')
})

t.test('a rule with a swap on plain HTTP, were one ever to load, would still swap nothing', async t => {
  const billing = policy.callers.get('billing')
  const rules = billing?.targets.get('https://api.stripe.com:443')
  if (billing === undefined || rules === undefined) return t.fail('there is such a rule')
  const callers = new Map([
    ['billing', { ...billing, targets: new Map([['http://api.stripe.com:80', rules]]) }],
  ])
  const found = [placeholder({ targets: ['http://api.stripe.com:80'] })]

  const decision = decide({ ...policy, callers }, ask(policy, { target: 'http://api.stripe.com', found }))

  t.equal(brief(decision), 'refused stripe target_not_secure')
})
