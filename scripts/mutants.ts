/**
 * Takes each guard out in turn and looks whether a test notices: `npm run mutants` (threat-model.md 6.D).
 *
 * A test suite that stays green without a guard does not guard it. Each mutant names the test that must fail; the same test is first
 * run with the guard in place, so that a test that fails anyway proves nothing.
 *
 *   npm run mutants -- [--json] [--only NAME]    NAME: a part of the names, files or tests
 */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Copy, occurrences } from './mutants/copy.ts'
import type { Mutant, Verdict } from './mutants/mutant.ts'
import { MUTANTS } from './mutants/table.ts'
import { tryTest } from './mutants/try-test.ts'

const ROOT = join(import.meta.dirname, '..')
const AT_A_TIME = 2
const LONGEST_TEST = 60 // seconds

type Result = { readonly mutant: Mutant; readonly verdict: Verdict; readonly seconds: number }

async function main(): Promise<number> {
  const { json, only } = parseArgs({
    options: { json: { type: 'boolean' }, only: { type: 'string' } },
  }).values
  const chosen = MUTANTS.filter(mutant => isMeant(mutant, only))
  const stale = chosen.filter(mutant => occurrences(ROOT, mutant) !== 1)
  for (const { name, file } of stale)
    process.stderr.write(`stale: ${name}: its text does not stand exactly once in src/${file}\n`)
  if (chosen.length === 0) process.stderr.write(`no mutant is called like ${only}\n`)
  if (stale.length > 0 || chosen.length === 0) return 1
  const results = await tryAll(chosen, result => process.stderr.write(`${describe(result)}\n`))
  const killed = results.filter(isKilled).length
  if (json === true) process.stdout.write(`${JSON.stringify(reportOf(results), undefined, 2)}\n`)
  else process.stdout.write(`${killed} killed, ${results.length - killed} survived\n`)
  return killed === chosen.length ? 0 : 1
}

function isMeant({ name, file, test }: Mutant, only: string | undefined): boolean {
  return only === undefined || [name, file, test].some(text => text.includes(only))
}

/** Tries them, a few at a time, each of which has a copy of the repository for itself. */
async function tryAll(mutants: readonly Mutant[], onResult: (result: Result) => void): Promise<Result[]> {
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
  const waiting = [...mutants]
  const results: Result[] = []
  const control = new Map<string, Promise<Control>>()
  const work = async () => {
    const copy = new Copy(ROOT)
    try {
      for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
        const result = await tryOne(mutant, { copy, control, signal: stop.signal })
        results.push(result)
        onResult(result)
      }
    } finally {
      copy.remove()
    }
  }
  const ends = await Promise.allSettled(Array.from({ length: AT_A_TIME }, work))
  for (const end of ends) if (end.status === 'rejected') throw end.reason
  return results
}

type Control = { readonly verdict: Verdict; readonly seconds: number }

type Bench = {
  readonly copy: Copy
  /** Tests with every guard in place. */
  readonly control: Map<string, Promise<Control>>
  readonly signal: AbortSignal
}

async function tryOne(mutant: Mutant, { copy, control, signal }: Bench): Promise<Result> {
  const run = (seconds: number) => timed(() => tryTest(copy.directory, mutant, { seconds, signal }))
  const test = `${mutant.test} ${mutant.only}`
  const before = control.get(test) ?? run(LONGEST_TEST)
  control.set(test, before)
  const sound = await before
  if (sound.verdict.kind !== 'passes') {
    const what = `the test does not pass with the guard in place: ${detailOf(sound.verdict)}`
    return { mutant, verdict: { kind: 'broken', what }, seconds: sound.seconds }
  }
  // Four times what it takes with the guard: what goes on for longer waits for something that does not come.
  return { mutant, ...(await copy.with(mutant, () => run(Math.ceil(5 + 4 * sound.seconds)))) }
}

async function timed(run: () => Promise<Verdict>): Promise<Control> {
  const started = performance.now()
  const verdict = await run()
  return { verdict, seconds: (performance.now() - started) / 1000 }
}

function isKilled({ verdict }: Result): boolean {
  return verdict.kind === 'fails' || verdict.kind === 'hangs'
}

const WORDS = { fails: 'killed', hangs: 'killed (timeout)', passes: 'SURVIVED', broken: 'BROKEN' } as const

function describe({ mutant, verdict, seconds }: Result): string {
  const detail = verdict.kind === 'broken' ? `: ${verdict.what}` : ''
  return `${WORDS[verdict.kind]}  ${mutant.name}  (${mutant.test}, ${seconds.toFixed(1)} s)${detail}`
}

function detailOf(verdict: Verdict): string {
  if (verdict.kind === 'fails') return verdict.by
  return verdict.kind === 'broken' ? verdict.what : verdict.kind
}

function reportOf(results: readonly Result[]) {
  const killed = results.filter(isKilled).length
  const mutants = results.map(({ mutant, verdict, seconds }) => {
    const { name, file, test, only } = mutant
    return { name, file, test, only, result: WORDS[verdict.kind], detail: detailOf(verdict), seconds }
  })
  return { killed, survived: results.length - killed, mutants }
}

process.exitCode = await main()
