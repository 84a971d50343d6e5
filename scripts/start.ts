/**
 * `npm start`: the sidecar from a checkout, in .cloakroom/ of this repository, which the first run makes.
 *
 * Nothing else stands here: it is `cloakroom run --init`, so that what is tried first is what is used later. Arguments are passed
 * on (npm start -- --set proxy.listen=127.0.0.1:3138).
 */
import { join } from 'node:path'

const config = join(import.meta.dirname, '..', '.cloakroom', 'cloakroom.yaml')
process.argv.splice(2, 0, '--config', config, 'run', '--init')
await import('../src/main.ts')
