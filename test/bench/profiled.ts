/**
 * The sidecar for `--profile`: as `cloakroom run` starts it, but without the command line, which refuses to run under a profiler.
 */
import { createSidecar } from '../../src/app.ts'
import { createLog } from '../../src/base/log.ts'
import { loadConfig } from '../../src/config/load.ts'

const config = loadConfig({
  flag: process.argv[2],
  set: ['proxy.listen=127.0.0.1:0', 'ops.listen=127.0.0.1:0'],
  env: {},
})
const log = createLog({
  level: 'info',
  format: 'json',
  isTerminal: false,
  now: Date.now,
  write: () => undefined,
})
const sidecar = createSidecar(config, log)
const { proxy } = await sidecar.start()
process.stdout.write(`${JSON.stringify({ proxy })}\n`)
process.once('SIGTERM', () => {
  sidecar.stop('profiled').finally(() => process.exit())
})
