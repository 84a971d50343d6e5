/**
 * `npm run demo`: an app that holds only a placeholder, a third party that wants a credential, and the sidecar between them.
 *
 * Everything is real: three processes, TLS on both legs, a store on the disk, the command line. Every statement is checked; the exit
 * code is 1 when one of them is not so. It ends by itself and leaves nothing behind.
 */
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { randomBytes } from '../src/base/random.ts'
import { cloakroom, type RunningSidecar, runApp, startSidecar } from './demo/processes.ts'
import { createStage, masked } from './demo/show.ts'
import { startThirdParty, type ThirdParty } from './demo/third-party.ts'

const LONGEST = 30_000 // it takes about 4 s; a hung step must not hang a build
const API = 'api.payments.test'
const STATUS = 'status.payments.test'

const POLICY = `version: 1
callers:
  - id: shop
    identify: { source: loopback }
    tenants: [acme]
rules:
  - id: payments
    callers: [shop]
    target: https://${API}
    methods: [POST]
    paths: [/v1/charges]
    swap:
      - secrets: [acme/payments]
        in: [header.authorization]
  - id: status-page
    callers: [shop]
    target: https://${STATUS}
    methods: [GET]
    paths: [/health]
`

type AppCall = { url: string; status: number; error: string | null; body: string }
type AppReport = { held: string; sent: string; charge: AppCall; allowedHost: AppCall; unknownHost: AppCall }
type Scene = {
  readonly config: string
  readonly state: string
  readonly credential: string
  readonly thirdParty: ThirdParty
}

const write = (text: string): void => void process.stdout.write(text)
const stage = createStage(write, process.stdout.isTTY === true && (process.env.NO_COLOR ?? '') === '')

async function main(): Promise<number> {
  const place = mkdtempSync(join(tmpdir(), 'cloakroom-demo-'))
  const credential = `sk_live_${randomBytes(18).toString('hex')}`
  const thirdParty = await startThirdParty([API, STATUS], credential)
  let sidecar: RunningSidecar | undefined
  try {
    const scene = await prepare(place, credential, thirdParty)
    sidecar = await startSidecar(scene.config)
    const placeholder = await putSecret(scene)
    const report = await useApp(scene, placeholder)
    showExchange(scene, report)
    showRefusals(scene, report)
    await showAudit(scene)
    await showMetrics(sidecar)
    const code = await sidecar.stop()
    showLeaks(scene, sidecar, [JSON.stringify(report)])
    stage.check('the sidecar drained and ended with exit code 0', code === 0)
    sidecar = undefined
  } finally {
    await sidecar?.stop()
    await thirdParty.close()
    rmSync(place, { recursive: true, force: true })
  }
  write(`\n${stage.passed} statements hold, ${stage.failed} do not.\n`)
  return stage.failed === 0 ? 0 : 1
}

async function prepare(place: string, credential: string, thirdParty: ThirdParty): Promise<Scene> {
  const directory = join(place, 'c')
  const config = join(directory, 'cloakroom.yaml')
  const made = await cloakroom(config, ['init', directory])
  if (made.code !== 0) throw new Error(made.err)
  writeFileSync(join(directory, 'third-party-ca.pem'), thirdParty.caPem)
  writeFileSync(join(directory, 'policy.yaml'), POLICY)
  const text = readFileSync(config, 'utf8').replace(/127\.0\.0\.1:(3128|9464)/g, '127.0.0.1:0')
  writeFileSync(config, text)
  // The names exist nowhere, and what they stand for is on loopback: both are said to the sidecar, not to the app.
  const there = `127.0.0.1:${thirdParty.port}`
  appendFileSync(
    config,
    `upstream:
  certificateAuthorities: [third-party-ca.pem]
  allowAddresses: [127.0.0.0/8]
  resolve: { '${API}:443': '${there}', '${STATUS}:443': '${there}' }
`,
  )
  return { config, state: join(directory, 'state'), credential, thirdParty }
}

async function putSecret({ config, credential }: Scene): Promise<string> {
  stage.heading('1. The operator stores the credential; the app gets a placeholder')
  const args = ['secret', 'put', 'acme/payments', '--target', `https://${API}`, '--shape', 'sk_live_']
  const put = await cloakroom(config, args, credential)
  const placeholder = put.out.trim()
  stage.line(`$ cloakroom secret put acme/payments --target https://${API} --shape sk_live_  < credential`)
  stage.line(placeholder)
  stage.check(
    'it looks like a key of that vendor and is none',
    /^sk_live_xclk_r[0-9A-Za-z]{28}$/.test(placeholder),
  )
  return placeholder
}

async function useApp({ config }: Scene, placeholder: string): Promise<AppReport> {
  stage.heading('2. The app runs, with standard variables only')
  const printed = await cloakroom(config, ['env', '--format', 'json'])
  const all = JSON.parse(printed.out) as Record<string, string>
  const { HTTPS_PROXY = '', NODE_USE_ENV_PROXY = '', NODE_EXTRA_CA_CERTS = '' } = all
  const variables = { HTTPS_PROXY, NODE_USE_ENV_PROXY, NODE_EXTRA_CA_CERTS }
  for (const [name, value] of Object.entries(variables)) stage.line(`${name}=${value}`)
  stage.line(`PAYMENTS_KEY=${placeholder}`)
  const app = await runApp({ ...variables, PAYMENTS_KEY: placeholder })
  stage.check('it ran to its end', app.code === 0)
  if (app.code !== 0) throw new Error(app.err)
  return JSON.parse(app.out) as AppReport
}

