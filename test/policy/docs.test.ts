/**
 * docs/policy.md says what the program does: its table of reasons, its examples of paths, and its first policy.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { matchPath, parsePathPattern, segmentsOf } from '../../src/base/glob.ts'
import { REASONS } from '../../src/model/decision.ts'
import { policyOf } from '../../src/policy/load.ts'
import { withoutQuery } from '../../src/policy/path.ts'
import { REASON_TEXTS } from '../../src/policy/reasons.ts'
import { HASH } from './support.ts'

const DOC = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'policy.md'), 'utf8')

t.test('every reason stands in the table, with its text', async t => {
  for (const reason of REASONS) {
    t.ok(
      DOC.includes(`| \`${reason}\` | ${REASON_TEXTS[reason]} |`),
      `add: | \`${reason}\` | ${REASON_TEXTS[reason]} |`,
    )
  }
})

t.test('the first policy loads and passes its tests', async t => {
  const text = /```yaml\n(version: 1[\s\S]*?)```/.exec(DOC)?.[1] ?? ''

  const policy = policyOf([{ file: 'docs', text: text.replace('9f86d081…', HASH) }], { now: 0 })

  t.equal(policy.tests.length, 2)
})

t.test('the path patterns match what the table says', async t => {
  const rows = [...DOC.matchAll(/^\| `(\/[^`]*)` \| (`\/[^|]*) \| (`[^|]*)? ?\|$/gm)]
  const codes = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(match => match[1] ?? '')

  t.ok(rows.length >= 3, `${rows.length} rows`)
  for (const [, text = '', yes = '', no = ''] of rows) {
    const pattern = parsePathPattern(text)
    if (typeof pattern === 'string') return t.fail(pattern)
    for (const path of codes(yes))
      t.equal(matchPath(pattern, segmentsOf(withoutQuery(path))), true, `${text} ${path}`)
    for (const path of codes(no))
      t.equal(matchPath(pattern, segmentsOf(withoutQuery(path))), false, `${text} ${path}`)
  }
})
