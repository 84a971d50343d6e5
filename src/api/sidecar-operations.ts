/**
 * Operations on the running sidecar: status, reload, halt.
 */
import * as v from 'valibot'
import { CloakroomError } from '../base/errors.ts'
import { formatSecretRef } from '../model/secret.ts'
import { type ControlDeps, formatHalt, type HaltScope, type SidecarControl } from './control.ts'
import { read, urgent, write } from './operation.ts'
import { secretRef, target, tenant } from './params.ts'

const scope = v.pipe(
  v.strictObject({
    tenant: v.optional(tenant),
    secret: v.optional(secretRef),
    target: v.optional(target),
  }),
  v.check(
    given => Object.values(given).filter(part => part !== undefined).length <= 1,
    'name one of tenant, secret and target, or none for everything',
  ),
  v.transform((given): HaltScope => {
    if (given.tenant !== undefined) return { kind: 'tenant', tenant: given.tenant }
    if (given.secret !== undefined) return { kind: 'secret', secret: formatSecretRef(given.secret) }
    if (given.target !== undefined) return { kind: 'target', target: given.target }
    return { kind: 'all' }
  }),
)

/** The table of operations on the sidecar. */
export const SIDECAR_OPERATIONS = {
  status: read({
    params: v.strictObject({}),
    run: async deps => {
      const sidecar = running(deps)
      return { ...sidecar.status(), halted: sidecar.halts().map(formatHalt) }
    },
  }),
  'policy.reload': write({
    params: v.strictObject({}),
    event: 'policy_reload_asked',
    fields: () => ({}),
    run: deps => deps.policy.reload(),
  }),
  // The command line changes the CA's files itself, since the sidecar need not run; this puts it on record first (M5).
  'ca.rotation': write({
    params: v.strictObject({ phase: v.picklist(['prepare', 'finish']), fingerprint: v.string() }),
    event: 'ca_rotation',
    fields: ({ phase, fingerprint }) => ({ phase, fingerprint }),
    run: async (_, { phase }) => ({ phase }),
  }),
  halt: urgent({ params: scope, run: haltNow }),
  'halt.lift': write({
    params: scope,
    event: 'halt_lifted',
    fields: given => ({ scope: formatHalt(given) }),
    run: async (deps, given) => ({ lifted: running(deps).lift(given), scope: formatHalt(given) }),
  }),
} as const

/**
 * Halts first and records then: the one change where waiting for the audit trail would leave credentials flowing
 * (rulings.md 20). A halt only ever refuses traffic, so doing it unrecorded is the safe failure; the failure is reported.
 */
async function haltNow(deps: ControlDeps, given: HaltScope): Promise<{ scope: string; recorded: boolean }> {
  running(deps).halt(given)
  const recorded = await deps.note('halted', { scope: formatHalt(given) }).then(
    () => true,
    () => false,
  )
  return { scope: formatHalt(given), recorded }
}

function running(deps: ControlDeps): SidecarControl {
  if (deps.sidecar === undefined) throw new CloakroomError('CLI_UNREACHABLE', { what: 'a running sidecar' })
  return deps.sidecar
}
