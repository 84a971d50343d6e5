/**
 * Tests that need a program: where it is missing they are skipped by name, and in CI they fail.
 */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import t, { type Test } from 'tap'

/** Programs by the name they are asked for, and what to install on Debian. */
const PROGRAMS = {
  curl: 'curl',
  wget: 'wget',
  git: 'git',
  openssl: 'openssl',
  python3: 'python3 python3-venv',
  go: 'golang-go',
  java: 'default-jdk-headless',
  javac: 'default-jdk-headless',
  keytool: 'default-jdk-headless',
  promtool: 'prometheus',
  kubectl: 'kubernetes-client',
  'systemd-analyze': 'systemd',
} as const satisfies Readonly<Record<string, string>>

export type Program = keyof typeof PROGRAMS

/** The path of a program; undefined when it is not there. */
export function find(program: Program): string | undefined {
  const directories = (process.env.PATH ?? '').split(delimiter)
  return directories.map(directory => join(directory, program)).find(isExecutable)
}

/** The path of a program that is there; tests that call it stand behind `withPrograms`. */
export function pathOf(program: Program): string {
  const path = find(program)
  if (path === undefined) throw new Error(missing([program]))
  return path
}

/**
 * A test that needs programs. What is missing is named; outside CI the test is skipped for it, in CI it fails.
 *
 * @param more - says what else is missing, for what is not simply a program in the PATH.
 */
export function withPrograms(
  programs: readonly Program[],
  name: string,
  body: (t: Test) => Promise<void>,
  more: () => string | undefined = () => undefined,
): void {
  const absent = programs.filter(program => find(program) === undefined)
  const why = absent.length > 0 ? missing(absent) : more()
  if (why === undefined) return void t.test(name, body)
  if (process.env.CI !== undefined) return void t.test(name, async t => t.fail(why))
  // Loud: a skipped test is a client that nobody has tried.
  process.stderr.write(`interop: SKIPPED ${name}: ${why}\n`)
  t.test(name, { skip: why }, body)
}

function missing(programs: readonly Program[]): string {
  const packages = [...new Set(programs.map(program => PROGRAMS[program]))]
  return `${programs.join(', ')} is missing (Debian: ${packages.join(' ')})`
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** A Node.js 20 besides the repository's own: the oldest that the preload is for and that is still met. */
export function findNode20(): string | undefined {
  const candidates = [
    process.env.CLOAKROOM_NODE20 ?? '',
    ...(process.env.PATH ?? '').split(delimiter).map(directory => join(directory, 'node')),
    '/usr/bin/node',
  ]
  return candidates.find(path => existsSync(path) && versionOf(path).startsWith('v20.'))
}

function versionOf(node: string): string {
  // Not the runner's NODE_OPTIONS: they are not for this release.
  return spawnSync('env', ['-i', node, '--version'], { encoding: 'utf8' }).stdout ?? ''
}