function showExchange({ thirdParty, credential }: Scene, { held, sent, charge }: AppReport): void {
  stage.heading('3. One request, on both sides of the sidecar')
  const got = thirdParty.calls.find(call => call.host === API)
  const hidden = (text: string) => text.replaceAll(credential, masked(credential))
  stage.sideBySide(
    ['what the app sent', 'what the third party got'],
    [
      ['to', charge.url, `https://${got?.host}${got?.path}`],
      ['authorization', `Bearer ${held}`, hidden(got?.authorization ?? '')],
      ['body', sent, got?.body ?? ''],
    ],
  )
  stage.line()
  stage.line(`the third party answered  ${hidden(got?.answer ?? '')}`)
  stage.line(`the app got back          ${charge.body}`)
  stage.check('the third party got the real credential', got?.authorization === `Bearer ${credential}`)
  stage.check('the body arrived as it was sent', got?.body === sent)
  stage.check('the app was answered 200', charge.status === 200)
  stage.check(
    'the credential that the answer showed came back as the placeholder',
    charge.body.includes(held),
  )
}

function showRefusals({ thirdParty }: Scene, { allowedHost, unknownHost }: AppReport): void {
  stage.heading('4. The same placeholder, sent elsewhere')
  stage.line(
    `${allowedHost.url}  (allowed, without a secret)  ->  ${allowedHost.status} ${allowedHost.error}`,
  )
  stage.line(`${unknownHost.url}  (no rule names it)  ->  ${unknownHost.error}`)
  const refused = allowedHost.status === 403 && allowedHost.error === 'SWAP_REFUSED'
  stage.check('a placeholder for another host is refused', refused)
  stage.check('a host that no rule names is refused before anything is sent', unknownHost.status === 0)
  stage.check('the third party heard of neither', thirdParty.calls.length === 1)
}

async function showAudit({ config }: Scene): Promise<void> {
  stage.heading('5. What was written down')
  const tail = await cloakroom(config, ['--json', 'audit', 'tail', '--lines', '50'])
  const records = tail.out
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, unknown>)
  const shown = ['time', 'event', 'rule', 'target', 'method', 'path', 'swaps', 'status', 'outcome', 'reason']
  for (const record of records.filter(({ request }) => request !== undefined)) {
    const fields = shown.filter(name => record[name] !== undefined)
    stage.line(fields.map(name => textOf(record[name])).join('  '))
  }
  const of = (event: string) => records.filter(record => record.event === event)
  const verified = await cloakroom(config, ['audit', 'verify'])
  for (const line of verified.out.trim().split('\n').slice(0, 2)) stage.line(line)
  stage.check(
    'the intent stands before the outcome',
    (of('intent')[0]?.seq ?? 1) < (of('outcome')[0]?.seq ?? 0),
  )
  stage.check('both refusals are there, with their reasons', of('refused').length === 2)
  stage.check('the chain of records is unbroken', verified.code === 0)
}

function textOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  const [swap] = value as readonly { secret: string; version: number; placeholder: string; in: string }[]
  return swap === undefined ? '' : `${swap.secret} v${swap.version} (${swap.placeholder}) in ${swap.in}`
}

const METRICS: readonly (readonly [pattern: RegExp, least: number])[] = [
  [/^cloakroom_requests_total\{route="payments",outcome="allowed",code_class="2xx"\} (\d+)$/m, 1],
  [/^cloakroom_swaps_total\{direction="request",location="header",result="swapped"\} (\d+)$/m, 1],
  [/^cloakroom_denials_total\{reason="swap_refused",mode="enforce"\} (\d+)$/m, 1],
  [/^cloakroom_denials_total\{reason="host_not_allowed",mode="enforce"\} (\d+)$/m, 1],
  [/^cloakroom_secret_leaks_blocked_total (\d+)$/m, 1],
]

async function showMetrics({ ops }: RunningSidecar): Promise<void> {
  stage.heading('6. What was counted')
  const text = await (await fetch(`http://${ops}/metrics`)).text()
  for (const [pattern, least] of METRICS) {
    const found = pattern.exec(text)
    stage.check(found?.[0] ?? `no series ${pattern.source}`, Number(found?.[1] ?? 0) >= least)
  }
}

function showLeaks({ credential, state }: Scene, sidecar: RunningSidecar, seen: readonly string[]): void {
  stage.heading('7. Where the credential is not')
  const files = readdirSync(state, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => readFileSync(join(entry.parentPath, entry.name)))
  const holds = (bytes: Buffer) => bytes.includes(credential)
  stage.check(
    "in nothing that the app held, sent or got, nor in the sidecar's log",
    ![...seen, sidecar.log()].some(text => text.includes(credential)),
  )
  stage.check(
    `in none of the ${files.length} files of the store, the audit log and the CA`,
    !files.some(holds),
  )
}

const watchdog = setTimeout(() => {
  write(`\nthe demo did not end within ${LONGEST / 1000} s\n`)
  process.exit(1)
}, LONGEST)
process.exitCode = await main().finally(() => clearTimeout(watchdog))
