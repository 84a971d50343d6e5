/**
 * Makes a place to run in: configuration, policy, keys, store, CA. Called by `cloakroom init` and by `npm start`.
 *
 * Rules of this file (rulings.md 18): nothing that exists is overwritten, and no key is made for a store that has one. Every step
 * leaves something whole or nothing, and the configuration file comes last: while it is missing, `init` may be run again and goes on
 * where it was interrupted.
 */
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { publicKeyPem } from '../audit/chain.ts'
import { systemClock } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { readPrivateKey, writePrivateKey } from '../config/key-files.ts'
import { loadConfig } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import { writeTrustFiles } from '../config/trust-files.ts'
import { createKeyFile } from '../keys/file.ts'
import type { KeyProvider } from '../keys/provider.ts'
import { openKeyProvider } from '../keys/providers.ts'
import { openEmbeddedStore } from '../secrets/embedded.ts'
import { ensurePrivateDirectory } from '../storage/private-directory.ts'
import { openSqlite } from '../storage/sqlite.ts'
import { lockState } from '../storage/state-lock.ts'
import { createAuthority } from '../tls/authority.ts'
import { STARTER_CONFIG, STARTER_POLICY } from './starter.ts'

export type InitReport = {
  readonly directory: string
  readonly config: string
  readonly policy: string
  readonly rootKey: string
  /** What was there from an earlier run that was interrupted. */
  readonly kept: readonly string[]
}

/**
 * Makes what is missing in `directory`.
 *
 * @throws CONFIG_EXISTS when it is finished already; KEY_FILE_INVALID when a store is there whose root key is not.
 */
export async function initialize(directory: string): Promise<InitReport> {
  const root = resolve(directory)
  const file = join(root, 'cloakroom.yaml')
  if (existsSync(file)) throw new CloakroomError('CONFIG_EXISTS', { file })
  mkdirSync(root, { recursive: true, mode: 0o700 })
  for (const name of ['keys', 'state']) ensurePrivateDirectory(join(root, name))

  // The file that `run` will read decides where things go; it is written under another name first and linked at the end.
  const draft = join(root, '.cloakroom.yaml.new')
  rmSync(draft, { force: true })
  writeFileSync(draft, STARTER_CONFIG, { flag: 'wx', mode: 0o644 })
  const config = loadConfig({ flag: draft, env: {} })
  const lock = lockState(join(root, 'state'))
  try {
    const kept = await makeParts(config)
    linkSync(draft, file) // fails where a file stands already: two runs at one time cannot both finish
    return { directory: root, config: file, policy: policyOf(config), rootKey: config.keys.file, kept }
  } finally {
    rmSync(draft, { force: true })
    lock.release()
  }
}

type Step = { readonly made: string; run(): Promise<void> }

// The order matters: keys are sealed under the root key, the store proves that it is the right one, the policy needs nothing.
async function makeParts(config: Config): Promise<string[]> {
  const hasKey = existsSync(config.keys.file)
  if (!hasKey && existsSync(config.store.file)) {
    const what = 'it is missing, and there is a store that was made with it'
    throw new CloakroomError('KEY_FILE_INVALID', { file: config.keys.file, what })
  }
  if (!hasKey) await createKeyFile(config.keys.file)
  const provider = await openKeyProvider(config.keys)
  await makeStore(config, provider)
  const steps: readonly Step[] = [
    { made: config.audit.publicKey, run: () => makeAuditKey(config, provider) },
    { made: config.ca.certificate, run: () => makeAuthority(config, provider) },
    { made: policyOf(config), run: async () => writeNew(policyOf(config), STARTER_POLICY, 0o644) },
  ]
  const kept = hasKey ? [config.keys.file] : []
  for (const { made, run } of steps) {
    if (existsSync(made)) kept.push(made)
    else await run()
  }
  await writeTrustFiles(config)
  return kept
}

async function makeStore(config: Config, provider: KeyProvider): Promise<void> {
  const database = openSqlite({ file: config.store.file })
  try {
    await openEmbeddedStore({ database, provider, clock: systemClock })
  } finally {
    await database.close()
  }
}

// The public half is written last and stands for both. A private half without it was left by an interruption: it is used.
async function makeAuditKey({ audit }: Config, provider: KeyProvider): Promise<void> {
  const file = { kind: 'audit', path: audit.signingKey } as const
  if (!existsSync(file.path)) await writePrivateKey(provider, file, generateKeyPairSync('ed25519').privateKey)
  const key = await readPrivateKey(provider, file)
  writeNew(audit.publicKey, publicKeyPem(createPublicKey(key)), 0o644)
}

// A CA key without a certificate has vouched for nothing: it is replaced together with it.
async function makeAuthority({ ca }: Config, provider: KeyProvider): Promise<void> {
  const { certificatePem, privateKey } = createAuthority({
    commonName: 'Cloakroom local CA',
    clock: systemClock,
    lifetime: ca.lifetime,
  })
  await writePrivateKey(provider, { kind: 'ca', path: ca.key }, privateKey, { replace: true })
  writeNew(ca.certificate, certificatePem, 0o644)
}

function policyOf(config: Config): string {
  return config.policy.files[0] ?? join(config.directory, 'policy.yaml')
}

// Whole or not there: written beside, then linked, which fails where a file stands already.
function writeNew(file: string, text: string, mode: number): void {
  const beside = `${file}.new`
  rmSync(beside, { force: true })
  writeFileSync(beside, text, { flag: 'wx', mode })
  try {
    linkSync(beside, file)
  } finally {
    rmSync(beside, { force: true })
  }
}

/** What to do after `init`, for a person. */
export function nextSteps(report: InitReport, command: string): string {
  const config = basename(report.directory) === '.cloakroom' ? '' : ` --config ${report.config}`
  return [
    `Made ${report.directory}`,
    '',
    `Back up ${report.rootKey}, apart from the rest: without it nothing can be opened.`,
    'Every process on this machine may use the proxy as caller "local"; "cloakroom caller add" makes callers with passwords.',
    '',
    'Next:',
    `  1. ${command}${config} secret put acme/example --target https://api.example.com   # prints the placeholder for your app`,
    `  2. allow it in ${report.policy}, and check: ${command}${config} policy check`,
    `  3. ${command}${config} run   # then, elsewhere: ${command}${config} exec -- YOUR-APP`,
  ].join('\n')
}
