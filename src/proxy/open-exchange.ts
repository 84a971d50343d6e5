/**
 * One exchange while it is open: its record, what must be disposed of, and how it ends.
 *
 * Rules of this file: `close` runs on every path and does everything once; what it cannot do it reports to the log and swallows
 * nothing else. The record holds names, ids and numbers only (model/exchange.ts).
 */
import { days } from '../base/clock.ts'
import { CloakroomError, isError } from '../base/errors.ts'
import { describeCause } from '../base/log.ts'
import type { ReceivedRequestHead } from '../http1/head.ts'
import type { Presented } from '../model/caller.ts'
import type { Decision, Found, Permit, Reason } from '../model/decision.ts'
import type { ExchangeRecord, PhaseTimes } from '../model/exchange.ts'
import type { RequestHead, ResponseHead } from '../model/message.ts'
import { formatSecretRef, type SecretValue } from '../model/secret.ts'
import { formatTarget, type Target } from '../model/target.ts'
import type { ExchangeDeps, OpenedSecret } from './exchange-deps.ts'
import { stripResponse } from './hop-by-hop.ts'
import type { Inbound } from './inbound.ts'
import type { Open } from './live.ts'
import { maskedHost, maskedMethod, maskedPath, queryKeys, traceId } from './masked.ts'
import { closesConnection, failedOutcome, reasonOf } from './outcome.ts'
import { newRecord, refusedPlaceholders, report, swapRecords } from './record.ts'
import { problem } from './respond.ts'

type Disposable = { dispose(): void }

// Below the 24.8 days that a timer of Node can wait; no exchange lasts so long.
const LONGEST_EXCHANGE = days(20)

export class OpenExchange {
  readonly inbound: Inbound
  readonly record: ExchangeRecord
  readonly open: Open
  /** Set where the connection may not serve another request, whatever its framing says. */
  mustClose = false
  readonly #deps: ExchangeDeps
  readonly #controller = new AbortController()
  readonly #disposables: Disposable[] = []
  readonly #releases: (() => void)[] = []
  #cancelSend: ((cause: unknown) => void) | undefined
  #redactions: (() => number) | undefined
  #reason: Reason | undefined
  #sentAt = 0
  #isDetached = false

  constructor(deps: ExchangeDeps, inbound: Inbound) {
    this.#deps = deps
    this.inbound = inbound
    const now = deps.clock.now()
    this.record = newRecord(inbound.facts.entrance, now)
    this.open = { kind: 'exchange', secrets: [], cancel: cause => this.cancel(cause) }
    deps.live.add(this.open)
    inbound.onGone(cause => this.cancel(cause))
  }

  /** Aborted when the caller goes away, or the exchange is halted or revoked. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  cancel(cause: unknown): void {
    if (this.#controller.signal.aborted) return
    this.#controller.abort(cause)
    this.#cancelSend?.(cause)
  }

  onCancel(run: (cause: unknown) => void): void {
    this.#cancelSend = run
    if (this.#controller.signal.aborted) run(this.#controller.signal.reason)
  }

  sawReceived(head: ReceivedRequestHead): void {
    if (head.method === '') return
    this.record.method = maskedMethod(head.method)
    const trace = traceId(head.headers)
    if (trace !== undefined) this.record.trace = trace
  }

  sawTarget(target: Target): void {
    this.record.target = formatTarget({ ...target, host: maskedHost(target.host) })
    this.open.target = formatTarget(target)
  }

  sawHead(head: RequestHead): void {
    this.sawTarget(head.target)
    this.record.path = maskedPath(head.path)
    const keys = queryKeys(head.path)
    if (keys.length > 0) this.record.queryKeys = keys
  }

  /** `presented` is kept while it is open: a new policy may no longer know the caller by it (rulings.md 12, 20). */
  sawCaller(id: string, presented: Presented): void {
    this.record.caller = id
    this.open.caller = id
    this.open.presented = presented
  }

  denied(decision: Extract<Decision, { kind: 'deny' }>, found: readonly Found[] = []): void {
    if (decision.as === 'refused') this.record.refused = refusedPlaceholders(found, decision.tenant)
    this.record.rule = decision.rule
    if (decision.tenant !== undefined) this.record.tenant = decision.tenant
    this.#reason = decision.reason
  }

  /** A secret was there when policy decided and may not be used any more. */
  withdrawn(): void {
    this.#reason ??= 'secret_revoked'
  }

