/**
 * What an embedder may import.
 */
export { type Addresses, createSidecar, type Sidecar, VERSION } from './app.ts'
export { CloakroomError, ERRORS, type ErrorCode } from './base/errors.ts'
export { loadConfig } from './config/load.ts'
export type { Config } from './config/schema.ts'
