/**
 * git over HTTPS with Basic, a placeholder as its password: clone, push and fetch, against git's own http-backend.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { aPlace, aRunningSidecar, type Place, type RunningSidecar } from '../support/cli.ts'
import { aDirectory } from '../support/directory.ts'
import { watchDistrust } from './support/distrust.ts'
import { aGitHost, type GitHost } from './support/git-server.ts'
import { pathOf, withPrograms } from './support/needs.ts'
import { type Ran, runProgram } from './support/process.ts'
import {
  leadTo,
  putSecret,
  recordsOf,
  sha256,
  type Variables,
  variablesOf,
  writeRules,
} from './support/site.ts'

const HOST = 'git.example.test'
const USER = 'deploy'
const PASSWORD = 'ghp-real-password-0123456789abcdef'
const RULES = `rules:
  - id: git
    callers: [local]
    target: https://${HOST}
    methods: [GET, POST]
    paths: ['/project.git/**']
    swap: [{ secrets: ['*/deploy', '*/other'], in: [basic.password] }]
`
const PACK_BYTES = 12 << 20

type Scene = {
  readonly place: Place
  readonly sidecar: RunningSidecar
  readonly host: GitHost
  readonly directory: string
  /** The repository's URL with user and placeholder in it. */
  readonly url: string
  git(
    args: readonly string[],
    options?: { cwd?: string; input?: string; variables?: Variables },
  ): Promise<Ran>
}

/** A bare repository at a host, a sidecar on the way to it, and git. */
async function aScene(t: Test, { password = PASSWORD } = {}): Promise<Scene> {
  const directory = aDirectory(t)
  const root = join(directory, 'root')
  mkdirSync(root)
  const host = await aGitHost(t, { host: HOST, root, user: USER, password: PASSWORD })
  const place = await aPlace(t)
  writeRules(place, RULES)
  leadTo(place, { [HOST]: host.port })
  const placeholder = await putSecret(place, 'acme/deploy', { value: password, targets: [`https://${HOST}`] })
  const sidecar = await aRunningSidecar(t, place)
  const variables = await variablesOf(place)
  const git: Scene['git'] = (args, options = {}) =>
    runProgram([pathOf('git'), ...args], {
      cwd: options.cwd ?? directory,
      ...(options.input === undefined ? {} : { input: options.input }),
      env: {
        ...variables,
        ...options.variables,
        HOME: directory, // nobody's own settings
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_TERMINAL_PROMPT: '0',
        GIT_AUTHOR_NAME: 'a',
        GIT_AUTHOR_EMAIL: 'a@example.test',
        GIT_COMMITTER_NAME: 'a',
        GIT_COMMITTER_EMAIL: 'a@example.test',
      },
    })
  await must(git(['init', '-q', '--bare', '-b', 'main', join(root, 'project.git')]))
  await must(git(['-C', join(root, 'project.git'), 'config', 'http.receivepack', 'true']))
  return { place, sidecar, host, directory, url: `https://${USER}:${placeholder}@${HOST}/project.git`, git }
}

async function must(running: Promise<Ran>): Promise<Ran> {
  const ran = await running
  if (ran.code !== 0) throw new Error(ran.said)
  return ran
}

/** A working tree with one file that no pack can make smaller. */
async function aTree({ directory, git }: Scene): Promise<{ tree: string; content: Buffer }> {
  const tree = join(directory, 'tree')
  const content = randomBytes(PACK_BYTES)
  await must(git(['init', '-q', '-b', 'main', tree]))
  writeFileSync(join(tree, 'large.bin'), content)
  await must(git(['add', '.'], { cwd: tree }))
  await must(git(['commit', '-q', '-m', 'large'], { cwd: tree }))
  return { tree, content }
}

/** Branches with a commit each, so that a client that has them all has much to say. */
async function addBranches({ git }: Scene, tree: string, count: number): Promise<void> {
  const stream = Array.from({ length: count }, (_, i) =>
    [
      `commit refs/heads/b${i}`,
      `committer a <a@example.test> ${1_700_000_000 + i} +0000`,
      'data 1',
      'x',
      `M 644 inline f${i}`,
      'data 1',
      'x',
      '',
    ].join('\n'),
  ).join('\n')
  await must(git(['fast-import', '--quiet'], { cwd: tree, input: `${stream}\n` }))
}

