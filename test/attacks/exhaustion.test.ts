/**
 * One caller that takes what others need: places, look-ups, records.
 */
import t from 'tap'
import { openTcp, readAll } from '../support/caller.ts'
import { aSidecar, policyFor, USUAL_RULE } from '../support/sidecar.ts'
import { aRawUpstream, anUpstream } from '../support/third-party.ts'
import { anArena, codeOf, HOST, sendInTunnel, statusOf } from './arena.ts'

const get = (path: string, headers: readonly string[] = []) =>
  `GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\n${headers.map(line => `${line}\r\n`).join('')}Connection: close\r\n\r\n`

t.test('a caller that fills its places is refused, and others are served', async t => {
  const silent = await aRawUpstream(t, { host: 'silent.example.test', onSocket: socket => void socket.resume() })
  const upstream = await anUpstream(t)
  const { sha256, header } = aPassword()
  const sidecar = await aSidecar(t, {
    upstreams: [upstream, silent],
    policy: policyFor(
      `${USUAL_RULE.replace('[app]', '[app, good]')}  - id: silent\n    callers: [app]\n    target: https://silent.example.test\n    methods: [GET]\n    paths: ['/**']\n`,
      `  - id: good\n    identify: { proxyAuthorization: { sha256: ${sha256} } }\n    tenants: ['*']\n`,
    ),
    config: { limits: { drain: '100ms', inFlight: 10, inFlightPerCaller: 3 } },
  })
  const held = [1, 2, 3].map(() =>
    sendInTunnel(sidecar, get('/').replace(HOST, 'silent.example.test'), { authority: 'silent.example.test:443' }),
  )
  while (silent.connections < 3) await new Promise(resolve => setImmediate(resolve))

  const more = await sendInTunnel(sidecar, get('/').replace(HOST, 'silent.example.test'), {
    authority: 'silent.example.test:443',
  })
  const good = await sendInTunnel(sidecar, get('/'), { headers: header })
  await silent.close()
  await Promise.all(held)
  const after = await sendInTunnel(sidecar, get('/'))

  t.equal(codeOf(more), 'SIDECAR_OVERLOADED')
  t.equal(statusOf(good), 200)
  t.equal(statusOf(after), 200, 'places are given back')
})

t.test('seven hundred placeholders in one request cost five look-ups', async t => {
  const { sidecar } = await anArena(t)
  const before = await lookUps(sidecar)
  const headers = Array.from({ length: 60 }, (_, i) => `X-${i}: ${fakePlaceholder(i)}`)

  const answer = await sendInTunnel(sidecar, get('/', headers))

  t.equal(codeOf(answer), 'SWAP_REFUSED')
  t.equal((await lookUps(sidecar)) - before, 5)
})

t.test('what the relay refuses by itself stands in the record, like all else', async t => {
  const { sidecar } = await anArena(t, { config: { relay: { listen: '127.0.0.1:0' } } })
  const host = `Host: 127.0.0.1\r\n`
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
