/**
 * The policy in force: loaded at start, watched, replaced as a whole or kept (security.md B9).
 */
import type { PolicyControl, PolicySummary } from '../api/control.ts'
import type { Clock } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'
import { describeCause, type Log } from '../base/log.ts'
import { formatFault } from '../base/yaml.ts'
import type { Config } from '../config/schema.ts'
import type { AuditFields } from '../model/exchange.ts'
import { bareHost, isIpHost } from '../model/target.ts'
import { normalAddress } from '../net/address.ts'
import { createRanges } from '../net/range.ts'
import type { CompiledPolicy } from '../policy/compiled.ts'
import { createPolicyHolder, type PolicyHolder } from '../policy/holder.ts'
import { loadPolicy, policyOf } from '../policy/load.ts'
import { type PolicyWatch, watchPolicyFiles } from '../policy/watch.ts'

export type PoliciesOptions = {
  readonly config: Config
  readonly clock: Clock
  readonly log: Log
  readonly note: (event: string, fields: AuditFields) => Promise<void>
  /** Told of every try to reload. */
  readonly onReload?: (result: 'ok' | 'failed', now: number) => void
}

export class Policies implements PolicyControl {
  readonly files: readonly string[]
  readonly holder: PolicyHolder = createPolicyHolder()
  loadedAt = 0
  readonly #options: PoliciesOptions
  #watch: PolicyWatch | undefined

  constructor(options: PoliciesOptions) {
    this.#options = options
    this.files = options.config.policy.files
  }

  current(): CompiledPolicy {
    return this.holder.snapshot()
  }

  /** Loads the first policy. @throws POLICY_INVALID, POLICY_TESTS_FAILED */
  async load(): Promise<void> {
    await this.#adopt(await loadPolicy(this.files, this.#compileOptions()))
  }

  async reload(): Promise<PolicySummary> {
    try {
      const policy = await loadPolicy(this.files, this.#compileOptions())
      if (policy.hash !== (this.holder.isLoaded() ? this.current().hash : '')) await this.#adopt(policy)
      this.#options.onReload?.('ok', this.#options.clock.now())
    } catch (cause) {
      this.#refused(cause)
      throw cause
    }
    return summaryOf(this.current())
  }

  /** Reloads by itself when a file's content changes; a bad file keeps the last good policy. */
  watch(): void {
    this.#watch = watchPolicyFiles({
      files: this.files,
      clock: this.#options.clock,
      hash: this.current().hash,
      onChange: texts => {
        try {
          const policy = policyOf(texts, this.#compileOptions())
          if (policy.hash === this.current().hash) return // the admin API was faster
          void this.#adopt(policy).then(
            () => this.#options.onReload?.('ok', this.#options.clock.now()),
            cause => this.#refused(cause),
          )
        } catch (cause) {
          this.#refused(cause)
        }
      },
      onUnreadable: faults => {
        for (const fault of faults)
          this.#options.log.error('a policy file cannot be read', { fault: formatFault(fault) })
        this.#options.onReload?.('failed', this.#options.clock.now())
      },
    })
  }

  close(): void {
    this.#watch?.close()
  }

  async #adopt(policy: CompiledPolicy): Promise<void> {
    const { hash, rules, callers } = summaryOf(policy)
    await this.#options.note('policy.loaded', { policy: hash, rules, callers })
    this.holder.replace(policy)
    this.loadedAt = this.#options.clock.now()
    this.#options.log.info('policy in force', { policy: hash, rules, callers })
  }

  #refused(cause: unknown): void {
    const text = cause instanceof CloakroomError ? cause.message : describeCause(cause)
    this.#options.log.error('the new policy was refused; the last good one stays in force', { fault: text })
    this.#options.onReload?.('failed', this.#options.clock.now())
    void this.#options.note('policy.refused', { error: describeCause(cause) }).catch(() => undefined) // logged above
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
