/**
 * Files of the package that this program was started from.
 */
import { join } from 'node:path'

/** The directory of package.json: src/cli and dist/cli lie equally deep in it. */
export const PACKAGE_ROOT = join(import.meta.dirname, '..', '..')

/** The module that `exec` and `env` let Node apps preload. */
export const PRELOAD = join(import.meta.dirname, 'preload', 'register.mjs')

/** How a person calls this program from where it stands: a checkout runs its sources. */
export const COMMAND = import.meta.filename.endsWith('.ts') ? './bin/cloakroom' : 'cloakroom'
