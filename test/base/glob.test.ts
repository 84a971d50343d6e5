/**
 * Host and path patterns: what they match, and how their sets lie to each other.
 */
import fc from 'fast-check'
import t from 'tap'
import {
  commonPath,
  hostContains,
  hostsIntersect,
  isEveryPath,
  matchHost,
  matchPath,
  type PathPattern,
  parentOf,
  parseHostPattern,
  parsePathPattern,
  pathContains,
  segmentsOf,
} from '../../src/base/glob.ts'
import { parseHost } from '../../src/model/target.ts'

function pattern(text: string): PathPattern {
  const parsed = parsePathPattern(text)
  if (typeof parsed === 'string') throw new Error(`${text}: ${parsed}`)
  return parsed
}
const matches = (text: string, path: string) => matchPath(pattern(text), segmentsOf(path))
const host = (text: string) => parseHostPattern(text, parseHost) ?? t.fail(text)

t.test('refuses path patterns that could not mean one thing', async t => {
  for (const text of [
    '',
    'v1',
    '/a/**/b',
    '/a*',
    '/*a',
    '/***',
    '/a//b',
    '/a/../b',
    '/./a',
    '/a?b',
    '/a#b',
    '/a\\b',
    '/a;b',
    '/é',
    '/a b',
  ]) {
    t.type(parsePathPattern(text), 'string', text)
  }
})

t.test('* is one segment and ** the rest, or nothing', async t => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['/v1/**', '/v1', true],
    ['/v1/**', '/v1/', true],
    ['/v1/**', '/v1/a/b/', true],
    ['/v1/**', '/v1x', false],
    ['/v1/**', '/v', false],
    ['/v1/*', '/v1/a', true],
    ['/v1/*', '/v1/', false],
    ['/v1/*', '/v1', false],
    ['/v1/*', '/v1/a/b', false],
    ['/v1/*/x', '/v1/a/x', true],
    ['/v1/a', '/v1/a/', false],
    ['/v1/a/', '/v1/a/', true],
    ['/v1/a', '/v1/A', false],
    ['/', '/', true],
    ['/', '/a', false],
    ['/**', '/', true],
    ['/**', '/a/b', true],
    ['/*', '/', false],
  ]

  for (const [text, path, expected] of cases) t.equal(matches(text, path), expected, `${text} ${path}`)
  t.equal(isEveryPath(pattern('/**')), true)
  t.equal(isEveryPath(pattern('/a/**')), false)
})

const segment = fc.constantFrom('a', 'b', 'c')
const patternArb = fc
  .tuple(
    fc.array(fc.oneof(segment, fc.constant('*')), { maxLength: 3 }),
    fc.constantFrom('', '/**', '/', '/*'),
  )
  .map(([parts, end]) => pattern(`/${parts.join('/')}${end}`.replace(/\/\/+/g, '/')))
const pathArb = fc
  .array(fc.constantFrom('a', 'b', 'x', ''), { maxLength: 5 })
  .map(parts => `/${parts.join('/')}`)

t.test('containment and intersection agree with matching', async t => {
  fc.assert(
    fc.property(patternArb, patternArb, pathArb, (a, b, path) => {
      const inA = matchPath(a, segmentsOf(path))
      const inB = matchPath(b, segmentsOf(path))
      if (pathContains(a, b) && inB && !inA) return false
      const common = commonPath(a, b)
      if (common === undefined) return !(inA && inB)
      return matchPath(a, segmentsOf(common)) && matchPath(b, segmentsOf(common))
    }),
    { numRuns: 5000 },
  )
  t.pass('5,000 triples')
})

t.test('every pattern contains itself, and /** contains all', async t => {
  fc.assert(fc.property(patternArb, a => pathContains(a, a) && pathContains(pattern('/**'), a)))
  t.equal(pathContains(pattern('/*'), pattern('/')), false)
  t.equal(pathContains(pattern('/v1'), pattern('/v1/**')), false)
})

t.test('a long path against the worst pattern costs next to nothing', async t => {
  const worst = pattern(`/${'*/'.repeat(100)}**`)
  const path = `/${'a/'.repeat(32_768)}`
  const started = performance.now()

  t.equal(matches(worst.text, path), true)
  t.ok(performance.now() - started < 50)
})

t.test('a host wildcard is one label in front of a name', async t => {
  t.equal(parseHostPattern('*.[::1]', parseHost), undefined)
  t.equal(parseHostPattern('*', parseHost), undefined)
  t.equal(parseHostPattern('a.*.com', parseHost), undefined)
  t.equal(parentOf('localhost'), undefined)
  t.equal(parentOf('[::1]'), undefined)
  const wild = host('*.example.com')
  if (typeof wild === 'boolean') return
  const exact = host('a.example.com')
  if (typeof exact === 'boolean') return
  t.equal(matchHost(wild, 'a.example.com'), true)
  t.equal(matchHost(wild, 'a.b.example.com'), false)
  t.equal(hostContains(wild, exact), true)
  t.equal(hostContains(exact, wild), false)
  t.equal(hostsIntersect(exact, wild), true)
})
