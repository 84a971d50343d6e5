/**
 * Writes intents and outcomes as fast as it can until it is killed; run by crash.test.ts as a process of its own.
 *
 * Says on stdout which intents were durable and which outcomes had been handed over, one a line.
 */

import { createPrivateKey } from 'node:crypto'
import { writeSync } from 'node:fs'
import { createSink } from '../../src/audit/sinks.ts'
import { openTrail } from '../../src/audit/trail.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { exchange } from './fixtures.ts'

const [path = '', key = '', durability = 'written'] = process.argv.slice(2)

const trail = openTrail({
  sinks: [
    createSink(
      { kind: 'file', path, required: true },
      durability === 'fsync' ? 'fsync' : 'written',
      systemClock,
    ),
  ],
  instance: 'crash',
  clock: systemClock,
  log: silentLog,
  signingKey: createPrivateKey({ key: Buffer.from(key, 'base64'), format: 'der', type: 'pkcs8' }),
})
await trail.start()
for (let worker = 0; worker < 16; worker++) void work(worker)

async function work(worker: number): Promise<void> {
  for (let i = 0; ; i++) {
    const record = exchange({ request: `${process.pid}-${worker}-${i}` })
    await trail.intend(record)
    writeSync(1, `${record.request}\n`) // the moment when the credential would leave
    await trail.conclude(record)
  }
}
