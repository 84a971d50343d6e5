/**
 * The Kubernetes files against the program: a pod is played with real files, a real store and the real command line.
 */
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { placeFiles } from '../../scripts/place-files.ts'
import { appVariables } from '../../src/cli/variables.ts'
import { loadConfig } from '../../src/config/load.ts'
import { trustFilesOf } from '../../src/config/trust-files.ts'
import { loadPolicy } from '../../src/policy/load.ts'
import { aPlace, cloakroom, type Place } from '../support/cli.ts'
import { aDirectory } from '../support/directory.ts'
import { DEPLOY, PROBES, probe, start } from './support.ts'

const HERE = join(DEPLOY, 'kubernetes')
const UID = 14237

type Mount = { name: string; mountPath: string; readOnly?: boolean }
type Container = {
  name: string
  image: string
  args?: string[]
  restartPolicy?: string
  env?: { name: string; value: string }[]
  ports?: { name: string; containerPort: number }[]
  securityContext: { runAsUser: number; allowPrivilegeEscalation: boolean }
  volumeMounts: Mount[]
} & {
  [probe in 'startupProbe' | 'readinessProbe' | 'livenessProbe']?: { httpGet: { path: string; port: string } }
}
type PodSpec = {
  initContainers: Container[]
  containers: Container[]
  volumes: { name: string; secret?: object }[]
  terminationGracePeriodSeconds: number
  shareProcessNamespace: boolean
}

const read = (name: string): string => readFileSync(join(HERE, name), 'utf8')
const POD = (parse(read('deployment.yaml'), { merge: true }) as { spec: { template: { spec: PodSpec } } })
  .spec.template.spec
const [PLACER, SIDECAR] = POD.initContainers as [Container, Container]
const [APP] = POD.containers as [Container]
const config = () => loadConfig({ flag: join(HERE, 'cloakroom.yaml'), env: {} })

/** Files as the kubelet mounts them: behind two links, readable for everybody. */
function mount(directory: string, files: Readonly<Record<string, Buffer | string>>): void {
  mkdirSync(join(directory, '..2026_11_23'), { recursive: true })
  symlinkSync('..2026_11_23', join(directory, '..data'))
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(directory, '..2026_11_23', name), content, { mode: 0o444 })
    symlinkSync(`..data/${name}`, join(directory, name))
  }
}

function filesOf(directory: string, names = readdirSync(directory)): Record<string, Buffer> {
  return Object.fromEntries(names.map(name => [name, readFileSync(join(directory, name))]))
}

/** What the operator makes outside of the cluster. */
async function anOperatorsPlace(t: Test): Promise<Place> {
  const place = await aPlace(t)
  const put = await place.run(['secret', 'put', 'acme/example', '--target', 'https://api.example.com'], {
    input: 'real-credential-0123456789',
  })
  t.equal(put.code, 0, put.err)
  return place
}

/** The volumes of the pod, with the Secrets and the ConfigMap in them. */
function aPod(t: Test, place: Place): { root: string; moved(text: string): string } {
  const root = aDirectory(t)
  const moved = (text: string) => text.replaceAll(/\/(run\/cloakroom|from|etc\/cloakroom)/g, `${root}/$1`)
  mount(join(root, 'from', 'keys'), filesOf(join(place.directory, 'keys')))
  mount(
    join(root, 'from', 'store'),
    filesOf(join(place.directory, 'state'), ['store.db', 'ca.pem', 'audit.pub.pem']),
  )
  mount(join(root, 'etc', 'cloakroom'), {
    'cloakroom.yaml': moved(read('cloakroom.yaml')),
    'policy.yaml': read('policy.yaml'),
  })
  mkdirSync(join(root, 'run'))
  return { root, moved }
}

t.test('keys as a Secret is mounted are refused: the placing container is needed', async t => {
  const place = await anOperatorsPlace(t)
  const { root, moved } = aPod(t, place)
  placeFiles(join(root, 'from', 'store'), join(root, 'run', 'cloakroom', 'state'))
  const env = { CLOAKROOM_KEYS_FILE: join(root, 'from', 'keys', 'root.key') }

  await t.rejects(start(t, (SIDECAR.args ?? []).map(moved), env), { message: /KEY_FILE_UNSAFE/ })
})

t.test('the pod starts from placed files, answers its probes, opens the store and ends with 0', async t => {
  const place = await anOperatorsPlace(t)
  const { root, moved } = aPod(t, place)
  const args = (PLACER.args ?? []).map(moved)
  for (let i = 0; i < args.length; i += 2) placeFiles(args[i] ?? '', args[i + 1] ?? '')

  const sidecar = await start(t, (SIDECAR.args ?? []).map(moved))

  for (const name of ['startupProbe', 'readinessProbe', 'livenessProbe'] as const) {
    const path = SIDECAR[name]?.httpGet.path ?? ''
    t.ok(PROBES.includes(path), `${name} ${path}`)
    t.equal(await probe(sidecar.ops, path), 200, path)
  }
  const shown = await cloakroom([
    '--config',
    join(root, 'etc/cloakroom/cloakroom.yaml'),
    'secret',
    'get',
    'acme/example',
  ])
  t.equal(shown.code, 0, shown.err)
  t.match(shown.out, /https:\/\/api\.example\.com/)
  t.equal(statSync(join(root, 'run/cloakroom-trust/bundle.pem')).mode & 0o777, 0o644)
  t.equal(await sidecar.stop(), 0)
})

