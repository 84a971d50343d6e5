/**
 * A copy of the repository in which mutants are tried, so that the one that people work in is never touched.
 */
import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Mutant } from './mutant.ts'

export class Copy {
  readonly directory: string

  /** Copies every plain file that git knows or would take, as it stands; packages are shared. */
  constructor(root: string) {
    this.directory = mkdtempSync(join(tmpdir(), 'cloakroom-mutants-'))
    const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
      cwd: root,
      encoding: 'utf8',
    })
    for (const path of listed.split('\0')) {
      if (lstatSync(join(root, path), { throwIfNoEntry: false })?.isFile() !== true) continue
      mkdirSync(dirname(join(this.directory, path)), { recursive: true })
      cpSync(join(root, path), join(this.directory, path))
    }
    symlinkSync(join(root, 'node_modules'), join(this.directory, 'node_modules'))
  }

  /** Runs with the guard taken out, and puts it back. */
  async with<T>(mutant: Mutant, run: () => Promise<T>): Promise<T> {
    const path = join(this.directory, 'src', mutant.file)
    const whole = readFileSync(path, 'utf8')
    writeFileSync(path, mutate(whole, mutant))
    try {
      return await run()
    } finally {
      writeFileSync(path, whole)
    }
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}

/** How often `find` stands in its file; 0 where the file is gone. */
export function occurrences(root: string, { file, find }: Mutant): number {
  const path = join(root, 'src', file)
  return existsSync(path) ? readFileSync(path, 'utf8').split(find).length - 1 : 0
}

// Cut and joined: String.replace would read "$&".
function mutate(text: string, { find, replace }: Mutant): string {
  const [before = '', after = ''] = text.split(find)
  return before + replace + after
}
