/**
 * Image, Compose and systemd files against the program: what they name exists, and the commands in them run.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { appVariables } from '../../src/cli/variables.ts'
import { OPTIONS } from '../../src/config/table.ts'
import { aDirectory } from '../support/directory.ts'
import { DEPLOY, PROBES, probe, ROOT, start } from './support.ts'

const DOCKERFILE = readFileSync(join(DEPLOY, 'Dockerfile'), 'utf8')
const IGNORE = readFileSync(join(DEPLOY, 'Dockerfile.dockerignore'), 'utf8')
const UNIT = readFileSync(join(DEPLOY, 'systemd', 'cloakroom.service'), 'utf8')
const STATE = '/var/lib/cloakroom'
const TRUST = '/run/cloakroom-trust'
const VARIABLES = new Set(OPTIONS.map(option => option.variable))
const LONGEST_DRAIN_S = 25 // limits.drain

type Compose = {
  services: Record<
    'cloakroom' | 'app',
    {
      command: string[]
      environment: Record<string, string>
      volumes: string[]
      healthcheck: { test: string[] }
      stop_grace_period: string
    }
  >
}
const COMPOSE = parse(readFileSync(join(DEPLOY, 'compose.yaml'), 'utf8')) as Compose

function copied(): string[] {
  return [...DOCKERFILE.matchAll(/^COPY (?!--from)(.+)$/gm)].flatMap(match =>
    (match[1] ?? '').split(' ').slice(0, -1),
  )
}

t.test('every file that the image copies exists, and is sent to the builder', async t => {
  const sent = IGNORE.split('\n')
    .filter(line => line.startsWith('!'))
    .map(line => line.slice(1))

  t.ok(copied().length >= 8)
  for (const path of copied()) {
    t.ok(existsSync(join(ROOT, path)), path)
    t.ok(sent.includes(path) || sent.some(one => one.startsWith(`${path}/`)), `sent: ${path}`)
  }
  for (const path of sent) t.ok(existsSync(join(ROOT, path)), path)
})

t.test('the image runs the program of the package, as a numbered user, without install scripts', async t => {
  const { bin } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    bin: { cloakroom: string }
  }

  t.match(DOCKERFILE, `"/app/${bin.cloakroom}"]`)
  t.match(DOCKERFILE, /^USER 14237:14237$/m)
  t.match(DOCKERFILE, /npm ci --ignore-scripts/)
  t.notMatch(DOCKERFILE, /^RUN .*npm (install|i) /m)
})

t.test('the command of Compose makes its place, listens, and ends with 0', async t => {
  const directory = aDirectory(t)
  const { command, environment, healthcheck } = COMPOSE.services.cloakroom
  const moved = (text: string) =>
    text.replace(STATE, join(directory, 's')).replace(TRUST, join(directory, 't'))
  const env = Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, moved(value)]))

  const sidecar = await start(t, command.map(moved), env)

  const path = /9464(\/\w+)/.exec(healthcheck.test.join(' '))?.[1] ?? ''
  t.ok(PROBES.includes(path), path)
  t.equal(await probe(sidecar.ops, path), 200)
  t.ok(existsSync(join(directory, 't', 'bundle.pem')))
  t.equal(statSync(join(directory, 't', 'ca.pem')).mode & 0o777, 0o644)
  t.equal(await sidecar.stop(), 0)
})

t.test("the app's variables in Compose are those that `cloakroom env` prints", async t => {
  const trust = {
    ca: `${TRUST}/ca.pem`,
    bundle: `${TRUST}/bundle.pem`,
    trustStore: `${TRUST}/truststore.p12`,
  }
  const proxy = { host: '127.0.0.1', port: 3128 }
  const printed = appVariables({ proxy, credentials: undefined, trust, preload: undefined, env: {} })

  for (const [name, value] of Object.entries(COMPOSE.services.app.environment)) {
    t.equal(printed.find(variable => variable.name === name)?.value, value, name)
  }
})

t.test('the app in Compose is given public certificates and nothing else', async t => {
  t.same(COMPOSE.services.app.volumes, [`trust:${TRUST}:ro`])
})

t.test('the variables for the sidecar are options', async t => {
  const named = [...UNIT.matchAll(/^Environment=(CLOAKROOM_\w+)/gm)].map(match => match[1] ?? '')

  for (const name of [...named, ...Object.keys(COMPOSE.services.cloakroom.environment)]) {
    t.ok(VARIABLES.has(name), name)
  }
})

t.test('who stops the sidecar waits longer than it drains', async t => {
  const unit = Number(/^TimeoutStopSec=(\d+)s$/m.exec(UNIT)?.[1])
  const compose = Number.parseInt(COMPOSE.services.cloakroom.stop_grace_period, 10)

  t.equal(OPTIONS.find(option => option.path === 'limits.drain')?.byDefault, `${LONGEST_DRAIN_S}s`)
  t.ok(unit > LONGEST_DRAIN_S && compose > LONGEST_DRAIN_S)
})

t.test('the command of the unit starts twice over the same place, and its reload is heard', async t => {
  const directory = join(aDirectory(t), 's')
  const [, ...words] = (/^ExecStart=(.+)$/m.exec(UNIT)?.[1] ?? '').split(' ')
  const args = words.map(word => word.replace(STATE, directory))
  const env = { CLOAKROOM_CA_TRUST: join(directory, 'trust') }

  const first = await start(t, args, env)
  const code = await first.stop()
  const second = await start(t, args, env)

  t.equal(code, 0)
  t.notMatch(second.log(), /^made /m)
  t.match(UNIT, /^ExecReload=\/bin\/kill -HUP \$MAINPID$/m)
  t.equal(await second.stop(), 0)
})
