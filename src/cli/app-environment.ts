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
import { hashPassword } from '../identity/password.ts'
import { isName } from '../model/tenant.ts'
import { compilePolicy } from '../policy/compile.ts'
import type { CompiledPolicy } from '../policy/compiled.ts'
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

export type VariablesRequest = {
  readonly options: AppOptions
  readonly proxy: Listen
  /** An app is started with them now: what the policy would refuse is refused here, in words that a person sees. */
  readonly isForUse?: boolean
}

/** Lists the variables for an app of this configuration. @throws CLI_USAGE, CLI_UNREACHABLE */
export async function variablesFor(
  context: CliContext,
  config: Config,
  { options, proxy, isForUse }: VariablesRequest,
): Promise<readonly Variable[]> {
  const trust = trustFilesOf(config)
  if (!existsSync(trust.bundle)) {
    throw new CloakroomError('CLI_UNREACHABLE', { what: `${trust.bundle}, which "cloakroom run" writes` })
  }
  return appVariables({
    proxy,
    credentials: await credentialsOf(config, options, isForUse === true),
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
  isForUse: boolean,
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
  if (passwordFile === undefined) {
    if (isForUse) throw usage(`--caller ${caller} needs its password: give --password-file`)
    return { user, password: PASSWORD_BLANK }
  }
  const text = (await readInput(passwordFile)).toString('utf8').trim()
  const password = passwordIn(text, caller)
  if (isForUse) await checkCaller(config, { caller, tenant, password })
  return { user, password }
}

const usage = (what: string) => new CloakroomError('CLI_USAGE', { what })

// By hand and not as a URL object: it is either what `caller add` prints, exactly, or a password.
function passwordIn(text: string, caller: string): string {
  const [, user, password] = /^http:\/\/([^:@/]+):([^:@/]+)@/.exec(text) ?? []
  if (user === undefined || password === undefined) return text
  if (user !== caller) throw usage(`the URL in the password file is not that of caller ${caller}`)
  return password
}

// The sidecar would answer each request of the app with 407, which few apps explain.
async function checkCaller(
  config: Config,
  {
    caller,
    tenant,
    password,
  }: { readonly caller: string; readonly tenant: string | undefined; readonly password: string },
): Promise<void> {
  const policy = await policyOf(config)
  if (policy === undefined) return
  const known = policy.callers.get(caller)
  if (known === undefined) throw usage(`the policy has no caller ${caller}`)
  const given = hashPassword(Buffer.from(password))
  if (!known.passwordHashes.some(one => given.equals(one)))
    throw usage(`what is in the password file is not a password of caller ${caller}`)
  const { tenants } = known.caller
  const isServed = tenant === undefined || tenants === '*' || tenants.some(one => one === tenant)
  if (!isServed) throw usage(`caller ${caller} does not act for tenant ${tenant}`)
}

// A policy that cannot be read is somebody else's message; here it only means that nothing is known.
async function policyOf(config: Config): Promise<CompiledPolicy | undefined> {
  const read = await readPolicyFiles(config.policy.files)
  if (read.kind === 'faults') return undefined
  const compiled = compilePolicy(read.texts)
  return compiled.kind === 'faults' ? undefined : compiled.policy
}

async function hasLoopbackCaller(config: Config): Promise<boolean> {
  const policy = await policyOf(config)
  return policy === undefined || policy.loopback !== undefined
}
