/**
 * Paths that can be read in two ways: refused everywhere, refused where paths are compared, or let through (threat-model.md B1).
 */
import t from 'tap'
import { decide } from '../../src/policy/decide.ts'
import { isAmbiguous, isNeverAcceptable, withoutQuery } from '../../src/policy/path.ts'
import { ask, CALLERS, placeholder, policyFrom, STRIPE } from './support.ts'

const NEVER = [
  '',
  'v1',
  '//evil.com/x',
  '/\\evil.com/x',
  '/a\\b',
  '/a#b',
  '/a b',
  '/a\tb',
  '/a\r\nb',
  '/a\u0000',
  '/é',
  '/a\u007f',
  '/..',
  '/.',
  '/a/..',
  '/a/../b',
  '/a/./b',
  '/a/.',
  '/%2e%2e/b',
  '/%2E./b',
  '/.%2e/b',
  '/a/%2e',
  '/a/%252e%252e/b',
  '/a/%252E/b',
  '/a%2f..%2fb',
  '/a/..%2fb',
  '/a/..%5cb',
  '/a%5c..%5cb',
  '/a/..;/b',
  '/a/..;x=1/b',
  '/a/.;/b',
  '/a/%2e%2e;/b',
  '/a/..%3b/b',
  '/a/%2e%2e%3bx/b',
  '/a/%252e%252e%252fb',
] // prettier-ignore

const AMBIGUOUS = [
  '/a//b',
  '/a/b//',
  '/a;x=1',
  '/a;/b',
  '/a%2fb',
  '/a%2Fb',
  '/a%5cb',
  '/a%5Cb',
  '/a%00b',
  '/a%0ab',
  '/a%0d%0ab',
  '/a%1fb',
  '/a%7fb',
  '/a%25b',
  '/a%252fb',
  '/a%253bb',
  '/a%3bb',
  '/%61dmin',
  '/%41',
  '/a%2Db',
  '/a%5fb',
  '/a%30',
  '/a%7a',
  '/a%c0%afb',
  '/a%c0%ae%c0%ae/b',
  '/a%e0%80%afb',
  '/a%ff',
  '/a%c3',
  '/a%ed%a0%80',
  '/a%f8%80%80%80%80',
  '/a%c2%85b',
  '/a%',
  '/a%2',
  '/a%zz',
  '/a%u002fb',
  '/a/b%2e',
  '/a%f4%90%80%80',
] // prettier-ignore

const PLAIN = [
  '/',
  '/a',
  '/a/',
  '/a/b.c',
  '/a/...',
  '/a/..b',
  '/.well-known/x',
  '/a%20b',
  '/a%C3%A9',
  '/a:b',
  '/a@b',
  '/a%40b',
  '/~a',
  '/%7Ea',
  "/a'b(c)*!$&+,=",
  '/a%2Cb',
  '/a%E2%82%AC',
  '/a%F0%9F%98%80',
  '/a%3Fb',
] // prettier-ignore

t.test('some spellings are refused under every rule', async t => {
  for (const path of NEVER) t.equal(isNeverAcceptable(path), true, JSON.stringify(path))
  for (const path of [...AMBIGUOUS.filter(p => !p.includes('\\')), ...PLAIN])
    t.equal(isNeverAcceptable(path), false, path)
})

t.test('others are refused where paths are compared', async t => {
  for (const path of AMBIGUOUS) t.equal(isAmbiguous(path), true, path)
  for (const path of PLAIN) t.equal(isAmbiguous(path), false, path)
})

t.test('the query is not part of the path', async t => {
  t.equal(withoutQuery('/a?b/../c?d'), '/a')
  t.equal(isNeverAcceptable('/a?x=../..'), false)
  t.equal(isNeverAcceptable('/a?x=%2e%2e/'), false)
})

const WIDE = `${CALLERS}
rules:
  - id: registry
    callers: [billing]
    target: https://api.stripe.com
    methods: [GET, POST]
    paths: ['/**']
    swap: [{ secrets: ['*/stripe'], in: [header.authorization, path] }]
`
const FENCE = `  - { id: fence, callers: [billing], target: 'https://api.stripe.com', methods: [GET, POST], paths: ['/admin/**'] }\n`

t.test('a rule with paths refuses every ambiguous spelling, with a placeholder or without', async t => {
  const policy = policyFrom(STRIPE)

  for (const path of [...NEVER.filter(path => path.startsWith('/')), ...AMBIGUOUS].map(
    path => `/v1/charges${path}`,
  )) {
    for (const found of [[], [placeholder()]]) {
      t.match(decide(policy, ask(policy, { path, found })), { kind: 'deny', reason: 'path_ambiguous' }, path)
    }
  }
})

t.test('a rule for /** lets %2F and the like through, and dot segments never', async t => {
  const policy = policyFrom(WIDE)

  t.match(decide(policy, ask(policy, { path: '/@scope%2fname', found: [placeholder()] })), { kind: 'allow' })
  for (const path of AMBIGUOUS) t.match(decide(policy, ask(policy, { path })), { kind: 'allow' }, path)
  for (const path of NEVER) t.match(decide(policy, ask(policy, { path })), { reason: 'path_ambiguous' }, path)
})

t.test('a placeholder in the path makes the path strict', async t => {
  const policy = policyFrom(WIDE)
  const found = [placeholder({}, { location: { in: 'path' } })]

  t.match(decide(policy, ask(policy, { path: '/bot/x', found })), { kind: 'allow' })
  t.match(decide(policy, ask(policy, { path: '/bot%2fx', found })), {
    as: 'denied',
    reason: 'path_ambiguous',
  })
})

t.test('a narrower rule fences its paths off: no other spelling of them reaches the wider rule', async t => {
  const policy = policyFrom(WIDE + FENCE)
  const found = [placeholder()]

  t.match(decide(policy, ask(policy, { path: '/admin/x', found })), {
    rule: 'fence',
    reason: 'placeholder_not_allowed',
  })
  for (const path of [
    '/%61dmin/x',
    '/admin%2fx',
    '/admin;/x',
    '/x/../admin/x',
    '//admin/x',
    '/./admin/x',
    '/admin%5cx',
  ]) {
    t.match(decide(policy, ask(policy, { path, found })), { kind: 'deny', reason: 'path_ambiguous' }, path)
  }
})

t.test('a wildcard rule with paths makes the paths of its hosts strict too', async t => {
  const wild = `  - { id: wild, callers: [billing], target: 'https://*.stripe.com', methods: [PUT], paths: ['/v1/**'] }\n`
  const policy = policyFrom(WIDE + wild)

  t.match(decide(policy, ask(policy, { path: '/a%2fb' })), { reason: 'path_ambiguous' })
})
