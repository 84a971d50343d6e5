/**
 * `cloakroom exec` with programs of several languages: around them, with or without a sidecar that runs already.
 */
import { join } from 'node:path'
import type { Test } from 'tap'
import { aPlace, aRunningSidecar, type Place } from '../support/cli.ts'
import { anUpstream, type Upstream } from '../support/third-party.ts'
import { CLIENTS } from './support/clients.ts'
import { find, withPrograms } from './support/needs.ts'
import {
  ADDRESS,
  CREDENTIAL,
  leadTo,
  mirror,
  NAME,
  putSecret,
  RULES,
  recordsOf,
  writeRules,
} from './support/site.ts'

// One of each make; clients.test.ts has them all.
const MAKES = [
  'curl',
  "this repository's Node, fetch",
  'Python urllib, strict',
  'Go net/http',
  'Java HttpClient',
]

type Scene = { readonly place: Place; readonly upstream: Upstream; readonly placeholder: string }

async function aScene(t: Test): Promise<Scene> {
  const upstream = await anUpstream(t, { host: NAME, handler: mirror })
  const place = await aPlace(t)
  writeRules(place, RULES.replaceAll('[local, billing]', '[local]'))
  leadTo(place, { [NAME]: upstream.port, [ADDRESS]: upstream.port })
  const placeholder = await putSecret(place, 'acme/token', {
    value: CREDENTIAL,
    targets: [`https://${NAME}`],
  })
  return { place, upstream, placeholder }
}

for (const name of MAKES) {
  const client = CLIENTS.find(one => one.name === name)
  if (client === undefined) throw new Error(`there is no client ${name}`)
  for (const how of ['a private sidecar', 'the sidecar that runs']) {
    withPrograms(client.programs, `exec runs ${name} behind ${how}`, async t => {
      const { place, upstream, placeholder } = await aScene(t)
      if (how === 'the sidecar that runs') await aRunningSidecar(t, place)
      const authorization = `Bearer ${placeholder}`
      const url = `https://${NAME}/v1/things`
      const command = (await client.build())({ url, authorization, file: undefined, variables: {} })

      const ran = await place.run(['exec', '--', ...command])

      t.equal(ran.code, 0, ran.err)
      t.equal(upstream.requests.at(-1)?.headers.authorization, `Bearer ${CREDENTIAL}`)
      t.match(ran.out, authorization)
      t.notMatch(ran.out + ran.err, CREDENTIAL)
      t.equal(/a private sidecar listens/.test(ran.err), how === 'a private sidecar')
    })
  }
}

withPrograms(
  ['curl'],
  'exec gives back the exit code of its program, and what it refuses reaches it',
  async t => {
    const { place, upstream, placeholder } = await aScene(t)
    const curl = [find('curl') ?? 'curl', '-sS', '--fail', '-H', `Authorization: Bearer ${placeholder}`]

    const ran = await place.run(['exec', '--', ...curl, `https://${NAME}/admin`])

    t.equal(ran.code, 22, 'what curl --fail says of a 403')
    t.equal(upstream.requests.length, 0)
    t.ok(recordsOf(place).some(({ event, reason }) => event === 'refused' && reason === 'path_not_allowed'))
  },
)

withPrograms([], 'no variable that exec sets holds a secret, and its files are public ones', async t => {
  const { place } = await aScene(t)

  const ran = await place.run(['exec', '--', 'sh', '-c', 'env; cat "$SSL_CERT_FILE" "$NODE_EXTRA_CA_CERTS"'])

  t.equal(ran.code, 0, ran.err)
  t.match(ran.out, join(place.directory, 'state', 'trust'))
  t.notMatch(ran.out, /PRIVATE KEY/)
  t.notMatch(ran.out, CREDENTIAL)
})
