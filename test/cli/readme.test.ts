/**
 * The five-minute start of README.md runs as it stands: its block is given to a shell, with the real command line behind
 * ./bin/cloakroom, and httpbin.org played on loopback.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BINARY } from '../support/cli.ts'
import { aDirectory } from '../support/directory.ts'
import { anUpstream, testCaPem } from '../support/third-party.ts'

const README = readFileSync(join(import.meta.dirname, '..', '..', 'README.md'), 'utf8')
const BLOCK = /<!-- test\/cli\/readme\.test\.ts [^>]*-->\n```sh\n([\s\S]*?)```/.exec(README)?.[1] ?? ''

// What httpbin does: 401 without a bearer token, else it shows it.
type Bearer = Parameters<typeof anUpstream>[1]
const httpbin: Bearer = {
  host: 'httpbin.org',
  handler(request, response) {
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1]
    response.statusCode = token === undefined ? 401 : 200
    response.setHeader('Content-Type', 'application/json')
    response.end(JSON.stringify({ authenticated: token !== undefined, token }))
  },
}

t.test('the five-minute start works', async t => {
  const upstream = await anUpstream(t, httpbin)
  const directory = aDirectory(t, { 'ca.pem': testCaPem })
  // `init` and nothing else is followed by what a machine without the internet needs.
  const reroute = `upstream:
  certificateAuthorities: [${directory}/ca.pem]
  allowAddresses: [127.0.0.0/8]
  resolve: { 'httpbin.org:443': '127.0.0.1:${upstream.port}' }
`
  mkdirSync(join(directory, 'bin'))
  const wrapper = join(directory, 'bin', 'cloakroom')
  writeFileSync(
    wrapper,
    `#!/bin/sh\n'${BINARY}' "$@" || exit\n[ "$1" = init ] || exit 0\ncat >> .cloakroom/cloakroom.yaml <<'EOF'\n${reroute}EOF\n`,
  )
  chmodSync(wrapper, 0o755)

  const shell = spawn('env', ['-i', `PATH=${process.env.PATH}`, 'sh', '-eu', '-c', BLOCK], { cwd: directory })
  const out: Buffer[] = []
  const err: Buffer[] = []
  shell.stdout.on('data', chunk => out.push(chunk))
  shell.stderr.on('data', chunk => err.push(chunk))
  const [code] = (await once(shell, 'close')) as [number]

  const text = Buffer.concat(out).toString()
  t.equal(code, 0, Buffer.concat(err).toString())
  t.equal(upstream.requests[0]?.headers.authorization, 'Bearer my-real-credential-0123456789')
  const placeholder = /the app holds (xclk_r\w+)/.exec(text)?.[1] ?? 'none'
  t.match(text, `200 {"authenticated":true,"token":"${placeholder}"}`)
  t.match(text, /\bintent\b[\s\S]*\boutcome\b/)
  t.match(text, /records, unbroken/)
  t.notMatch(text, 'my-real-credential')
})
