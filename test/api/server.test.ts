/**
 * The admin socket: who may speak to it, what it refuses, that changes are recorded first, and that no value ever comes back.
 */
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ControlDeps, HaltScope } from '../../src/api/control.ts'
import { OPERATIONS } from '../../src/api/operations.ts'
import { createAdminServer } from '../../src/api/server.ts'
import { CloakroomError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { reachSidecar } from '../../src/cli/admin-client.ts'
import type { AuditFields } from '../../src/model/exchange.ts'
import { createPolicyHolder } from '../../src/policy/holder.ts'
import { loadPolicy } from '../../src/policy/load.ts'
import { manualClock } from '../support/clock.ts'
import { aDirectory } from '../support/directory.ts'
import { findLeaks } from '../support/oracle.ts'
import { aStore } from '../support/store.ts'

const CANARY = 'sk_live_canary_value_0123456789abcdef'
const VALUE = Buffer.from(CANARY).toString('base64')
const TARGETS = ['https://api.example.com']

const POLICY = `# kept comment
version: 1
callers:
  - id: local
    identify: { source: loopback }
    tenants: ['*']
rules:
  - id: example
    callers: [local]
    target: https://api.example.com
    methods: [GET]
    paths: ['/**']
`

type Noted = { readonly event: string; readonly fields: AuditFields }

type TestServer = {
  readonly socket: string
  readonly directory: string
  readonly deps: ControlDeps
  readonly clock: ReturnType<typeof manualClock>
  readonly noted: Noted[]
  readonly halted: HaltScope[]
  /** When set, the audit trail refuses to write. */
  fails: boolean
  stop(): Promise<void>
}

async function aServer(t: Test): Promise<TestServer> {
  const directory = aDirectory(t, { 'policy.yaml': POLICY })
  const file = join(directory, 'policy.yaml')
  const clock = manualClock()
  const store = await aStore(t, { directory, clock })
  const holder = createPolicyHolder(await loadPolicy([file], { now: 0 }))
  const state = { noted: [] as Noted[], halted: [] as HaltScope[], fails: false }
  const deps: ControlDeps = {
    secrets: store.admin,
    clock,
    note: async (event, fields) => {
      if (state.fails) throw new CloakroomError('AUDIT_UNAVAILABLE', {})
      state.noted.push({ event, fields })
    },
    policy: {
      files: [file],
      current: () => holder.snapshot(),
      reload: async () => {
        holder.replace(await loadPolicy([file], { now: 0 }))
        const policy = holder.snapshot()
        return { hash: policy.hash, rules: policy.rules.length, callers: policy.callers.size }
      },
    },
    sidecar: {
      status: () => ({
        version: '0',
        node: 'v24',
        pid: 1,
        instance: 'test',
        startedAt: 0,
        addresses: { proxy: '127.0.0.1:1', ops: '127.0.0.1:2', admin: 'x' },
        policy: undefined,
        checks: {},
        counts: {},
        caExpiresAt: 0,
      }),
      halt: scope => void state.halted.push(scope),
      lift: scope => {
        const at = state.halted.findIndex(one => JSON.stringify(one) === JSON.stringify(scope))
        return at >= 0 && state.halted.splice(at, 1).length === 1
      },
      halts: () => state.halted,
    },
  }
  const socket = join(directory, 'admin.sock')
  const server = createAdminServer({ socket, deps, log: silentLog })
  await server.start()
  let isStopped = false
  const stop = async (): Promise<void> => {
    if (!isStopped) await server.stop()
    isStopped = true
  }
  t.teardown(stop)
  return Object.assign(state, { socket, directory, deps, clock, stop })
}

type Raw = { method?: string; path?: string; headers?: Record<string, string>; body?: string }
type RawAnswer = { status: number; type: string; text: string; json: () => Record<string, unknown> }

function ask(socket: string, name: string, params: unknown = {}, raw: Raw = {}): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({
      socketPath: socket,
      method: raw.method ?? 'POST',
      path: raw.path ?? `/v1/${name}`,
      headers: { Host: 'localhost', 'Content-Type': 'application/json', ...raw.headers },
      agent: false,
    })
    outgoing.on('error', reject)
    outgoing.on('response', response => {
      const chunks: Buffer[] = []
      response.on('data', chunk => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8')
        const type = response.headers['content-type'] ?? ''
        resolve({
          status: response.statusCode ?? 0,
          type,
          text,
          json: () => JSON.parse(text.trim().split('\n').at(-1) ?? ''),
        })
      })
    })
    outgoing.end(raw.body ?? JSON.stringify(params))
  })
}

