/**
 * The policy in force: loaded at start, watched, replaced as a whole or kept (threat-model.md B9).
 *
 * Rules of this file: a good policy is in force at once and recorded then, because one that takes a right away must not wait for
 * the disk of the audit trail (rulings.md 20); what it newly allows waits by itself, because no credential leaves without an intent
 * (SECURITY I3), and each intent names its policy. Files are read and adopted one after another: the content read last is in force.
 */
import type { PolicyControl, PolicySummary } from '../api/control.ts'
import type { Clock } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { inOrder } from '../base/in-order.ts'
import { describeCause, type Log } from '../base/log.ts'
import { type Fault, formatFault } from '../base/yaml.ts'
import type { Config } from '../config/schema.ts'
import { bareHost, isIpHost } from '../model/target.ts'
import { normalAddress } from '../net/address.ts'
import { createRanges } from '../net/range.ts'
import type { CompiledPolicy } from '../policy/compiled.ts'
import { createPolicyHolder, type PolicyHolder } from '../policy/holder.ts'
import { loadPolicy, policyOf } from '../policy/load.ts'
import type { PolicyText } from '../policy/source.ts'
import { type PolicyWatch, watchPolicyFiles } from '../policy/watch.ts'
import { type Note, PendingNotes } from './pending-notes.ts'

export type PoliciesOptions = {
  readonly config: {
    readonly policy: Pick<Config['policy'], 'files'>
    readonly upstream: Pick<Config['upstream'], 'allowAddresses'>
  }
  readonly clock: Clock
  readonly log: Log
  readonly note: Note
  /** Told of every try to reload. */
  readonly onReload?: (result: 'ok' | 'failed', now: number) => void
}

export class Policies implements PolicyControl {
  readonly files: readonly string[]
  readonly holder: PolicyHolder = createPolicyHolder()
  loadedAt = 0
  readonly #options: PoliciesOptions
  readonly #notes: PendingNotes
  readonly #inOrder = inOrder()
  #watch: PolicyWatch | undefined
  #fault: string | undefined

  constructor(options: PoliciesOptions) {
    this.#options = options
    this.files = options.config.policy.files
    this.#notes = new PendingNotes(options)
  }

  current(): CompiledPolicy {
    return this.holder.snapshot()
  }

  /** Why the newest content of the files is not in force; undefined when it is. */
  get fault(): string | undefined {
    return this.#fault
  }

  /** Loads the first policy, which is recorded before it is in force. @throws POLICY_INVALID, POLICY_TESTS_FAILED, AUDIT_UNAVAILABLE */
  async load(): Promise<void> {
    const policy = await loadPolicy(this.files, this.#compileOptions())
    await this.#options.note('policy.loaded', fieldsOf(policy))
    this.#putInForce(policy)
  }

  /** Also resolves when the change could not be recorded yet: it is in force, and will be. */
  async reload(): Promise<PolicySummary> {
    const { policy, recorded } = await this.#inOrder(() => this.#loadAgain())
    await recorded
    return summaryOf(policy)
  }

  /** Reloads by itself when a file's content changes; a bad file keeps the last good policy. */
  watch(): void {
    this.#watch = watchPolicyFiles({
      files: this.files,
      clock: this.#options.clock,
      hash: this.current().hash,
      inOrder: this.#inOrder,
      onChange: texts => this.#changed(texts),
      onUnreadable: faults => this.#unreadable(faults),
    })
  }

  async close(): Promise<void> {
    this.#watch?.close()
    await this.#notes.close()
  }

  async #loadAgain(): Promise<{ policy: CompiledPolicy; recorded: Promise<void> }> {
    this.#watch?.forget()
    try {
      const policy = await loadPolicy(this.files, this.#compileOptions())
      return { policy, recorded: this.#adopt(policy) }
    } catch (cause) {
      this.#refused(cause)
      throw cause
    }
  }

  #changed(texts: readonly PolicyText[]): void {
    try {
      const policy = policyOf(texts, this.#compileOptions())
      const isNews = policy.hash !== this.current().hash || this.#fault !== undefined
      if (isNews) void this.#adopt(policy) // never rejects
    } catch (cause) {
      this.#refused(cause)
    }
  }

  /** Puts in force now; resolves when it has been recorded or will be later. */
  #adopt(policy: CompiledPolicy): Promise<void> {
    const isOther = !this.holder.isLoaded() || policy.hash !== this.current().hash
    this.#fault = undefined
    if (isOther) this.#putInForce(policy)
    this.#options.onReload?.('ok', this.#options.clock.now())
    return isOther ? this.#notes.add('policy.loaded', fieldsOf(policy)) : Promise.resolve()
  }

  #putInForce(policy: CompiledPolicy): void {
    this.holder.replace(policy)
    this.loadedAt = this.#options.clock.now()
    this.#options.log.info('policy in force', fieldsOf(policy))
  }

  #refused(cause: unknown): void {
    this.#fault = cause instanceof CloakroomError ? cause.message : describeCause(cause)
    this.#options.log.error('the new policy was refused; the last good one stays in force', {
      fault: this.#fault,
    })
    this.#options.onReload?.('failed', this.#options.clock.now())
    void this.#notes.add('policy.refused', { error: describeCause(cause) }) // never rejects
  }

  #unreadable(faults: readonly Fault[]): void {
    const [first] = faults
    this.#fault = first === undefined ? 'a policy file cannot be read' : formatFault(first)
    for (const fault of faults)
      this.#options.log.error('a policy file cannot be read', { fault: formatFault(fault) })
    this.#options.onReload?.('failed', this.#options.clock.now())
  }

  // rulings.md 7: an address may hold a credential only where the operator has named its range.
  #compileOptions() {
    const allowed = createRanges(this.#options.config.upstream.allowAddresses)
    return {
      now: this.#options.clock.now(),
      mayHoldCredentials: (host: string) =>
        isIpHost(host) && allowed.has(normalAddress(bareHost(host)) ?? ''),
    }
  }
}

export function summaryOf(policy: CompiledPolicy): PolicySummary {
  return { hash: policy.hash, rules: policy.rules.length, callers: policy.callers.size }
}

function fieldsOf(policy: CompiledPolicy) {
  const { hash, rules, callers } = summaryOf(policy)
  return { policy: hash, rules, callers }
}