t.test('placing keeps what is there, makes it private, and leaves the links of the kubelet out', async t => {
  const root = aDirectory(t)
  mount(join(root, 'from'), { 'root.key': 'new', 'store.db': 'new' })
  mkdirSync(join(root, 'to'), { mode: 0o700 })
  writeFileSync(join(root, 'to', 'store.db'), 'changed since', { mode: 0o600 })

  const placed = placeFiles(join(root, 'from'), join(root, 'to'))

  t.same(placed, ['root.key'])
  t.same(readdirSync(join(root, 'to')).sort(), ['root.key', 'store.db'])
  t.equal(statSync(join(root, 'to', 'root.key')).mode & 0o777, 0o400)
  t.equal(readFileSync(join(root, 'to', 'store.db'), 'utf8'), 'changed since')
})

t.test('the configuration loads, and every path of ours lies in a volume of the sidecar', async t => {
  const { keys, store, ca, admin, audit } = config()
  const own = SIDECAR.volumeMounts.map(mount => mount.mountPath)

  for (const path of [
    keys.file,
    store.file,
    ca.certificate,
    ca.key,
    ca.trust,
    admin.socket,
    audit.signingKey,
  ]) {
    t.ok(
      own.some(mount => path === mount || path.startsWith(`${mount}/`)),
      path,
    )
  }
})

t.test('the policy compiles and passes its own tests', async t => {
  const policy = await loadPolicy([join(HERE, 'policy.yaml')], { now: Date.UTC(2026, 10, 23) })

  t.ok(policy.rules.length > 0 && policy.tests.length > 2)
})

t.test('probes and scrapes go to the port of the ops listener, which is open to the node', async t => {
  const { host, port } = config().ops.listen
  const [named] = SIDECAR.ports ?? []
  const monitor = parse(read('podmonitor.yaml')) as {
    spec: { podMetricsEndpoints: { port: string; path: string }[] }
  }

  t.same([host, port], ['0.0.0.0', named?.containerPort])
  for (const name of ['startupProbe', 'readinessProbe', 'livenessProbe'] as const)
    t.equal(SIDECAR[name]?.httpGet.port, named?.name)
  t.match(monitor.spec.podMetricsEndpoints, [{ port: named?.name, path: '/metrics' }])
})

t.test(
  'only the placing container mounts the Secrets, and the app mounts public certificates alone',
  async t => {
    const secrets = POD.volumes.filter(volume => volume.secret !== undefined).map(volume => volume.name)
    const withSecrets = [...POD.initContainers, ...POD.containers].filter(({ volumeMounts }) =>
      volumeMounts.some(({ name }) => secrets.includes(name)),
    )

    t.equal(secrets.length, 2)
    t.same(
      withSecrets.map(container => container.name),
      [PLACER.name],
    )
    t.same(APP.volumeMounts, [{ name: 'cloakroom-trust', mountPath: config().ca.trust, readOnly: true }])
  },
)

t.test('the app shares neither user nor processes with the sidecar', async t => {
  t.same([PLACER.securityContext.runAsUser, SIDECAR.securityContext.runAsUser], [UID, UID])
  t.not(APP.securityContext.runAsUser, UID)
  t.equal(POD.shareProcessNamespace, false)
  t.equal(SIDECAR.restartPolicy, 'Always')
  t.match(readFileSync(join(DEPLOY, 'Dockerfile'), 'utf8'), `USER ${UID}:${UID}`)
})

t.test("the app's variables are those that `cloakroom env` prints", async t => {
  const { ca, proxy } = config()
  const trust = trustFilesOf({ ca })
  const printed = appVariables({
    proxy: proxy.listen,
    credentials: undefined,
    trust,
    preload: undefined,
    env: {},
  })
  const ours = (APP.env ?? []).filter(({ name }) => name !== 'EXAMPLE_API_KEY')

  t.ok(ours.length > 10)
  for (const { name, value } of ours) t.equal(printed.find(one => one.name === name)?.value, value, name)
})

t.test('the pod waits longer than the sidecar drains', async t => {
  t.ok(POD.terminationGracePeriodSeconds * 1000 > config().limits.drain)
})

t.test('the kustomization names every file of the folder', async t => {
  const text = read('kustomization.yaml')

  for (const name of readdirSync(HERE).filter(
    file => file.endsWith('.yaml') && file !== 'kustomization.yaml',
  ))
    t.ok(text.includes(basename(name)), name)
})