withPrograms(['git'], 'git is refused where the placeholder is not its own, or may not stand', async t => {
  const scene = await aScene(t)
  const other = await putSecret(scene.place, 'acme/other', {
    value: PASSWORD,
    targets: ['https://else.example.test'],
  })

  const wrongPlace = await scene.git(['clone', '-q', `https://${other}:x@${HOST}/project.git`, 'a'])
  const otherTarget = await scene.git(['clone', '-q', `https://${USER}:${other}@${HOST}/project.git`, 'b'])
  const noRule = await scene.git(['clone', '-q', scene.url.replace('project.git', 'secret.git'), 'c'])

  for (const ran of [wrongPlace, otherTarget, noRule]) {
    t.not(ran.code, 0)
    t.match(ran.err, /403/)
    t.notMatch(ran.said, PASSWORD)
  }
  t.ok(scene.host.requests.every(({ headers }) => headers.authorization === undefined))
})

withPrograms(['git'], 'git is told of a password that its host does not accept', async t => {
  const scene = await aScene(t, { password: 'a-password-of-the-past-0123456789' })

  const ran = await scene.git(['clone', '-q', scene.url, 'a'])

  t.not(ran.code, 0)
  t.match(ran.err, /Authentication failed/)
})

withPrograms(['git'], 'git does not talk to a CA that it does not trust', async t => {
  const scene = await aScene(t)
  const strange = { GIT_SSL_CAINFO: join(scene.place.directory, 'third-parties.pem') }

  const shownSince = await watchDistrust(scene.sidecar)

  const ran = await scene.git(['clone', '-q', scene.url, 'a'], { variables: strange })

  t.not(ran.code, 0)
  t.match(ran.err, /certificate/)
  t.ok(['unknown_ca', 'silent', 'reset'].includes(String(await shownSince())), String(await shownSince())) // by its TLS library
  t.same(scene.host.requests, [])
})

withPrograms(['git'], 'git pushes and clones 12 MiB with a placeholder as its password', async t => {
  const scene = await aScene(t)
  const { tree, content } = await aTree(scene)

  const pushed = await scene.git(['push', '-q', scene.url, 'main'], { cwd: tree })
  const cloned = await scene.git(['clone', '-q', scene.url, 'copy'])

  t.equal(pushed.code, 0, pushed.said)
  t.equal(cloned.code, 0, cloned.said)
  t.equal(sha256(readFileSync(join(scene.directory, 'copy', 'large.bin'))), sha256(content))
  const [first, second] = scene.host.requests
  t.match([first?.status, second?.status], [401, 200], 'asked without credentials first, then with')
  t.equal(first?.headers.authorization, undefined)
  const push = scene.host.requests.filter(({ url }) => url === '/project.git/git-receive-pack').at(-1)
  t.equal(push?.headers['transfer-encoding'], 'chunked', 'the pack came chunked')
  t.notMatch(pushed.said + cloned.said, PASSWORD)
  t.ok(
    recordsOf(scene.place).some(
      ({ event, swaps }) => event === 'intent' && JSON.stringify(swaps).includes('basic'),
    ),
  )
})

withPrograms(['git'], 'git fetches with a gzip body', async t => {
  const scene = await aScene(t)
  const { tree } = await aTree(scene)
  await addBranches(scene, tree, 80)
  await must(scene.git(['push', '-q', '--all', scene.url], { cwd: tree }))

  const cloned = await scene.git(['clone', '-q', scene.url, 'copy'])
  const branches = await scene.git(['branch', '-r'], { cwd: join(scene.directory, 'copy') })

  t.equal(cloned.code, 0, cloned.said)
  t.equal(branches.out.match(/origin\/b\d+/g)?.length, 80)
  t.ok(
    scene.host.requests.some(
      ({ headers, status }) => headers['content-encoding'] === 'gzip' && status === 200,
    ),
  )
})
