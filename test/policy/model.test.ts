/**
 * decide against a naive model, and that the order of rules never matters (threat-model.md B11).
 */
import fc from 'fast-check'
import t from 'tap'
import { compilePolicy } from '../../src/policy/compile.ts'
import type { CompiledPolicy } from '../../src/policy/compiled.ts'
import { decide } from '../../src/policy/decide.ts'
import { ask, CALLERS } from './support.ts'

type Draft = {
  readonly callers: readonly string[]
  readonly target: string
  readonly methods: readonly string[]
  readonly paths: readonly string[]
}
type Question = {
  readonly caller: string
  readonly target: string
  readonly method: string
  readonly path: string
}

const TARGETS = [
  'https://a.x.com',
  'https://b.x.com',
  'https://*.x.com',
  'https://a.x.com:8443',
  'http://a.x.com',
]
const PATHS = ['/**', '/v1/**', '/v1/*', '/v1/a', '/v1/*/b', '/v1', '/', '/v1/a/**', '/*']
const list = (values: readonly string[], maxLength: number) =>
  fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength })
const draft: fc.Arbitrary<Draft> = fc.record({
  callers: list(['billing', 'single'], 2),
  target: fc.constantFrom(...TARGETS),
  methods: list(['GET', 'POST', 'PUT'], 3),
  paths: list(PATHS, 2),
})
const question: fc.Arbitrary<Question> = fc.record({
  caller: fc.constantFrom('billing', 'single', 'pair'),
  target: fc.constantFrom(
    'https://a.x.com',
    'https://b.x.com',
    'https://c.x.com',
    'https://x.com',
    'https://a.x.com:8443',
    'http://a.x.com',
  ),
  method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE'),
  path: fc.constantFrom('/', '/v1', '/v1/', '/v1/a', '/v1/b', '/v1/a/b', '/v1/a/b/c', '/v2'),
})

function textOf(drafts: readonly (Draft & { readonly id: string })[]): string {
  const rules = drafts.map(
    ({ id, callers, target, methods, paths }) =>
      `  - { id: ${id}, callers: [${callers}], target: '${target}', methods: [${methods}], paths: [${paths.map(path => `'${path}'`)}] }`,
  )
  return `${CALLERS}rules:\n${rules.join('\n')}\n`
}

function compiled(drafts: readonly (Draft & { readonly id: string })[]): CompiledPolicy | undefined {
  const result = compilePolicy([{ file: 'p.yaml', text: textOf(drafts) }])
  return result.kind === 'compiled' ? result.policy : undefined
}

// The model: regular expressions for matching, and the words of rulings.md 14 for precedence.
const asRegex = (text: string) =>
  new RegExp(
    `^${text
      .replace(/[.]/g, '\\.')
      .replace(/\/\*\*$/, '(/.*)?')
      .replace(/\/\*(?=\/|$)/g, '/[^/]+')}$`,
  )
const hostRegex = (text: string) => new RegExp(`^${text.replace(/\./g, '\\.').replace('*', '[^.]+')}$`)
const weights = (path: string) =>
  path
    .slice(1)
    .split('/')
    .map(s => (s === '**' ? 2 : s === '*' ? 1 : 0))

function matchesModel(rule: Draft, q: Question): readonly string[] {
  const fits =
    rule.callers.includes(q.caller) &&
    hostRegex(rule.target).test(q.target) &&
    rule.methods.includes(q.method)
  return fits ? rule.paths.filter(path => asRegex(path).test(q.path)) : []
}

/** Negative when `a` is the more specific. */
function compareModel(a: Draft, b: Draft, q: Question): number {
  const wild = (rule: Draft) => Number(rule.target.includes('*'))
  if (wild(a) !== wild(b)) return wild(a) - wild(b)
  const best = (rule: Draft) => matchesModel(rule, q).map(weights).sort(compareWeights)[0] ?? []
  // Of rules that are alike in all that, the one that matches fewer paths is the part and the other the whole.
  const breadth = (rule: Draft) =>
    ALL_PATHS.filter(path => rule.paths.some(text => asRegex(text).test(path))).length
  return compareWeights(best(a), best(b)) || a.methods.length - b.methods.length || breadth(a) - breadth(b)
}

function compareWeights(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? -1) - (b[i] ?? -1)
    if (difference !== 0) return difference
  }
  return 0
}

// Every path of up to four segments over the patterns' own words and a stranger.
const ALL_PATHS = ['/', ...['a', 'b', 'v1', 'x'].flatMap(below)]

function below(path: string): readonly string[] {
  const deeper =
    path.split('/').length < 4 ? ['', 'a', 'b', 'v1', 'x'].flatMap(next => below(`${path}/${next}`)) : []
  return [path.startsWith('/') ? path : `/${path}`, ...deeper]
}

const withIds = (drafts: readonly Draft[]) => drafts.map((rule, i) => ({ ...rule, id: `r${i}` }))

t.test('decides as the naive model does, in every order of the rules', async t => {
  let loaded = 0
  let allowed = 0
  fc.assert(
    fc.property(
      fc.array(draft, { minLength: 1, maxLength: 4 }),
      fc.array(question, { minLength: 12, maxLength: 12 }),
      (drafts, questions) => {
        const rules = withIds(drafts)
        const forward = compiled(rules)
        const backward = compiled([...rules].reverse())
        if (forward === undefined || backward === undefined) return forward === backward
        loaded++
        return questions.every(q => {
          const matching = rules
            .filter(rule => matchesModel(rule, q).length > 0)
            .sort((a, b) => compareModel(a, b, q))
          const expected = matching[0]?.id
          const answers = [forward, backward].map(policy => decide(policy, ask(policy, q)))
          if (expected !== undefined) allowed++
          return answers.every(answer =>
            expected === undefined
              ? answer.kind === 'deny'
              : answer.kind === 'allow' && answer.permit.terms.rule === expected,
          )
        })
      },
    ),
    { numRuns: 500 },
  )
  t.ok(loaded > 150, `${loaded} policies loaded`)
  t.ok(allowed > 150, `${allowed} requests were allowed`)
})

t.test('rules that load never leave two answers: of two that match, one contains the other', async t => {
  fc.assert(
    fc.property(fc.tuple(draft, draft), question, (pair, q) => {
      const rules = withIds(pair)
      if (compiled(rules) === undefined) return true
      const both = rules.every(rule => matchesModel(rule, q).length > 0)
      return !both || compareModel(pair[0], pair[1], q) !== 0
    }),
    { numRuns: 500 },
  )
  t.pass('no tie loads')
})