t.test(
  'refuses what a web page could send: foreign Host, Origin, other content types, other methods',
  async t => {
    const { socket, noted } = await aServer(t)
    const refused: Raw[] = [
      { headers: { Host: 'evil.example.com' } },
      { headers: { Host: 'localhost.evil.example.com' } },
      { headers: { Host: '127.0.0.1' } },
      { headers: { Origin: 'https://evil.example.com' } },
      { headers: { 'Sec-Fetch-Site': 'cross-site' } },
      { headers: { 'Content-Type': 'text/plain' } },
      { headers: { 'Content-Type': 'application/x-www-form-urlencoded' } },
      { headers: { 'Content-Type': 'application/json; charset=latin1' } },
      { method: 'GET', body: '' },
      { method: 'OPTIONS', body: '' },
      { method: 'PUT' },
    ]

    for (const raw of refused) {
      const answer = await ask(socket, 'policy.reload', {}, raw)

      t.equal(answer.status, 400, JSON.stringify(raw))
      t.equal(answer.type, 'application/problem+json')
      t.equal(answer.json().code, 'API_MALFORMED')
    }
    t.same(noted, [], 'nothing was done')
  },
)

t.test('refuses operations that it does not have, and paths that look like them', async t => {
  const { socket } = await aServer(t)

  for (const path of [
    '/v1/nothing',
    '/v1/',
    '/',
    '/v1/secret.put/',
    '/v1/secret.put?x=1',
    '/v1/toString',
    '/v1/__proto__',
    '//v1/status',
  ]) {
    const answer = await ask(socket, '', {}, { path })

    t.equal(answer.status, 404, path)
    t.equal(answer.json().code, 'API_NOT_FOUND')
  }
})

t.test('refuses a body above 1 MiB, and one that is not JSON, without repeating it', async t => {
  const { socket, noted } = await aServer(t)

  const big = await ask(socket, 'secret.put', { secret: 'acme/a', value: 'A'.repeat(1024 * 1024) })
  const broken = await ask(socket, 'secret.put', {}, { body: `{"secret":"acme/a","value":"${CANARY}"` })
  const list = await ask(socket, 'secret.put', [])

  t.equal(big.status, 400)
  t.match(big.json().detail, /larger than/)
  t.equal(broken.status, 400)
  t.notMatch(broken.text, 'canary')
  t.equal(list.status, 400)
  t.same(noted, [])
})

t.test('refuses parameters that are unknown, malformed or of the wrong type', async t => {
  const { socket, noted } = await aServer(t)
  const put = { secret: 'acme/a', value: VALUE, targets: TARGETS }
  const bad = [
    { ...put, extra: 1 },
    { ...put, secret: 'acme' },
    { ...put, secret: 'Acme/a' },
    { ...put, secret: 'acme/a/b' },
    { ...put, secret: '../a' },
    { ...put, value: CANARY },
    { ...put, value: 7 },
    { ...put, targets: [] },
    { ...put, targets: ['api.example.com'] },
    { ...put, targets: ['https://api.example.com/path'] },
    { ...put, targets: 'https://api.example.com' },
    { ...put, expiresAt: 'tomorrow' },
    { ...put, expiresAt: 1.5 },
    { ...put, force: 'yes' },
    { ...put, __proto__: null, constructor: 1 },
  ]

  for (const params of bad) {
    const answer = await ask(socket, 'secret.put', params)

    t.equal(answer.status, 400, JSON.stringify(params).slice(0, 80))
    t.same(findLeaks(Buffer.from(answer.text), CANARY), [])
  }
  t.same(noted, [])
})

