/**
 * One caller that takes what others need: places, look-ups, records.
 */
import t from 'tap'
import { newCallerPassword } from '../../src/identity/password.ts'
import { mintPlaceholder } from '../../src/swap/placeholder.ts'
import { openTcp, proxyAuthorization, readAll } from '../support/caller.ts'
import { aSidecar, policyFor, type TestSidecar, USUAL_RULE } from '../support/sidecar.ts'
import { anUpstream, aRawUpstream } from '../support/third-party.ts'
import { anArena, codeOf, get, HOST, sendInTunnel, statusOf } from './arena.ts'

const SILENT = 'silent.example.test'
const SILENT_RULE = `  - id: silent
    callers: [app]
    target: https://${SILENT}
    methods: [GET]
    paths: ['/**']
`

/** How often a placeholder has been looked up. */
async function lookUps(sidecar: TestSidecar): Promise<number> {
  const lines = (await sidecar.metrics()).matchAll(
    /^cloakroom_cache_requests_total\{cache="secret".*\} (\d+)$/gm,
  )
  return [...lines].reduce((sum, [, count]) => sum + Number(count), 0)
}

t.test('a caller that fills its places is refused, and others are served', async t => {
  const silent = await aRawUpstream(t, { host: SILENT, onSocket: socket => void socket.resume() })
  const upstream = await anUpstream(t)
  const { password, sha256 } = newCallerPassword()
  const sidecar = await aSidecar(t, {
    upstreams: [upstream, silent],
    policy: policyFor(
      USUAL_RULE.replace('[app]', '[app, good]') + SILENT_RULE,
      `  - { id: good, identify: { proxyAuthorization: { sha256: ${sha256} } }, tenants: ['*'] }\n`,
    ),
    config: { limits: { drain: '100ms', inFlight: 10, inFlightPerCaller: 3 } },
  })
  const askSilent = () => sendInTunnel(sidecar, get('/', [], SILENT), { authority: `${SILENT}:443` })
  const held = [askSilent(), askSilent(), askSilent()]
  while (silent.connections < 3) await new Promise(resolve => setImmediate(resolve))

  const more = await askSilent()
  const good = await sendInTunnel(sidecar, get('/'), { headers: proxyAuthorization('good', password) })
  await silent.close()
  await Promise.all(held)
  const after = await sendInTunnel(sidecar, get('/'))

  t.equal(codeOf(more), 'SIDECAR_OVERLOADED')
  t.equal(statusOf(good), 200)
  t.equal(statusOf(after), 200, 'places are given back')
})

t.test('sixty placeholders in one request cost five look-ups', async t => {
  const { sidecar } = await anArena(t)
  const before = await lookUps(sidecar)
  const headers = Array.from({ length: 60 }, (_, i) => `X-${i}: ${mintPlaceholder()}`)

  const answer = await sendInTunnel(sidecar, get('/', headers))

  t.equal(codeOf(answer), 'SWAP_REFUSED')
  t.equal((await lookUps(sidecar)) - before, 5)
})

t.test('what the relay refuses by itself stands in the record, like all else', async t => {
  const { sidecar } = await anArena(t, { config: { relay: { listen: '127.0.0.1:0' } } })
  const host = 'Host: 127.0.0.1\r\n'
  const refused: Record<string, string> = {
    'a bad header name': `GET /https/${HOST}/ HTTP/1.1\r\n${host}Bad Name: x\r\n\r\n`,
    'an expectation': `GET /https/${HOST}/ HTTP/1.1\r\n${host}Expect: tea\r\n\r\n`,
    'a tunnel': `CONNECT ${HOST}:443 HTTP/1.1\r\n${host}\r\n`,
    'too many headers': `GET /https/${HOST}/ HTTP/1.1\r\n${host}${'A: b\r\n'.repeat(300)}\r\n`,
  }

  for (const [what, bytes] of Object.entries(refused)) {
    const before = (await sidecar.audit()).filter(({ event }) => event === 'refused').length
    const socket = await openTcp(sidecar.relayPort)
    const answer = readAll(socket)
    socket.write(bytes)
    t.match((await answer).toString('latin1'), /^HTTP\/1\.1 4\d\d .*\r\n[\s\S]*cloakroom-error/i, what)
    socket.destroy()
    while ((await sidecar.audit()).filter(({ event }) => event === 'refused').length === before)
      await new Promise(resolve => setImmediate(resolve))
  }
})
