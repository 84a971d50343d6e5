/**
 * Real clients through a real sidecar, set up by what `cloakroom env` prints and nothing else: by name and by address, with a body,
 * as a caller with a password; and with a CA that they do not trust.
 */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { aDirectory } from '../support/directory.ts'
import { CLIENTS, type Client, type Visit } from './support/clients.ts'
import { watchDistrust } from './support/distrust.ts'
import { withPrograms } from './support/needs.ts'
import { type Ran, runProgram } from './support/process.ts'
import { ADDRESS, aSite, CREDENTIAL, NAME, recordFrom, recordsOf, sha256 } from './support/site.ts'

const UPLOAD = randomBytes(3 << 20)
const site = await aSite(t)
const upload = join(aDirectory(t), 'upload')
writeFileSync(upload, UPLOAD)

type Wish = Partial<Visit> & { readonly url: string }
type Go = (wish: Wish) => Promise<Ran>

/** The mirror's answer: the one line that is JSON. */
function answerOf(ran: Ran): Readonly<Record<string, unknown>> {
  const line = ran.out.split('\n').find(text => text.startsWith('{'))
  return line === undefined ? {} : (JSON.parse(line) as Record<string, unknown>)
}

for (const client of CLIENTS) {
  withPrograms(client.programs, client.name, t => visits(t, client), client.missing)
}

async function visits(t: Test, client: Client): Promise<void> {
  const command = await client.build()
  const authorization = `Bearer ${site.placeholder}`
  const go: Go = wish => {
    const visit = { authorization, file: undefined, variables: site.variables, ...wish }
    return runProgram(command(visit), { env: { ...visit.variables, ...client.env } })
  }
  await t.test('fails cleanly where it does not trust the CA', t => distrusts(t, client, go))
  await t.test('is refused what no rule allows', t => isRefused(t, go))
  for (const [host, upstream] of [
    [NAME, site.byName],
    [ADDRESS, site.byAddress],
  ] as const) {
    await t.test(`swaps and redacts for ${host}`, async t => {
      const ran = await go({ url: `https://${host}/v1/things?x=1` })

      t.equal(ran.code, 0, ran.said)
      t.equal(upstream.requests.at(-1)?.headers.authorization, `Bearer ${CREDENTIAL}`)
      t.match(answerOf(ran), { url: '/v1/things?x=1', headers: { authorization } })
      t.notMatch(ran.said, CREDENTIAL)
    })
  }
  await t.test('sends a body whole', async t => {
    const ran = await go({ url: `https://${NAME}/v1/upload`, file: upload })

    t.equal(ran.code, 0, ran.said)
    t.match(answerOf(ran), { method: 'POST', bodyBytes: UPLOAD.length, bodySha256: sha256(UPLOAD) })
  })
  if (client.takesPassword !== false)
    await t.test('is known by its password', async t => {
      const before = recordsOf(site.place).length

      const ran = await go({ url: `https://${NAME}/v1/things`, variables: site.withPassword })

      t.equal(ran.code, 0, ran.said)
      const record = await recordFrom(
        site.place,
        before,
        ({ event, caller }) => event === 'outcome' && caller === 'billing',
      )
      t.match(record, { status: 200 })
    })
}

async function distrusts(t: Test, client: Client, go: Go): Promise<void> {
  const shownSince = await watchDistrust(site.sidecar)
  const requests = site.byName.requests.length

  const ran = await go({ url: `https://${NAME}/v1/things`, variables: site.distrusting })

  const shown = await shownSince()
  t.not(ran.code, 0, ran.said)
  t.equal(site.byName.requests.length, requests, 'the third party saw nothing')
  t.ok(
    client.distrust.some(distrust => distrust === shown),
    `shown as ${shown}`,
  )
}

async function isRefused(t: Test, go: Go): Promise<void> {
  const requests = site.byName.requests.length
  const before = recordsOf(site.place).length

  const ran = await go({ url: `https://${NAME}/admin` })

  t.equal(site.byName.requests.length, requests, 'the third party saw nothing')
  t.notMatch(ran.said, CREDENTIAL)
  const record = await recordFrom(site.place, before, ({ event }) => event === 'refused')
  t.match(record, { caller: 'local', reason: 'path_not_allowed' })
}
