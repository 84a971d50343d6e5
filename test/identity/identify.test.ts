/**
 * Who asks: what Proxy-Authorization may look like, and that a wrong one never becomes somebody else.
 */
import t from 'tap'
import { identify } from '../../src/identity/identify.ts'
import { hashPassword, newCallerPassword } from '../../src/identity/password.ts'
import { parseProxyAuthorization } from '../../src/identity/proxy-authorization.ts'
import { compilePolicy } from '../../src/policy/compile.ts'

const one = newCallerPassword()
const two = newCallerPassword()
const other = newCallerPassword()

function policyOf(text: string) {
  const compiled = compilePolicy([{ file: 'p.yaml', text }])
  if (compiled.kind === 'faults') throw new Error(compiled.faults[0]?.message)
  return compiled.policy
}
const policy = policyOf(`version: 1
callers:
  - { id: billing, identify: { proxyAuthorization: { sha256: [${one.sha256}, ${two.sha256}] } }, tenants: [acme, globex] }
  - { id: my.app, identify: { proxyAuthorization: { sha256: ${other.sha256} } }, tenants: ['*'] }
  - { id: revoked, identify: { proxyAuthorization: { sha256: [] } }, tenants: ['*'] }
  - { id: local, identify: { source: loopback }, tenants: ['*'] }
`)
const basic = (user: string, password: string) =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
const who = (header: string | undefined, isLoopback = false) => {
  const authorization = parseProxyAuthorization(header === undefined ? [] : [header])
  return identify(policy, { isLoopback, ...(authorization === undefined ? {} : { authorization }) })
}

const MALFORMED: readonly string[] = [
  '',
  'Basic',
  'Basic ',
  'Negotiate abc',
  'Digest username="x"',
  basic('billing', ''),
  basic('', one.password),
  basic('Billing', one.password),
  basic('billing+', one.password),
  basic('billing+Acme', one.password),
  basic('billing+acme+x', one.password),
  basic('billing ', one.password),
  `${basic('billing', one.password)} x`,
  `Basic ${Buffer.from('billing').toString('base64')}`,
  `${basic('billing', one.password).replace(/=+$/, '')}=====`,
  `Basic ${Buffer.from(`billing:${one.password}x`).toString('base64url')}!`,
  'Bearer',
  'Bearer billing',
  'Bearer billing.',
  `Bearer .${one.password}`,
  `Bearer billing:${one.password}`,
  `Basic\t${one.password}`,
  ` ${basic('billing', one.password)}`,
  `Bearer ${'a'.repeat(2000)}.x`,
] // prettier-ignore

t.test('what cannot be read is malformed, and malformed is rejected also from loopback', async t => {
  for (const header of MALFORMED) {
    t.same(parseProxyAuthorization([header]), { kind: 'malformed' }, JSON.stringify(header))
    t.same(who(header, true), { kind: 'rejected' })
  }
})

t.test('two headers are malformed, even two that agree', async t => {
  const header = basic('billing', one.password)

  t.same(parseProxyAuthorization([header, header]), { kind: 'malformed' })
  t.equal(parseProxyAuthorization([]), undefined)
})

t.test(
  'a wrong password, an unknown caller and a revoked one are rejected alike, never the loopback caller',
  async t => {
    for (const header of [
      basic('billing', other.password),
      basic('billing', one.password.slice(0, -1)),
      basic('billing', `${one.password} `),
      basic('nobody', one.password),
      basic('constructor', one.password),
      basic('revoked', one.password),
      basic('local', one.password),
      `Bearer billing.${other.password}`,
    ]) {
      t.same(who(header, true), { kind: 'rejected' }, header)
    }
  },
)

t.test('an all-zero hash opens nothing for an unknown or revoked caller', async t => {
  for (const callerId of ['nobody', 'revoked']) {
    const authorization = { kind: 'password', callerId, passwordHash: Buffer.alloc(32) } as const
    t.same(identify(policy, { isLoopback: true, authorization }), { kind: 'rejected' })
  }
})

t.test('without a header, loopback is the loopback caller and others are none', async t => {
  t.match(who(undefined, true), { kind: 'caller', caller: { id: 'local', via: 'loopback' } })
  t.same(who(undefined, false), { kind: 'none' })
  const closed = policyOf('version: 1\n')
  t.same(identify(closed, { isLoopback: true }), { kind: 'none' })
})

t.test('each password in force opens, in Basic and Bearer, in any case of the scheme', async t => {
  for (const { password } of [one, two]) {
    for (const header of [
      basic('billing', password),
      basic('billing', password).replace('Basic', 'bASIC'),
      `Bearer billing.${password}`,
      `BEARER  billing.${password}`,
    ]) {
      t.match(who(header), { kind: 'caller', caller: { id: 'billing' }, tenant: undefined }, header)
    }
  }
  t.match(who(`Bearer my.app.${other.password}`), { kind: 'caller', caller: { id: 'my.app' } })
})

t.test('the user name may carry the tenant', async t => {
  t.match(who(basic('billing+acme', one.password)), { caller: { id: 'billing' }, tenant: 'acme' })
  t.match(who(`Bearer billing+acme.${one.password}`), { caller: { id: 'billing' }, tenant: 'acme' })
})

t.test('passwords are 32 random bytes in base64url, and the password is not kept', async t => {
  t.match(one.password, /^[A-Za-z0-9_-]{43}$/)
  t.not(one.password, two.password)
  t.equal(hashPassword(Buffer.from(one.password)).toString('hex'), one.sha256)
  const presented = parseProxyAuthorization([basic('billing', one.password)])
  t.notMatch(JSON.stringify(presented), one.password)
})