t.test('does nothing when the change cannot be recorded first', async t => {
  const server = await aServer(t)
  server.fails = true

  const put = await ask(server.socket, 'secret.put', { secret: 'acme/a', value: VALUE, targets: TARGETS })
  const add = await ask(server.socket, 'caller.add', { caller: 'billing', tenants: ['*'] })

  t.equal(put.status, 503)
  t.equal(put.json().code, 'AUDIT_UNAVAILABLE')
  t.equal(add.status, 503)
  server.fails = false
  t.same((await ask(server.socket, 'secret.list')).json().result, [])
  t.equal(readFileSync(join(server.directory, 'policy.yaml'), 'utf8'), POLICY)
})

t.test('halts also when the halt cannot be recorded, and says so', async t => {
  const server = await aServer(t)
  server.fails = true

  const answer = await ask(server.socket, 'halt', { tenant: 'acme' })

  t.same(answer.json().result, { scope: 'tenant acme', recorded: false, known: false })
  t.same(server.halted, [{ kind: 'tenant', tenant: 'acme' }])
})

t.test('halts while a change hangs', async t => {
  const server = await aServer(t)
  let release = (): void => undefined
  const hanging = new Promise<void>(resolve => {
    release = resolve
  })
  const { note } = server.deps
  Object.assign(server.deps, {
    note: async (event: string, fields: AuditFields) => {
      if (event === 'secret_put') await hanging
      return note(event, fields)
    },
  })
  const put = ask(server.socket, 'secret.put', { secret: 'acme/a', value: VALUE, targets: TARGETS })

  const halted = await ask(server.socket, 'halt', {})

  t.equal(halted.status, 200)
  t.same(server.halted, [{ kind: 'all' }])
  release()
  t.equal((await put).status, 200)
})

t.test('records a change that then failed as failed', async t => {
  const { socket, noted } = await aServer(t)

  const answer = await ask(socket, 'secret.revoke', { secret: 'acme/none' })

  t.equal(answer.status, 404)
  t.equal(answer.json().code, 'SECRET_NOT_FOUND')
  t.same(
    noted.map(({ event }) => event),
    ['secret_revoked', 'secret_revoked_failed'],
  )
})

t.test('refuses to listen in a directory that others may use, or in the place of a file', async t => {
  const server = await aServer(t)
  const open = aDirectory(t, { 'd/.keep': '' })
  chmodSync(join(open, 'd'), 0o755)
  const taken = aDirectory(t, { 'admin.sock': 'a file' })
  const start = (socket: string) => createAdminServer({ socket, deps: server.deps, log: silentLog }).start()

  await t.rejects(start(join(open, 'd', 'admin.sock')), { code: 'STORAGE_UNSAFE' })
  await t.rejects(start(join(taken, 'admin.sock')), { code: 'STORAGE_UNSAFE' })
  await t.rejects(start(join(open, 'missing', 'admin.sock')), { code: 'STORAGE_UNSAFE' })
  t.equal(readFileSync(join(taken, 'admin.sock'), 'utf8'), 'a file')
})

t.test(
  'listens on a socket of mode 0600 and removes it at the end; takes over that of a killed process',
  async t => {
    const server = await aServer(t)
    const directory = aDirectory(t)
    const socket = join(directory, 'admin.sock')
    const dead = createServer()
    await new Promise<void>(resolve => dead.listen(`${socket}.dead`, resolve))
    const { renameSync } = await import('node:fs')
    renameSync(`${socket}.dead`, socket) // nobody unlinks it now, as after kill -9
    await new Promise(resolve => dead.close(resolve))

    const again = createAdminServer({ socket, deps: server.deps, log: silentLog })
    await again.start()

    t.equal(statSync(socket).mode & 0o777, 0o600)
    t.equal((await ask(socket, 'status')).status, 200)
    await again.stop()
    t.throws(() => statSync(socket), { code: 'ENOENT' })
  },
)

