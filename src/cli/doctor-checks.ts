/**
 * The checks of `doctor`, in the order in which one thing rests on another.
 */

import { createPublicKey } from 'node:crypto'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { readLast } from '../audit/tail.ts'
import { verifyLog } from '../audit/verify.ts'
import { days, formatTime, systemClock } from '../base/clock.ts'
import { formatHostPattern } from '../base/glob.ts'
import { mib } from '../base/size.ts'
import { readPrivateKey } from '../config/key-files.ts'
import { formatListen, parseListen } from '../config/options.ts'
import type { Config } from '../config/schema.ts'
import { readOwnCertificates, trustFilesOf } from '../config/trust-files.ts'
import { writableByOthers } from '../config/writable.ts'
import { openKeyProvider } from '../keys/providers.ts'
import { formatTestResult, runPolicyTests } from '../policy/check.ts'
import { checkPrivateDirectory } from '../storage/private-directory.ts'
import { loadAuthority } from '../tls/authority.ts'
import { askForTunnel, handshake, reachSidecar } from './admin-client.ts'
import { compileFiles } from './commands/policy.ts'
import { openControl } from './control.ts'
import { type Check, type Finding, failed, ok, type Patient, skipped, warning } from './doctor.ts'
import { checkHardening, checkRuntimes } from './doctor-machine.ts'
import { auditFileOf } from './explain.ts'
import { counted } from './output.ts'
import { swapForReal } from './self-test.ts'

// The release that this code was written for came out after this day; a clock before it is wrong, and certificates would be too.
const EARLIEST = Date.UTC(2026, 10, 1)
const CA_WARNING = days(30)
const WHOLE_LOG = mib(64)

export const CHECKS: readonly Check[] = [
  {
    name: 'Node.js',
    needs: 'nothing',
    run: async () => ok(`${process.version}, patched; no unsafe flag or variable`),
  },
  { name: 'clock', needs: 'nothing', run: checkClock },
  { name: 'hardening', needs: 'nothing', run: async () => checkHardening() },
  { name: 'configuration', needs: 'nothing', run: checkConfig },
  { name: 'policy', needs: 'config', run: checkPolicy },
  { name: 'permissions', needs: 'config', run: checkPermissions },
  { name: 'directories', needs: 'config', run: checkDirectories },
  { name: 'keys', needs: 'config', run: checkKeys },
  { name: 'CA', needs: 'config', run: checkAuthority },
  { name: 'trust files', needs: 'config', run: checkTrust },
  { name: 'sidecar', needs: 'config', run: checkSidecar },
  { name: 'store', needs: 'config', run: checkStore },
  { name: 'audit', needs: 'config', run: checkAudit },
  { name: 'interception', needs: 'sidecar', run: checkInterception },
  { name: 'runtimes', needs: 'config', run: checkRuntimes },
  { name: 'swap', needs: 'nothing', run: checkSwap },
]

async function checkClock(): Promise<Finding> {
  const now = systemClock.now()
  if (now < EARLIEST)
    return failed(`it is ${formatTime(now)} here`, 'set the clock: certificates and expiry depend on it')
  return ok(formatTime(now))
}

async function checkConfig(patient: Patient): Promise<Finding> {
  patient.config = patient.context.config()
  return ok(patient.config.file)
}

async function checkPolicy({ context }: Patient): Promise<Finding> {
  const policy = await compileFiles(context, [])
  const wrong = runPolicyTests(policy, systemClock.now()).filter(result => !result.ok)
  if (wrong.length > 0) return failed(wrong.map(formatTestResult).join('\n'), 'run "cloakroom policy test"')
  const text = `${counted(policy.rules.length, 'rule')}, ${counted(policy.callers.size, 'caller')}, ${counted(policy.tests.length, 'test')} passed`
  if (policy.rules.length === 0)
    return warning(text, 'nothing is allowed yet: docs/policy.md shows how to write a rule')
  return ok(text)
}

async function checkPermissions({ config }: Required<Patient>): Promise<Finding> {
  const found = writableByOthers(config)
  if (found.length > 0)
    return failed(found.join('\n'), 'chmod go-w them, and chown them to the user that runs cloakroom')
  return ok('nobody else may change configuration and policy')
}

async function checkDirectories({ config }: Required<Patient>): Promise<Finding> {
  const state = dirname(config.store.file)
  const keys = dirname(config.keys.file)
  for (const directory of new Set([state, keys, dirname(config.admin.socket)]))
    checkPrivateDirectory(directory)
  if (statSync(state).dev === statSync(keys).dev) {
    const hint = 'fine on one machine of one person; elsewhere put keys.file on a volume of its own'
    return warning('keys and state lie on one volume: who copies it has both', hint)
  }
  return ok('private, keys and state on volumes of their own')
}

async function checkKeys({ config }: Required<Patient>): Promise<Finding> {
  const provider = await openKeyProvider(config.keys)
  await readPrivateKey(provider, { kind: 'audit', path: config.audit.signingKey })
  await readPrivateKey(provider, { kind: 'ca', path: config.ca.key })
  return ok('the root key opens the keys of the CA and of the audit log')
}

async function checkAuthority({ config }: Required<Patient>): Promise<Finding> {
  const provider = await openKeyProvider(config.keys)
  const authority = loadAuthority({
    certificatePem: readFileSync(config.ca.certificate, 'utf8'),
    privateKey: await readPrivateKey(provider, { kind: 'ca', path: config.ca.key }),
    clock: systemClock,
    file: config.ca.certificate,
  })
  const until = `until ${formatTime(authority.notAfter)}`
  const isShort = authority.notAfter - systemClock.now() < CA_WARNING
  return isShort
    ? warning(until, 'run "cloakroom ca rotate", restart the apps, then "cloakroom ca rotate --finish"')
    : ok(until)
}

