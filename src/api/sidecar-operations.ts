/**
 * Operations on the running sidecar: status, reload, halt.
 */
import * as v from 'valibot'
import { CloakroomError, isError } from '../base/errors.ts'
import { formatSecretRef } from '../model/secret.ts'
import { type ControlDeps, formatHalt, type HaltScope, type SidecarControl } from './control.ts'
import { read, urgent, write } from './operation.ts'
import { parseSecretRef, secretRef, target, tenant } from './params.ts'

const scopeParts = {
  tenant: v.optional(tenant),
  secret: v.optional(secretRef),
  target: v.optional(target),
}
type ScopeParts = v.InferOutput<v.StrictObjectSchema<typeof scopeParts, undefined>>

const isOne = <T extends object>(given: T): boolean =>
  Object.values(given).filter(part => part !== undefined).length <= 1

const scope = v.pipe(
  v.strictObject(scopeParts),
  v.check(isOne, 'name one of tenant, secret and target, or none for everything'),
  v.transform(scopeOf),
)

/** As a halt, or `all: true` for every halt that is in force, whatever its scope. */
const liftScope = v.pipe(
  v.strictObject({ ...scopeParts, all: v.optional(v.literal(true)) }),
  v.check(isOne, 'name one of tenant, secret, target and all, or none for the halt of everything'),
  v.transform(given => (given.all === true ? ('every' as const) : scopeOf(given))),
)
type LiftScope = v.InferOutput<typeof liftScope>

function scopeOf(given: ScopeParts): HaltScope {
  if (given.tenant !== undefined) return { kind: 'tenant', tenant: given.tenant }
  if (given.secret !== undefined) return { kind: 'secret', secret: formatSecretRef(given.secret) }
  if (given.target !== undefined) return { kind: 'target', target: given.target }
  return { kind: 'all' }
}

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
    params: liftScope,
    event: 'halt_lifted',
    fields: given => ({ scope: formatLift(given) }),
    run: async (deps, given) => lift(running(deps), given),
  }),
} as const

/**
 * Halts first and records then: the one change where waiting for the audit trail would leave credentials flowing
 * (rulings.md 20). A halt only ever refuses traffic, so doing it unrecorded is the safe failure; the failure is reported.
 */
async function haltNow(deps: ControlDeps, given: HaltScope): Promise<HaltReport> {
  running(deps).halt(given)
  const recorded = await deps.note('halted', { scope: formatHalt(given) }).then(
    () => true,
    () => false,
  )
  const known = await isKnown(deps, given).catch(() => undefined)
  return { scope: formatHalt(given), recorded, ...(known === undefined ? {} : { known }) }
}

/** `known`: whether there is such a secret or tenant; absent where that cannot be told. */
type HaltReport = { readonly scope: string; readonly recorded: boolean; readonly known?: boolean }

// A slip in a name halts nothing that runs, and the operator would believe the opposite.
async function isKnown({ secrets, policy }: ControlDeps, given: HaltScope): Promise<boolean | undefined> {
  if (given.kind === 'secret') {
    const ref = parseSecretRef(given.secret)
    if (ref === undefined) return undefined
    return secrets.versions(ref).then(
      () => true,
      cause => (isError(cause, 'SECRET_NOT_FOUND') ? false : undefined),
    )
  }
  if (given.kind !== 'tenant') return undefined
  const isServed = [...policy.current().callers.values()].some(
    ({ caller: { tenants } }) => tenants !== '*' && tenants.some(one => one === given.tenant),
  )
  return isServed || (await secrets.tenants()).some(one => one.tenant === given.tenant)
}

/** `inForce`: the halts that are left. */
type LiftReport = { readonly lifted: boolean; readonly scope: string; readonly inForce: readonly string[] }

function lift(sidecar: SidecarControl, given: LiftScope): LiftReport {
  const wanted = given === 'every' ? [...sidecar.halts()] : [given]
  const lifted = wanted.filter(one => sidecar.lift(one)).length > 0
  return { lifted, scope: formatLift(given), inForce: sidecar.halts().map(formatHalt) }
}

const formatLift = (given: LiftScope): string => (given === 'every' ? 'every halt' : formatHalt(given))

function running(deps: ControlDeps): SidecarControl {
  if (deps.sidecar === undefined) throw new CloakroomError('CLI_UNREACHABLE', { what: 'a running sidecar' })
  return deps.sidecar
}