t.test('reports progress of an import line by line, and the result last', async t => {
  const { socket, noted } = await aServer(t)
  const secrets = Array.from({ length: 150 }, (_, i) => ({
    secret: `acme/s${i}`,
    value: VALUE,
    targets: TARGETS,
  }))

  const answer = await ask(socket, 'secret.import', { secrets })

  const lines = answer.text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  t.equal(answer.type, 'application/x-ndjson')
  t.ok(lines.length > 2)
  t.same(lines.at(-2)?.progress, { done: 150, total: 150 })
  t.equal(lines.at(-1)?.result.length, 150)
  t.match(noted, [{ event: 'secret_imported', fields: { count: 150, tenants: ['acme'] } }])
  t.same(findLeaks(Buffer.from(answer.text), CANARY), [])
})

t.test('puts an error behind progress on a line of its own', async t => {
  const server = await aServer(t)
  const secrets = Array.from({ length: 100 }, (_, i) => ({
    secret: `acme/s${i}`,
    value: VALUE,
    targets: TARGETS,
  }))
  const bad = { secret: 'acme/bad', value: Buffer.from('short').toString('base64'), targets: TARGETS }
  const control = await reachSidecar(server.socket)

  const failure = async () => control?.call('secret.import', { secrets: [...secrets, bad] })

  await t.rejects(failure(), { code: 'SECRET_INVALID' })
})

t.test('never gives a value back, from any operation, in any encoding', async t => {
  const { socket, directory, noted } = await aServer(t)
  const secret = 'acme/stripe'
  const answers: RawAnswer[] = []
  const say = async (name: string, params: unknown): Promise<Record<string, unknown>> => {
    const answer = await ask(socket, name, params)
    answers.push(answer)
    return answer.json()
  }

  const put = await say('secret.put', { secret, value: VALUE, targets: TARGETS, shape: 'sk_live_' })
  await say('secret.put', { secret, value: VALUE, targets: ['https://other.example.com'] })
  await say('secret.rotate', { secret, value: VALUE })
  await say('secret.import', { secrets: [{ secret: 'acme/other', value: VALUE, targets: TARGETS }] })
  for (const name of ['get', 'versions', 'placeholder', 'disable', 'enable', 'revoke', 'delete']) {
    await say(`secret.${name}`, { secret })
  }
  await say('secret.list', {})
  await say('status', {})
  await say('secret.put', { secret: CANARY, value: VALUE })
  await say(CANARY, {})

  t.match(put.result, { secret, version: 1, targets: ['https://api.example.com:443'] })
  t.equal(answers.length, 15)
  for (const answer of answers)
    t.same(findLeaks(Buffer.from(answer.text), CANARY), [], answer.text.slice(0, 60))
  t.same(findLeaks(Buffer.from(JSON.stringify(noted)), CANARY), [])
  for (const file of ['store.db', 'store.db-wal']) {
    t.same(findLeaks(readFileSync(join(directory, file)), CANARY), [], file)
  }
  t.not(findLeaks(Buffer.from(VALUE), CANARY).length, 0, 'the oracle sees a value where there is one')
})

t.test('calls a secret whose time is over expired, in the list too', async t => {
  const { socket, clock } = await aServer(t)
  const expiresAt = clock.now() + 1000
  await ask(socket, 'secret.put', { secret: 'acme/a', value: VALUE, targets: TARGETS, expiresAt })
  const states = async () => [
    ((await ask(socket, 'secret.get', { secret: 'acme/a' })).json().result as { state: string }).state,
    ((await ask(socket, 'secret.list')).json().result as { state: string }[])[0]?.state,
  ]

  const before = await states()
  await clock.advance(1000)

  t.same(before, ['active', 'active'])
  t.same(await states(), ['expired', 'expired'])
})

t.test('keeps what a new version does not name, and refuses to widen targets unasked', async t => {
  const { socket } = await aServer(t)
  const first = (await ask(socket, 'secret.put', { secret: 'acme/a', value: VALUE, targets: TARGETS })).json()
  const second = (await ask(socket, 'secret.rotate', { secret: 'acme/a', value: VALUE })).json()

  const wide = await ask(socket, 'secret.put', {
    secret: 'acme/a',
    value: VALUE,
    targets: ['https://b.example.com'],
  })
  const missing = await ask(socket, 'secret.rotate', { secret: 'acme/missing', value: VALUE })

  t.match(first.result, { version: 1 })
  t.match(second.result, { version: 2, targets: ['https://api.example.com:443'] })
  t.equal(
    (second.result as { placeholder: string }).placeholder,
    (first.result as { placeholder: string }).placeholder,
  )
  t.equal(wide.json().code, 'SECRET_TARGETS_WIDENED')
  t.equal(missing.json().code, 'SECRET_NOT_FOUND')
})