async function checkTrust({ config }: Required<Patient>): Promise<Finding> {
  const files = trustFilesOf(config)
  const missing = Object.values(files).filter(file => !existsSync(file))
  if (missing.length > 0) return failed(`missing: ${missing.join(', ')}`, '"cloakroom run" writes them')
  if (readFileSync(files.ca, 'utf8') !== readOwnCertificates(config)) {
    return failed(`${files.ca} is not the CA of this configuration`, 'restart the sidecar, then the apps')
  }
  return ok(config.ca.trust)
}

async function checkSidecar(patient: Patient): Promise<Finding> {
  const { config } = patient as Required<Patient>
  const control = await reachSidecar(config.admin.socket)
  if (control === undefined) return warning('none runs', '"cloakroom run" starts it')
  patient.control = control
  const { addresses, checks, halted } = await control.call('status', {})
  const wrong = Object.entries(checks).filter(([, check]) => !check.ok)
  if (wrong.length > 0) {
    const text = wrong.map(([name, check]) => `${name}: ${check.detail ?? 'failed'}`).join('\n')
    return failed(text, 'this is what /readyz says too')
  }
  if (halted.length > 0) return warning(`halted: ${halted.join(', ')}`, '"cloakroom halt --lift" ends it')
  return ok(`ready, proxy ${addresses.proxy}`)
}

async function checkStore({ context, config, control }: Patient): Promise<Finding> {
  if (config === undefined) return skipped('needs a configuration that loads')
  const own = control ?? (await openControl(config, context.log(config)))
  try {
    const found = await own.call('secret.list', { limit: 1000 })
    return ok(`opens; ${found.length === 1000 ? '1000 or more secrets' : counted(found.length, 'secret')}`)
  } finally {
    if (control === undefined) await own.close()
  }
}

async function checkAudit({ config }: Required<Patient>): Promise<Finding> {
  if (!config.audit.sinks.some(sink => sink.kind === 'file')) return skipped('no sink is a file')
  const file = auditFileOf(config)
  if (!existsSync(file))
    return warning('there is no log yet', 'it begins with the first change or the first run')
  const [last] = await readLast(file, 1)
  if (last !== undefined && Date.parse(last.event.time) > systemClock.now() + days(1)) {
    return warning(
      `its last record is of ${last.event.time}, which is to come`,
      'was the clock wrong, or is it now?',
    )
  }
  if (statSync(file).size > WHOLE_LOG)
    return ok(`${last?.event.seq} records; "cloakroom audit verify" walks them all`)
  const report = await verifyLog(file, {
    publicKeys: [createPublicKey(readFileSync(config.audit.publicKey))],
  })
  const [fault] = report.faults
  if (fault !== undefined) {
    return failed(
      `${fault.file}:${fault.line}: ${fault.what}`,
      'the log was changed or cut: compare with a copy',
    )
  }
  return ok(`${counted(report.records, 'record')}, unbroken, ${report.signed} vouched for`)
}

/** Does what an app does up to its request: a tunnel to a target of the policy, and the handshake under our CA. */
async function checkInterception(patient: Patient): Promise<Finding> {
  const { context, config, control } = patient as Required<Patient>
  const proxy = parseListen((await control.call('status', {})).addresses.proxy)
  if (proxy === undefined) return skipped('the proxy does not listen')
  const policy = await compileFiles(context, [])
  const rule = policy.rules.find(
    one =>
      one.mode === 'intercept' &&
      one.target.host.kind === 'exact' &&
      one.target.scheme === 'https' &&
      isForLoopback(one.callers, policy.loopback?.caller.id),
  )
  if (rule === undefined) return skipped('no rule lets the loopback caller reach an exact https host')
  return interceptOnce(config, proxy, { host: formatHostPattern(rule.target.host), port: rule.target.port })
}

const isForLoopback = (callers: ReadonlySet<string>, id: string | undefined): boolean =>
  id !== undefined && callers.has(id)

async function interceptOnce(
  config: Config,
  proxy: { readonly host: string; readonly port: number },
  { host, port }: { readonly host: string; readonly port: number },
): Promise<Finding> {
  const tunnel = await askForTunnel(proxy, `${host}:${port}`)
  if (tunnel.kind === 'refused') {
    const text = `${formatListen(proxy)} answered CONNECT ${host}:${port} with ${tunnel.status} ${tunnel.error ?? ''}`
    const hint =
      tunnel.error === undefined
        ? 'is it our proxy that listens there?'
        : 'run "cloakroom policy explain", and "cloakroom reload" if the file was changed'
    return failed(text, hint)
  }
  try {
    const secure = await handshake(tunnel.socket, host, readFileSync(trustFilesOf(config).ca, 'utf8'))
    secure.destroy()
    return ok(
      `a tunnel to ${host} ends in TLS that ${trustFilesOf(config).ca} vouches for; nothing was sent upstream`,
    )
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'closed'
    return failed(`TLS in a tunnel to ${host} failed: ${code}`, 'restart the sidecar if its CA was replaced')
  } finally {
    tunnel.socket.destroy()
  }
}

async function checkSwap(): Promise<Finding> {
  const report = await swapForReal()
  const wrong = Object.entries(report)
    .filter(([, is]) => !is)
    .map(([name]) => `not ${name}`)
  if (wrong.length > 0)
    return failed(wrong.join(', '), 'this is a fault in cloakroom or in this machine: please report it')
  return ok('a private sidecar swapped, recorded and redacted on this machine')
}