  /** Ends the exchange when a secret of it expires while it is running, as a revocation does (rulings.md 20). */
  endAt(expiresAt: number): void {
    const left = expiresAt - this.#deps.clock.now()
    if (left > LONGEST_EXCHANGE) return
    const timer = this.#deps.clock.after(Math.max(0, left), () => {
      this.#reason = 'secret_expired'
      this.cancel(new CloakroomError('SWAP_REFUSED', {}))
    })
    this.releaseLater(() => timer.cancel())
  }

  permitted(permit: Permit): void {
    this.record.rule = permit.terms.rule
    if (permit.tenant !== undefined) {
      this.record.tenant = permit.tenant
      this.open.tenant = permit.tenant
    }
    if (permit.terms.observed !== undefined) this.record.observed = permit.terms.observed
    this.open.secrets = permit.swaps.map(swap => formatSecretRef(swap.secret))
  }

  resolved(
    permit: Permit,
    values: ReadonlyMap<string, OpenedSecret>,
    fingerprint: (value: SecretValue) => string,
  ): void {
    for (const opened of values.values()) this.#disposables.push(opened.value)
    this.record.swaps = swapRecords(permit, values, fingerprint)
  }

  disposeLater(disposable: Disposable): void {
    this.#disposables.push(disposable)
  }

  releaseLater(release: () => void): void {
    this.#releases.push(release)
  }

  countRedactions(count: () => number): void {
    this.#redactions = count
  }

  async intend(): Promise<void> {
    await this.timedAsync('audit', () => this.#deps.audit.intend(this.record))
    this.record.intended = this.record.swaps.length > 0
    // SECURITY I3: what was revoked or halted while the record was written does not leave.
    if (this.signal.aborted) throw this.signal.reason
    this.#deps.halt.check(this.open)
  }

  /** From here on, bytes of the request may have reached the upstream. */
  sending(): void {
    this.record.sent = true
    this.#sentAt = this.#deps.clock.monotonic()
  }

  answered(): void {
    const now = this.#deps.clock.monotonic()
    this.record.upstreamDuration = now - this.#sentAt
    this.record.timeToHead = now - this.inbound.startedAt
  }

  /** This exchange was only the way to a tunnel whose requests have records of their own: nothing is written of it. */
  abandon(): void {
    this.#deps.live.remove(this.open)
    for (const release of this.#releases.splice(0)) release()
  }

  /** From here on it is a tunnel: a drain does not wait for it. */
  becomesTunnel(target: Target): void {
    this.#isDetached = true
    this.open.parsedTarget = target
    this.#deps.live.remove(this.open)
    this.open.kind = 'tunnel'
    this.#deps.live.add(this.open)
  }

  interim(head: ResponseHead): void {
    // threat-model.md E5: an interim head is not searched for the credential, so it does not pass where one was sent.
    if (this.record.swaps.length > 0) return
    const headers = stripResponse(head.headers).filter(([name]) => name.toLowerCase() !== 'content-length')
    this.inbound.inform({ ...head, headers })
  }

  succeeded(status: number): void {
    this.record.outcome = { kind: 'allowed', status }
  }

  /** Answers with a problem document, or resets where an answer has begun. Never throws. */
  async failed(cause: unknown): Promise<void> {
    const error = this.#errorOf(cause)
    // Cut short from outside: a secret was revoked, which is no guess of the caller's and costs it nothing.
    const isCut = this.signal.aborted && isError(error, 'SWAP_REFUSED')
    if (isCut) this.withdrawn()
    const reason = this.#reason ?? reasonOf(error)
    const hadBegun = this.inbound.hasResponded || this.#isDetached
    const isAnswered = !hadBegun && error.code !== 'REQUEST_ABORTED'
    this.record.outcome = failedOutcome(error, { sent: this.record.sent, isAnswered, reason })
    if (error.code === 'SWAP_REFUSED' && !isCut && this.record.caller !== undefined)
      this.#deps.guesses.spend(this.record.caller)
    report(this.#deps.log, { record: this.record, error, cause })
    this.#cancelSend?.(error) // nothing is left waiting for an answer that nobody will take
    this.inbound.body.cancel(error)
    if (!isAnswered) return this.inbound.reset()
    const answer = problem(error, this.record.request, this.#deps.clock.now())
    const close = this.mustClose || closesConnection(error)
    await this.inbound.respond(answer.head, answer.body, { close }).catch(() => this.inbound.reset())
  }

  /** Ends the exchange: exactly once, on every path, and without throwing. */
  async close(): Promise<void> {
    this.#deps.live.remove(this.open)
    for (const release of this.#releases.splice(0)) release()
    this.record.redactions = this.#redactions?.() ?? 0
    for (const disposable of this.#disposables.splice(0)) disposable.dispose()
    this.record.bytesToCaller += this.inbound.bytesSent
    this.record.duration = this.#deps.clock.monotonic() - this.inbound.startedAt
    this.#deps.observe(this.record)
    await this.#deps.audit.conclude(this.record)
  }

  timed<T>(phase: keyof PhaseTimes, work: () => T): T {
    const start = this.#deps.clock.monotonic()
    const result = work() // what throws ends the exchange, and its time is of no interest
    this.record.phases[phase] += this.#deps.clock.monotonic() - start
    return result
  }

  async timedAsync<T>(phase: keyof PhaseTimes, work: () => Promise<T>): Promise<T> {
    const start = this.#deps.clock.monotonic()
    try {
      return await work()
    } finally {
      this.record.phases[phase] += this.#deps.clock.monotonic() - start
    }
  }

  #errorOf(cause: unknown): CloakroomError {
    // The caller's absence explains whatever failed because of it.
    if (this.signal.aborted && this.signal.reason instanceof CloakroomError) return this.signal.reason
    if (cause instanceof CloakroomError) return cause
    return new CloakroomError('INTERNAL_BROKEN_INVARIANT', { what: describeCause(cause) }, { cause })
  }
}
