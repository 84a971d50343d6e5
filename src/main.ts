#!/usr/bin/env node
/**
 * Process entry: refuses an unsafe runtime, closes the doors that Node leaves open, and hands over to the command line.
 *
 * Rule of this file: the check stands before everything else is loaded, so only config/runtime.ts is imported up here.
 */
import * as nodeModule from 'node:module' // as a whole: on a Node that is too old a missing name would end us before the check
import { EXIT_UNSAFE_RUNTIME, unsafeRuntime } from './config/runtime.ts'

// SECURITY N1: without a listener of ours, this signal opens the inspector in a running process.
process.on('SIGUSR1', () => undefined)

// SECURITY N4: diagnostic reports hold the environment and headers.
if (process.report !== undefined) {
  process.report.reportOnFatalError = false
  process.report.reportOnSignal = false
  process.report.reportOnUncaughtException = false
}

// SECURITY N7: the text of a foreign error may quote what a request carried; its name, code and places may be told.
const fail = (cause: unknown): void => {
  const name = cause instanceof Error ? cause.name : typeof cause
  const code = cause instanceof Error && 'code' in cause ? ` ${String(cause.code)}` : ''
  const stack = cause instanceof Error ? (cause.stack ?? '') : ''
  const places = stack.split('\n').filter(line => /^\s+at /.test(line))
  process.stderr.write(`cloakroom: error INTERNAL: ${name}${code}\n${places.join('\n')}\n`)
  process.exit(1)
}
process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
process.removeAllListeners('warning') // Node's own printer
process.on('warning', warning => {
  if (warning.name === 'ExperimentalWarning' || warning.name === 'DeprecationWarning') return
  process.stderr.write(`cloakroom: warning ${warning.name}\n`)
})

const preload = `${import.meta.dirname}/cli/preload/register.mjs`
const problems = unsafeRuntime({
  version: process.version,
  flags: process.execArgv,
  env: process.env,
  ownPreloads: [preload, `file://${preload.split('/').map(encodeURIComponent).join('/')}`],
})
for (const { code, what, why } of problems) {
  process.stderr.write(`cloakroom: error ${code}: ${what}: ${why}\n`)
}
if (problems.length > 0) {
  process.stderr.write(
    'hint: remove it, or inside a checkout use ./bin/cloakroom, which brings its own Node.js\n',
  )
  process.exitCode = EXIT_UNSAFE_RUNTIME
} else {
  // Inside a checkout the sources are TypeScript: kept compiled beside the packages, a command starts in a third of the time.
  const root = `${import.meta.dirname}/..`
  if (import.meta.filename.endsWith('.ts'))
    nodeModule.enableCompileCache(`${root}/node_modules/.cache/cloakroom`)
  const { run } = await import('./cli/run.ts')
  process.exitCode = await run(process.argv.slice(2))
}
