/**
 * Shows that the tests notice when a guard is gone: takes each guard of mutant-table.ts away, one at a time, in a copy of the
 * repository, and runs the tests that must then fail (security.md 6.D).
 *
 * `npm run mutants` for all, `npm run mutants -- TEXT` for those whose name or file holds TEXT. Exit 1 when one survives, when
 * a row no longer fits its file, or when the tests fail with no guard taken away.
 */
import { execFileSync, spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { MUTANTS, type Mutant } from './mutant-table.ts'

const ROOT = join(import.meta.dirname, '..')
const WORKERS = 2
const LONGEST_RUN = 90_000 // a guard whose loss makes a test hang is noticed as well

type Verdict = { readonly mutant: Mutant; readonly verdict: 'killed' | 'survived' | 'does not fit' }

async function main(): Promise<number> {
  const chosen = chosenBy(process.argv.slice(2))
  const copies = Array.from({ length: WORKERS }, makeCopy)
  try {
    const failing = await failingTests(copies, chosen)
    if (failing.length > 0) {
      console.log(`these tests fail with every guard in place: ${failing.join(', ')}`)
      return 1
    }
    const verdicts = await onEach(copies, chosen, judge)
    return report(verdicts)
  } finally {
    for (const copy of copies) rmSync(copy, { recursive: true, force: true })
  }
}

function chosenBy(texts: readonly string[]): readonly Mutant[] {
  return MUTANTS.filter(({ name, file }) => texts.every(text => name.includes(text) || file.includes(text)))
}

/** A copy of the files that git knows or would take, as they stand, with the installed packages linked in. */
function makeCopy(): string {
  const copy = mkdtempSync(join(tmpdir(), 'cloakroom-mutants-'))
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
  })
  for (const file of new Set(files.toString().split('\0'))) {
    // Deleted and not yet committed, or the link that makeCopy itself makes in a copy of a copy.
    if (file === '' || file.startsWith('node_modules') || !existsSync(join(ROOT, file))) continue
    mkdirSync(join(copy, dirname(file)), { recursive: true })
    cpSync(join(ROOT, file), join(copy, file), { force: true })
  }
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
  return copy
}

async function failingTests(
  copies: readonly string[],
  mutants: readonly Mutant[],
): Promise<readonly string[]> {
  const tests = [...new Set(mutants.flatMap(mutant => mutant.tests))]
  const passes = await onEach(copies, tests, async (copy, test) => ({
    test,
    passes: await doesPass(copy, test),
  }))
  return passes.filter(one => !one.passes).map(({ test }) => test)
}

async function judge(copy: string, mutant: Mutant): Promise<Verdict> {
  const path = join(copy, mutant.file)
  const original = readFileSync(path, 'utf8')
  const mutated = original.replaceAll(mutant.find, () => mutant.replace)
  if (mutated === original) return told({ mutant, verdict: 'does not fit' })
  writeFileSync(path, mutated)
  try {
    for (const test of mutant.tests) {
      if (!(await doesPass(copy, test))) return told({ mutant, verdict: 'killed' })
    }
    return told({ mutant, verdict: 'survived' })
  } finally {
    writeFileSync(path, original)
  }
}

function told(verdict: Verdict): Verdict {
  console.log(`${verdict.verdict.padEnd(12)} ${verdict.mutant.name} (${verdict.mutant.file})`)
  return verdict
}

/** Runs a test file by itself until its first failure. */
function doesPass(copy: string, test: string): Promise<boolean> {
  return new Promise(resolve => {
    const child = spawn(process.execPath, [test], {
      cwd: copy,
      env: { ...process.env, TAP_BAIL: '1' },
      stdio: 'ignore',
    })
    const timer = setTimeout(() => child.kill('SIGKILL'), LONGEST_RUN)
    child.on('close', code => {
      clearTimeout(timer)
      resolve(code === 0)
    })
  })
}

/** Works through `items`, one at a time in each copy; the results are in the order of the items. */
async function onEach<T, R>(
  copies: readonly string[],
  items: readonly T[],
  work: (copy: string, item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  const queue = items.entries()
  await Promise.all(
    copies.map(async copy => {
      for (const [i, item] of queue) results[i] = await work(copy, item)
    }),
  )
  return results
}

function report(verdicts: readonly Verdict[]): number {
  const count = (verdict: Verdict['verdict']) => verdicts.filter(one => one.verdict === verdict).length
  const unfit = count('does not fit')
  console.log(
    `${count('killed')} killed, ${count('survived')} survived${unfit > 0 ? `, ${unfit} do not fit` : ''}`,
  )
  return count('killed') === verdicts.length ? 0 : 1
}

process.exitCode = await main()
