/**
 * One exchange while it is open: its record, what must be disposed of, and how it ends.
 *
 * Rules of this file: `close` runs on every path and does everything once; what it cannot do it reports to the log and swallows
 * nothing else. The record holds names, ids and numbers only (model/exchange.ts).
 */
import { invariant } from '../base/assert.ts'
import { CloakroomError, type ErrorCode } from '../base/errors.ts'
import { describeCause } from '../base/log.ts'
import { newRequestId } from '../base/random.ts'
import type { ReceivedRequestHead } from '../http1/head.ts'
import { type Decision, formatLocation, type Permit, type Reason } from '../model/decision.ts'
import type { ExchangeRecord, OutcomeKind, PhaseTimes } from '../model/exchange.ts'
import type { RequestHead, ResponseHead } from '../model/message.ts'
import { formatSecretRef, type SecretValue } from '../model/secret.ts'
import { formatTarget, type Target } from '../model/target.ts'
import { maskPlaceholder } from '../swap/placeholder.ts'
import type { ExchangeDeps } from './exchange.ts'
import { stripResponse } from './hop-by-hop.ts'
import type { Inbound } from './inbound.ts'
import type { Open } from './live.ts'
import { maskedPath, queryKeys, traceId } from './masked.ts'
import type { OpenedSecret } from './protect.ts'
import { problem } from './respond.ts'

type Disposable = { dispose(): void }

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
    this.record = {
      request: newRequestId(now),
      time: now,
      entrance: inbound.facts.entrance,
      swaps: [],
      sent: false,
      intended: false,
      bytesToUpstream: 0,
      bytesToCaller: 0,
      redactions: 0,
      phases: { policy: 0, secret: 0, swap_request: 0, audit: 0 },
    }
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
    this.record.method = head.method
    const trace = traceId(head.headers)
    if (trace !== undefined) this.record.trace = trace
  }

  sawHead(head: RequestHead): void {
    this.record.target = formatTarget(head.target)
    this.open.target = this.record.target
    this.record.path = maskedPath(head.path)
    const keys = queryKeys(head.path)
    if (keys.length > 0) this.record.queryKeys = keys
  }

  sawCaller(id: string): void {
    this.record.caller = id
    this.open.caller = id
  }

  denied(decision: Extract<Decision, { kind: 'deny' }>): void {
    this.record.rule = decision.rule
    if (decision.tenant !== undefined) this.record.tenant = decision.tenant
    this.#reason = decision.reason
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
    this.record.swaps = permit.swaps.map(swap => {
      const opened = values.get(swap.placeholder)
      invariant(opened !== undefined, 'every swap of a permit has its value')
      return {
        secret: formatSecretRef(swap.secret),
        version: swap.secret.version,
        placeholder: maskPlaceholder(swap.placeholder),
        in: formatLocation(swap.location),
        locationKind: swap.location.in,
        fingerprint: fingerprint(opened.value),
      }
    })
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
    // security.md E5: an interim head is not searched for the credential, so it does not pass where one was sent.
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
    const reason = this.#reason ?? reasonOf(error)
    const hadBegun = this.inbound.hasResponded || this.#isDetached
    this.record.outcome = {
      kind: outcomeOf(error, this.record.sent),
      ...(hadBegun || error.code === 'REQUEST_ABORTED' ? {} : { status: error.status }),
      error: error.code,
      source: error.source,
      ...(reason === undefined ? {} : { reason }),
    }
    if (error.code === 'SWAP_REFUSED' && this.record.caller !== undefined)
      this.#deps.guesses.spend(this.record.caller)
    this.#report(error, cause)
    this.inbound.body.cancel(error)
    if (hadBegun || error.code === 'REQUEST_ABORTED') return this.inbound.reset()
    const answer = problem(error, this.record.request, this.#deps.clock.now())
    const close = this.mustClose || CLOSING.has(error.code)
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
    try {
      return work()
    } finally {
      this.record.phases[phase] += this.#deps.clock.monotonic() - start
    }
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

  #report(error: CloakroomError, cause: unknown): void {
    const { request, caller, tenant, rule, target } = this.record
    const fields = { code: error.code, request, caller, tenant, rule, target, cause: describeCause(cause) }
    if (error.source === 'sidecar' || error.source === 'secrets') this.#deps.log.error(error.message, fields)
    else if (error.code === 'REQUEST_ABORTED') this.#deps.log.debug(error.message, fields)
    else this.#deps.log.warn(error.message, fields)
  }
}

/** After these the connection is closed: its state is in doubt, or its next request must not ride on this one (E7, A13). */
const CLOSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'REQUEST_MALFORMED',
  'REQUEST_FRAMING',
  'REQUEST_HEAD_TOO_LARGE',
  'REQUEST_VERSION',
  'REQUEST_TRANSFER_CODING',
  'REQUEST_TIMEOUT',
  'REQUEST_TARGET',
  'REQUEST_MISDIRECTED',
  'REQUEST_PROTOCOL',
  'IDENTITY_REVOKED',
  'SWAP_REFUSED_IN_BODY',
  'SIDECAR_DRAINING',
  'INTERNAL_BROKEN_INVARIANT',
])

function outcomeOf(error: CloakroomError, sent: boolean): OutcomeKind {
  if (error.code === 'REQUEST_ABORTED') return 'client_abort'
  switch (error.source) {
    case 'upstream':
      return 'upstream_error'
    case 'caller':
    case 'policy':
      return 'denied'
    default:
      return sent || error.code !== 'SIDECAR_HALTED' ? 'proxy_error' : 'denied'
  }
}

const REASON_OF: { readonly [code in ErrorCode]?: Reason } = {
  SWAP_REFUSED: 'placeholder_misplaced',
  SWAP_REFUSED_IN_BODY: 'body_placeholder',
  SWAP_GUESSING: 'guessing',
  SWAP_LIMIT: 'placeholder_too_many',
  IDENTITY_REQUIRED: 'identity_missing',
  IDENTITY_UNKNOWN_TO_RELAY: 'identity_missing',
  IDENTITY_REJECTED: 'identity_rejected',
  IDENTITY_REVOKED: 'identity_revoked',
  IDENTITY_TENANT: 'tenant_not_allowed',
  POLICY_RATE_LIMITED: 'rate_limited',
  NET_ADDRESS_REFUSED: 'address_refused',
  SIDECAR_HALTED: 'halted',
  SIDECAR_OVERLOADED: 'overloaded',
  AUDIT_UNAVAILABLE: 'audit_unavailable',
  SECRET_STORE_UNAVAILABLE: 'store_unavailable',
  SECRET_STORE_TIMEOUT: 'store_unavailable',
  KEY_UNAVAILABLE: 'store_unavailable',
}

function reasonOf(error: CloakroomError): Reason | undefined {
  return REASON_OF[error.code] ?? (error.code.startsWith('REQUEST_') ? 'request_malformed' : undefined)
}