t.test('adds, rotates and revokes callers in the policy file, and keeps its comments', async t => {
  const { socket, directory } = await aServer(t)
  const text = () => readFileSync(join(directory, 'policy.yaml'), 'utf8')
  const passwords = async () => {
    const { result } = (await ask(socket, 'caller.list')).json() as {
      result: { caller: string; passwords: number }[]
    }
    return result.find(one => one.caller === 'billing')?.passwords
  }

  const added = (await ask(socket, 'caller.add', { caller: 'billing', tenants: ['acme'] })).json()
  const { password } = added.result as { password: string }
  t.match(password, /^[A-Za-z0-9_-]{43}$/)
  t.notMatch(text(), password)
  t.match(text(), '# kept comment')
  t.equal(await passwords(), 1)

  await ask(socket, 'caller.rotate', { caller: 'billing' })
  t.equal(await passwords(), 2)
  t.match((await ask(socket, 'caller.rotate', { caller: 'billing', finish: true })).json().result, {
    removed: 1,
  })
  t.equal(await passwords(), 1)
  await ask(socket, 'caller.revoke', { caller: 'billing' })
  t.equal(await passwords(), 0)

  t.equal((await ask(socket, 'caller.add', { caller: 'billing', tenants: ['*'] })).json().code, 'CLI_USAGE')
  t.equal((await ask(socket, 'caller.rotate', { caller: 'nobody' })).json().code, 'CALLER_NOT_FOUND')
  t.equal((await ask(socket, 'caller.revoke', { caller: 'local' })).json().code, 'CLI_USAGE')
})

t.test('loses no edit of two that come at one time', async t => {
  const { socket } = await aServer(t)

  await Promise.all(['a', 'b', 'c', 'd'].map(caller => ask(socket, 'caller.add', { caller, tenants: ['*'] })))

  const { result } = (await ask(socket, 'caller.list')).json() as { result: { caller: string }[] }
  t.same(result.map(one => one.caller).sort(), ['a', 'b', 'c', 'd', 'local'])
})

t.test('leaves a policy alone that an edit would make invalid, and tells every fault', async t => {
  const { socket, directory } = await aServer(t)
  const broken = `${POLICY}nonsense: 1\nmore: 2\n`
  writeFileSync(join(directory, 'policy.yaml'), broken)

  const answer = await ask(socket, 'caller.add', { caller: 'billing', tenants: ['*'] })

  t.equal(answer.status, 422)
  t.equal(answer.json().code, 'POLICY_INVALID')
  t.equal((answer.json().faults as string[]).length, 2)
  t.equal(readFileSync(join(directory, 'policy.yaml'), 'utf8'), broken)
})

t.test('gives the command line the same errors as a call in the process would', async t => {
  const { socket, stop } = await aServer(t)
  const control = await reachSidecar(socket)

  const failure = async () => control?.call('secret.get', { secret: 'acme/none' })
  await t.rejects(failure(), {
    code: 'SECRET_NOT_FOUND',
    details: { secret: 'acme/none' },
  })
  await stop()
  t.equal(await reachSidecar(socket), undefined)
})

t.test('states scope and audit event of every operation', async t => {
  for (const [name, operation] of Object.entries(OPERATIONS)) {
    t.ok(['read', 'write', 'urgent'].includes(operation.scope), name)
    if (operation.scope === 'write') t.match(operation.event, /^[a-z_]+$/, name)
  }
  const unrecorded = Object.entries(OPERATIONS).filter(([, { scope }]) => scope !== 'write')
  t.same(
    unrecorded.map(([name]) => name).sort(),
    ['caller.list', 'halt', 'secret.get', 'secret.list', 'secret.versions', 'status'],
    'what is not recorded first changes nothing, but for the halt',
  )
})
