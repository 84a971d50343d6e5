/**
 * The demo runs, in a process of its own as `npm run demo` starts it, and says the truth about itself.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createStage } from '../scripts/demo/show.ts'
import { aDirectory } from './support/directory.ts'

const ROOT = join(import.meta.dirname, '..')

t.test('a statement that does not hold is shown as failed and counted', async t => {
  const lines: string[] = []
  const stage = createStage(text => lines.push(text), false)

  stage.check('the sky is green', false)
  stage.check('the sky is blue', true)

  t.same([stage.failed, stage.passed], [1, 1])
  t.match(lines.join(''), /FAILED {2}the sky is green/)
})

t.test('the demo ends by itself with exit code 0, shows no credential and leaves nothing behind', async t => {
  const temporary = aDirectory(t)
  // env(1) in between: the test runner adds its own NODE_OPTIONS to whatever it sees being spawned.
  const variables = [`PATH=${process.env.PATH}`, `TMPDIR=${temporary}`]
  const child = spawn('env', ['-i', ...variables, process.execPath, join(ROOT, 'scripts', 'demo.ts')])
  const chunks: Buffer[] = []
  child.stdout.on('data', chunk => chunks.push(chunk))
  child.stderr.on('data', chunk => chunks.push(chunk))

  const [code] = (await once(child, 'close')) as [number]

  const text = Buffer.concat(chunks).toString()
  t.equal(code, 0, text)
  t.match(text, /\n2\d statements hold, 0 do not\.\n$/)
  t.notMatch(text, /FAILED|\u001b/)
  t.notMatch(text, /sk_live_[0-9a-f]{36}/)
  t.same(readdirSync(temporary), [])
})
