/**
 * `cloakroom policy …`: reads the policy files themselves, so it works without a sidecar and before a reload.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../base/clock.ts'
import { CloakroomError } from '../../base/errors.ts'
import { formatTestResult, runPolicyTests } from '../../policy/check.ts'
import { compilePolicy } from '../../policy/compile.ts'
import type { CompiledPolicy } from '../../policy/compiled.ts'
import { formatExplanation } from '../../policy/explain.ts'
import { readPolicyFiles } from '../../policy/load.ts'
import { type AddCommands, collect, type Handler } from '../command.ts'
import type { CliContext } from '../context.ts'
import { type ExplainOptions, explainRequest } from '../explain.ts'
import { counted } from '../output.ts'
import { PACKAGE_ROOT } from '../package.ts'

export const addPolicyCommands: AddCommands = (program, perform) => {
  const policy = program.command('policy').description('check, test and explain the policy')
  policy
    .command('check [files...]')
    .description('report every fault with file, line and column, and run the tests in the policy')
    .action(perform(check))
  policy
    .command('test [files...]')
    .description('run the tests in the policy, and show each')
    .action(perform(test))
  policy
    .command('explain <request...>')
    .usage('[options] METHOD URL | REQUEST-ID')
    .description('tell which rule decides a request, and why each other one does not')
    .option('--caller <id>', 'who asks (else the only caller, or the loopback caller)')
    .option('--tenant <tenant>', 'what Cloakroom-Tenant would say')
    .option(
      '--swap <text>',
      'a placeholder in the request: "acme/stripe in header.authorization"; may be repeated',
      collect,
    )
    .action(perform(explain))
  policy.command('schema').description('print the JSON Schema of policy files').action(perform(schema))
}

/** Compiles the files given, or those of the configuration. @throws POLICY_INVALID with every fault */
export async function compileFiles(context: CliContext, files: readonly string[]): Promise<CompiledPolicy> {
  const names = files.length > 0 ? files : context.config().policy.files
  const read = await readPolicyFiles(names)
  const compiled = read.kind === 'faults' ? read : compilePolicy(read.texts)
  if (compiled.kind === 'compiled') return compiled.policy
  const { faults } = compiled
  const first = faults[0] === undefined ? '' : `${faults[0].file}:${faults[0].line}: ${faults[0].message}`
  throw new CloakroomError('POLICY_INVALID', { faults: faults.length, first }, { cause: { faults } })
}

const check: Handler<object> = async ({ context, args }) => {
  const policy = await compileFiles(context, args)
  const results = runPolicyTests(policy, systemClock.now())
  const failed = results.filter(result => !result.ok)
  if (failed.length > 0) {
    const details = { failed: failed.length, total: results.length }
    throw new CloakroomError('POLICY_TESTS_FAILED', details, {
      cause: { faults: failed.map(formatTestResult) },
    })
  }
  const summary = {
    rules: policy.rules.length,
    callers: policy.callers.size,
    tests: results.length,
    hash: policy.hash,
  }
  const counts = `${counted(summary.rules, 'rule')}, ${counted(summary.callers, 'caller')}, ${counted(summary.tests, 'test')} passed`
  context.output.result(summary, `ok: ${counts}`)
  return 0
}

const test: Handler<object> = async ({ context, args }) => {
  const results = runPolicyTests(await compileFiles(context, args), systemClock.now())
  const failed = results.filter(result => !result.ok).length
  const text = results.map(formatTestResult).join('\n')
  context.output.result(
    { failed, total: results.length, results },
    text === '' ? 'the policy has no tests' : text,
  )
  return failed === 0 ? 0 : 1
}

const explain: Handler<ExplainOptions> = async ({ context, args, options }) => {
  const policy = await compileFiles(context, [])
  const explanation = await explainRequest(context, policy, { args, options })
  context.output.result(explanation, formatExplanation(explanation))
  return 0
}

const schema: Handler<object> = async ({ context }) => {
  const file = join(PACKAGE_ROOT, 'config', 'schema', 'policy.json')
  try {
    context.output.raw(readFileSync(file, 'utf8'))
    return 0
  } catch (cause) {
    throw new CloakroomError('CLI_FAILED', { what: `${file} is missing from this installation` }, { cause })
  }
}
