/**
 * Finds out what an app needs to know: where the proxy is, which credentials, which trust files.
 *
 * Shared by `env` (prints it) and `exec` (sets it). Passwords come from a file or a variable of the caller's own shell, never from an
 * argument.
 */
import { existsSync } from 'node:fs'
import { CloakroomError } from '../base/errors.ts'
import { type Listen, parseListen } from '../config/options.ts'
import type { Config } from '../config/schema.ts'
import { trustFilesOf } from '../config/trust-files.ts'
import { isName } from '../model/tenant.ts'
import { compilePolicy } from '../policy/compile.ts'
import { readPolicyFiles } from '../policy/load.ts'
import { reachSidecar } from './admin-client.ts'
import type { CliContext } from './context.ts'
import { PRELOAD } from './package.ts'
import { readInput } from './prompt.ts'
import { appVariables, type Variable } from './variables.ts'

export type AppOptions = {
  readonly caller?: string
  readonly tenant?: string
  readonly passwordFile?: string
  /** commander's --no-preload. */
  readonly preload?: boolean
}

/** Where the running sidecar's proxy listens; undefined when none runs. */
export async function runningProxy(config: Config): Promise<Listen | undefined> {
  const control = await reachSidecar(config.admin.socket)
  if (control === undefined) return undefined
  const { addresses } = await control.call('status', {})
  await control.close()
  return parseListen(addresses.proxy)
}

/** Lists the variables for an app of this configuration. @throws CLI_USAGE, CLI_UNREACHABLE */
export async function variablesFor(
  context: CliContext,
  config: Config,
  { options, proxy }: { readonly options: AppOptions; readonly proxy: Listen },
): Promise<readonly Variable[]> {
  const trust = trustFilesOf(config)
  if (!existsSync(trust.bundle)) {
    throw new CloakroomError('CLI_UNREACHABLE', { what: `${trust.bundle}, which "cloakroom run" writes` })
  }
  return appVariables({
    proxy,
    credentials: await credentialsOf(config, options),
    trust,
    preload: options.preload === false ? undefined : PRELOAD,
    env: context.env,
  })
}

type Credentials = { readonly user: string; readonly password: string } | undefined

/** What stands in for a password that was not given: the person sees what to fill in, and no request works by accident. */
export const PASSWORD_BLANK = 'PASSWORD'

async function credentialsOf(
  config: Config,
  { caller, tenant, passwordFile }: AppOptions,
): Promise<Credentials> {
  if (caller === undefined) {
    if (tenant !== undefined || passwordFile !== undefined) {
      throw new CloakroomError('CLI_USAGE', { what: '--tenant and --password-file need --caller' })
    }
    return (await hasLoopbackCaller(config)) ? undefined : { user: 'CALLER', password: PASSWORD_BLANK }
  }
  for (const name of [caller, tenant ?? caller]) {
    if (!isName(name))
      throw new CloakroomError('CLI_USAGE', { what: `${JSON.stringify(name)} is not a name` })
  }
  const user = tenant === undefined ? caller : `${caller}+${tenant}`
  if (passwordFile === undefined) return { user, password: PASSWORD_BLANK }
  const bytes = await readInput(passwordFile)
  return { user, password: bytes.toString('utf8').trim() }
}

// A policy that cannot be read is somebody else's message; here it only means that nothing is known.
async function hasLoopbackCaller(config: Config): Promise<boolean> {
  const read = await readPolicyFiles(config.policy.files)
  if (read.kind === 'faults') return true
  const compiled = compilePolicy(read.texts)
  return compiled.kind === 'faults' || compiled.policy.loopback !== undefined
}
