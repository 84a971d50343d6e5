/**
 * kill -9 while secrets are being put: what was acknowledged is there, and the store opens.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'
import { createKeyFile, openKeyFile } from '../../src/keys/file.ts'
import { aDirectory } from '../support/directory.ts'
import { aStore, openPlaceholder } from '../support/store.ts'

type Acknowledged = {
  readonly name: string
  readonly value: string
  readonly placeholder: string
  readonly version: number
}

const ROUNDS = 5
const SCRIPT = join(import.meta.dirname, 'fixtures', 'put-loop.ts')

/** Lets the loop run until `acks` puts were acknowledged, then kills it in the middle of the next ones. */
async function putUntilKilled(
  directory: string,
  round: number,
  acks: number,
): Promise<readonly Acknowledged[]> {
  const child = spawn(process.execPath, [SCRIPT, directory, String(round)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close')
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    if (text.split('\n').length > acks) child.kill('SIGKILL')
  })
  await ended
  const whole = text.slice(0, text.lastIndexOf('\n'))
  return whole.split('\n').map(line => JSON.parse(line))
}

t.test('acknowledged puts survive kill -9 at any moment, and the store opens each time', async t => {
  const directory = aDirectory(t)
  await createKeyFile(join(directory, 'root.key'))
  const provider = await openKeyFile(join(directory, 'root.key'))
  const latest = new Map<string, Acknowledged>()

  for (let round = 0; round < ROUNDS; round++) {
    for (const put of await putUntilKilled(directory, round, 1 + round * 13)) latest.set(put.name, put)
    const vault = await aStore(t, { directory, provider })

    for (const { name, value, placeholder, version } of latest.values()) {
      const [info] = await vault.store.locate([placeholder])
      const found = await openPlaceholder(vault, placeholder)
      // The one put that was in flight may have become a version more; nothing may be a version less.
      const isNewer = (info?.ref.version ?? 0) > version
      if (!isNewer && found !== value) t.fail(`${name}: lost version ${version}`)
    }
    await vault.admin.list({ limit: 1000 })
    await vault.database.close()
  }

  t.ok(latest.size > 20, `${latest.size} secrets`)
})
