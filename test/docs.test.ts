/**
 * The pages say what is: generated ones are in step with their tables, links lead somewhere, commands and ids exist.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import { GENERATED, outOfStep } from '../scripts/generate.ts'
import { ERRORS } from '../src/base/errors.ts'
import { buildProgram } from '../src/cli/run.ts'
import { loadConfig } from '../src/config/load.ts'
import { OPTIONS } from '../src/config/table.ts'
import { aDirectory } from './support/directory.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')
const under = (folder: string, end: string): string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && entry.name.endsWith(end))
    .map(entry => join(entry.parentPath, entry.name).slice(ROOT.length + 1))

const SOURCES = under('src', '.ts').map(read)
const PAGES = [
  ...readdirSync(ROOT).filter(name => name.endsWith('.md')),
  ...['docs', 'deploy', 'certs'].flatMap(folder => under(folder, '.md')),
]

t.test('generated files are in step with src', async t => {
  t.same(outOfStep(), [], 'run "npm run generate"')
})

t.test('no generated page holds what a sample could not fill', async t => {
  for (const [path, render] of Object.entries(GENERATED)) t.notMatch(render(), /NaN|undefined|\[object/, path)
})

t.test('a generated file that differs, or is missing, is noticed', async t => {
  t.same(outOfStep(aDirectory(t, { 'docs/errors.md': 'old' })), Object.keys(GENERATED))
})

t.test('every error code is in its page, and thrown or answered somewhere', async t => {
  const page = read('docs/errors.md')
  const table = read('src/base/errors.ts')
  const used = SOURCES.filter(text => text !== table).join('\n')

  for (const code of Object.keys(ERRORS)) {
    t.ok(page.includes(`| \`${code}\` |`), `${code} is in docs/errors.md`)
    t.ok(used.includes(`'${code}'`), `${code} is used`)
  }
})

t.test('the annotated configuration loads, and every option in it is one', async t => {
  const directory = aDirectory(t, { 'cloakroom.yaml': read('config/cloakroom.yaml') })

  const config = loadConfig({ flag: directory, env: {} })

  t.equal(config.directory, directory)
})

t.test('every option is in docs/config.md', async t => {
  const page = read('docs/config.md')

  for (const { name, variable } of OPTIONS) {
    t.ok(page.includes(`| \`${name}\` |`), name)
    if (variable !== undefined) t.ok(page.includes(`\`${variable}\``), variable)
  }
})

// GitHub's anchors: lower case, punctuation off, hyphens for spaces.
function anchorsOf(text: string): Set<string> {
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(match => match[1] ?? '')
  return new Set(
    headings.map(heading =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  )
}

for (const page of PAGES) {
  t.test(`links of ${page} lead to something that is there`, async t => {
    const text = read(page).replace(/```[\s\S]*?```/g, '')
    const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(match => match[1] ?? '')

    for (const link of links.filter(one => !/^[a-z]+:/.test(one))) {
      const [path = '', anchor] = link.split('#')
      const file = path === '' ? page : normalize(join(dirname(page), path))
      if (!existsSync(join(ROOT, file))) t.fail(`${link}: there is no ${file}`)
      else if (anchor !== undefined && statSync(join(ROOT, file)).isFile())
        t.ok(anchorsOf(read(file)).has(anchor), link)
    }
  })
}

t.test('every page of docs is in its index', async t => {
  const index = read('docs/README.md')

  for (const page of readdirSync(join(ROOT, 'docs')).filter(
    name => name.endsWith('.md') && name !== 'README.md',
  ))
    t.ok(index.includes(`(${page})`), page)
})

t.test('scripts that pages name are in package.json', async t => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }

  for (const page of PAGES) {
    const named = [...read(page).matchAll(/\bnpm (?:run ([a-z:]+)|(start|test)\b)/g)]
    for (const match of named) t.ok((match[1] ?? match[2] ?? '') in scripts, `${page}: ${match[0]}`)
  }
})

t.test('files that scripts of package.json run are there', async t => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }

  for (const [name, command] of Object.entries(scripts)) {
    const file = /\bnode ([\w/]+\.ts)/.exec(command)?.[1]
    if (file !== undefined) t.ok(existsSync(join(ROOT, file)), `${name}: ${file}`)
  }
})

t.test('commands and their options that pages name are those of the command line', async t => {
  const program = await buildProgram(
    () => async () => undefined,
    () => undefined,
  )
  const find = (words: readonly string[]) =>
    words.reduce<typeof program | undefined>(
      (command, word) => command?.commands.find(one => one.name() === word),
      program,
    )
  const flags = (command: typeof program) => command.options.flatMap(({ long, short }) => [long, short])

  for (const page of PAGES.filter(name => name !== 'docs/rulings.md')) {
    for (const [whole = '', rest = ''] of read(page).matchAll(
      /(?:[`(] ?|\n *|\| )(?:\.\/bin\/)?cloakroom ((?:--config \S+ )?[a-z][^`\n|]*)/g,
    )) {
      const words =
        rest
          .replace(/^--config \S+ /, '')
          .split(/\s+#|\s+[<—]/)[0]
          ?.trim()
          .replace(/[)"'.,;:]+$/, '')
          .split(/\s+/) ?? []
      const [first = '', second = ''] = words
      const top = find([first])
      if (top === undefined) {
        t.fail(`${page}: ${whole.trim()}`)
        continue
      }
      const command = top.commands.length > 0 && second !== '' ? (find([first, second]) ?? top) : top
      const known = [...flags(program), ...flags(command), '--help', '--']
      const end = words.indexOf('--')
      for (const word of words.slice(0, end < 0 ? words.length : end).filter(one => one.startsWith('-')))
        t.ok(known.includes(word.split('=')[0] ?? ''), `${page}: ${word} in ${whole.trim()}`)
    }
  }
})

t.test('what comments cite stands in the pages', async t => {
  const rulings = read('docs/rulings.md')
  const threats = read('docs/threat-model.md')
  const cited = (pattern: RegExp) =>
    new Set(SOURCES.flatMap(text => [...text.matchAll(pattern)].map(match => match[1] ?? '')))

  for (const number of cited(/\brulings?(?:\.md)? (\d+)/g))
    t.match(rulings, new RegExp(`^${number}\\. `, 'm'), `ruling ${number}`)
  for (const id of cited(/\bthreat-model\.md ([A-N]\d{1,2})\b/g))
    t.match(threats, new RegExp(`^\\|[^|]*\\b${id}\\b[^|]*\\|`, 'm'), `attack ${id}`)
})

t.test('nothing that is committed names the machine that it was written on', async t => {
  const files = execFileSync(
    'git',
    ['ls-files', '-z', '--', '*.md', '*.ts', '*.yaml', '*.json', 'deploy', '.ci'],
    { cwd: ROOT },
  )
    .toString()
    .split('\0')
    .filter(file => file !== '' && file !== 'test/docs.test.ts' && existsSync(join(ROOT, file)))

  for (const file of files) {
    if (/(?<![\w/.-])\/(?:root|work|home\/\w+)\//.test(read(file))) t.fail(file)
  }
})
