/**
 * The first start: `cloakroom run --init`, and `npm start`, which is nothing else.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, rmSync, statSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { aPlace, aRunningSidecar, cloakroom, startCloakroom } from '../support/cli.ts'
import { aDirectory } from '../support/directory.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const FREE = { CLOAKROOM_PROXY_LISTEN: '127.0.0.1:0', CLOAKROOM_OPS_LISTEN: '127.0.0.1:0' }

/** Runs until it has said that it is ready, sends the signals, and gives what it said with its exit code. */
async function startAndEnd(
  t: Test,
  args: readonly string[],
  options: { env?: Record<string, string>; cwd?: string; signals?: readonly NodeJS.Signals[] } = {},
): Promise<{ code: number | null; text: string }> {
  const child = startCloakroom(args, {
    env: { ...FREE, ...options.env },
    ...(options.cwd && { cwd: options.cwd }),
  })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  const ended = once(child, 'close') as Promise<[number | null]>
  await new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', chunk => {
      text += String(chunk)
      if (text.includes('3. your app')) resolve()
    })
    void ended.then(() => reject(new Error(text)))
  })
  for (const signal of options.signals ?? ['SIGTERM']) child.kill(signal)
  return { code: (await ended)[0], text }
}

t.test('says whose address is taken, and which variables choose another', async t => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => other.close())
  const taken = `127.0.0.1:${(other.address() as AddressInfo).port}`
  const config = join(aDirectory(t), 'cloakroom.yaml')

  const proxy = await cloakroom(['--config', config, 'run', '--init'], {
    env: { ...FREE, CLOAKROOM_PROXY_LISTEN: taken },
  })
  const ops = await cloakroom(['--config', config, 'run', '--init'], {
    env: { ...FREE, CLOAKROOM_OPS_LISTEN: taken },
  })

  t.equal(proxy.code, 1)
  t.match(
    proxy.err,
    `error SIDECAR_CANNOT_LISTEN: the proxy cannot listen on ${taken}: the address is in use`,
  )
  t.match(proxy.err, /hint: .*CLOAKROOM_PROXY_LISTEN=/)
  t.match(ops.err, `ops cannot listen on ${taken}`)
})

t.test('makes no configuration under a name that nothing would find again', async t => {
  const directory = aDirectory(t)

  const run = await cloakroom(['--config', join(directory, 'other.yaml'), 'run', '--init'])

  t.equal(run.code, 2)
  t.match(run.err, /CLI_USAGE.*cloakroom\.yaml/)
  t.notOk(existsSync(join(directory, 'keys')))
})

t.test('makes no empty store in the place of one that is lost', async t => {
  const place = await aPlace(t)
  await place.run(['secret', 'put', 'acme/a', '--target', 'https://api.example.com'], {
    input: 'long-enough-value',
  })
  const store = join(place.directory, 'state/store.db')
  rmSync(store)

  const list = await place.run(['secret', 'list'])
  const run = await place.run(['run'])

  t.same([list.code, run.code], [3, 3])
  t.match(list.err, /STORAGE_MISSING.*\nhint: restore the store from a backup/)
  t.notOk(existsSync(store))
})

t.test('warns when others may change the policy', async t => {
  const place = await aPlace(t)
  chmodSync(join(place.directory, 'policy.yaml'), 0o666)

  const sidecar = await aRunningSidecar(t, place)

  t.match(
    sidecar.log(),
    /another user may change what this sidecar obeys.*policy\.yaml may be changed by others/,
  )
})

t.test('without --init a configuration that is missing is an error', async t => {
  const run = await cloakroom(['run'], { cwd: aDirectory(t) })

  t.equal(run.code, 1)
  t.match(run.err, /CONFIG_NOT_FOUND/)
})

t.test('the first run makes .cloakroom and says in five lines what to do; the second reuses it', async t => {
  const cwd = aDirectory(t)

  const first = await startAndEnd(t, ['run', '--init'], { cwd })
  const key = readFileSync(join(cwd, '.cloakroom', 'keys', 'root.key'), 'utf8')
  const second = await startAndEnd(t, ['run', '--init'], { cwd })

  t.same([first.code, second.code], [0, 0])
  t.match(first.text, /^made .*back up .*root\.key/m)
  t.notMatch(second.text, /^made /m)
  t.equal(readFileSync(join(cwd, '.cloakroom', 'keys', 'root.key'), 'utf8'), key)
  const lines = second.text.split('\n').filter(line => !line.startsWith('{') && line !== '')
  t.equal(lines.length, 5)
  t.match(lines[0], /proxy http:\/\/127\.0\.0\.1:\d+, metrics and health http:\/\/127\.0\.0\.1:\d+\/metrics/)
})

t.test('a directory may be named, by flag or by variable', async t => {
  const byFlag = aDirectory(t)
  const byVariable = join(aDirectory(t), 'place', 'cloakroom.yaml')

  await startAndEnd(t, ['--config', byFlag, 'run', '--init'])
  await startAndEnd(t, ['run', '--init'], { env: { CLOAKROOM_CONFIG: byVariable } })

  t.ok(statSync(join(byFlag, 'cloakroom.yaml')).isFile())
  t.ok(statSync(byVariable).isFile())
})

t.test('one Ctrl-C that comes twice, from the terminal and from npm, drains and ends with 0', async t => {
  const cwd = aDirectory(t)

  const { code, text } = await startAndEnd(t, ['run', '--init'], { cwd, signals: ['SIGINT', 'SIGINT'] })

  t.equal(code, 0)
  t.match(text, /"message":"stopped","reason":"SIGINT"/)
})

t.test('npm start is `run --init` in .cloakroom of the repository', async t => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const script = readFileSync(join(ROOT, 'scripts', 'start.ts'), 'utf8')

  // --help ends before anything is made.
  const child = spawn(
    'env',
    ['-i', `PATH=${process.env.PATH}`, process.execPath, 'scripts/start.ts', '--help'],
    {
      cwd: ROOT,
    },
  )
  let out = ''
  child.stdout.on('data', chunk => {
    out += String(chunk)
  })
  const [code] = (await once(child, 'close')) as [number]

  t.equal(scripts.start, 'node scripts/start.ts')
  t.match(script, "'.cloakroom', 'cloakroom.yaml'")
  t.equal(code, 0)
  t.match(out, /Usage: cloakroom run/)
})
