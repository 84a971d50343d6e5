/**
 * The composition root: what the command line and embedders get. All wiring is in src/app/.
 */
export { type Addresses, createSidecar, type Sidecar } from './app/sidecar.ts'
export { VERSION } from './app/version.ts'
