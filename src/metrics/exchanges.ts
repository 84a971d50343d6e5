/**
 * Counts exchanges that ended: by rule, outcome, reason, place of a swap and phase.
 *
 * Rule of this file: it runs once in every exchange, so all series are found beforehand. What a caller must not be able to tell apart
 * is one number here too (rulings.md 11).
 */
import { LOCATION_KINDS } from '../model/decision.ts'
import { type ExchangeRecord, OUTCOMES, type OutcomeKind } from '../model/exchange.ts'
import type { Buckets, Cell } from './family.ts'
import { CODE_CLASSES, DENIAL_REASONS, INSTRUMENTS, reasonLabel, SWAP_REFUSED_LABEL } from './instruments.ts'
import type { Families } from './registry.ts'

export const OTHER_ROUTE = 'other'

/** The series of one rule. */
type Route = {
  readonly requests: ReadonlyMap<OutcomeKind, readonly Cell[]>
  readonly duration: Buckets
}

export class ExchangeMetrics {
  readonly #families: Families
  readonly #maxRoutes: number
  readonly #other: Route
  /** Every rule that ever had a label of its own; a rule that comes back after a reload finds its numbers. */
  readonly #named = new Map<string, Route>()
  readonly #fixed: FixedSeries

  constructor(families: Families, maxRoutes: number) {
    this.#families = families
    this.#maxRoutes = maxRoutes
    this.#other = bindRoute(families, OTHER_ROUTE)
    this.#fixed = bindFixed(families)
  }

  /** Announces rules: each gets its series at 0, until the limit of labels over the life of the process is reached. */
  setRoutes(ids: readonly string[]): void {
    for (const id of ids) {
      if (this.#named.has(id) || this.#named.size >= this.#maxRoutes) continue
      this.#named.set(id, bindRoute(this.#families, id))
    }
  }

  observe(record: Readonly<ExchangeRecord>): void {
    const fixed = this.#fixed
    const kind = record.outcome?.kind ?? 'proxy_error'
    const route = this.#routeOf(record.rule)
    route.requests.get(kind)?.[codeClass(record.outcome?.status)]?.add(1)
    if (record.timeToHead !== undefined) route.duration.observe(record.timeToHead)
    if (record.upstreamDuration !== undefined) fixed.upstream.observe(record.upstreamDuration)
    fixed.toUpstream.add(record.bytesToUpstream)
    fixed.toClient.add(record.bytesToCaller)
    this.#countPhases(record)
    if (kind === 'denied') this.#countDenial(record)
    if (record.observed !== undefined) fixed.observed.get(reasonLabel(record.observed))?.add(1)
    this.#countSwaps(record)
  }

  #routeOf(rule: string | undefined): Route {
    if (rule === undefined) return this.#other
    const route = this.#named.get(rule)
    if (route !== undefined) return route
    this.#fixed.overflow.add(1)
    return this.#other
  }

  #countPhases({ phases }: Readonly<ExchangeRecord>): void {
    const { phases: series } = this.#fixed
    series.policy.observe(phases.policy)
    series.secret.observe(phases.secret)
    series.swap_request.observe(phases.swap_request)
    series.audit.observe(phases.audit)
    series.total.observe(phases.policy + phases.secret + phases.swap_request + phases.audit)
  }

  #countDenial({ outcome }: Readonly<ExchangeRecord>): void {
    const label = outcome?.error === 'SWAP_REFUSED' ? SWAP_REFUSED_LABEL : reasonLabel(outcome?.reason)
    this.#fixed.enforced.get(label)?.add(1)
    if (label === SWAP_REFUSED_LABEL) this.#fixed.refused.add(1)
  }

  // A swap counts when the request that carries it went out.
  #countSwaps(record: Readonly<ExchangeRecord>): void {
    const { swapped, unsent, leaks, swappedBack } = this.#fixed
    for (const { locationKind } of record.swaps) {
      if (record.sent) swapped.get(locationKind)?.add(1)
      else unsent.add(1)
    }
    if (record.redactions === 0) return
    leaks.add(record.redactions)
    swappedBack.add(record.redactions)
  }
}

/** The series that every exchange may move, whatever its rule. */
type FixedSeries = ReturnType<typeof bindFixed>

function bindFixed(families: Families) {
  const { overhead, swaps, denials } = families
  const byReason = (mode: string) =>
    new Map(DENIAL_REASONS.map(reason => [reason as string, denials.at(reason, mode)]))
  return {
    upstream: families.upstreamDuration.at(),
    toUpstream: families.transferred.at('to_upstream'),
    toClient: families.transferred.at('to_client'),
    phases: {
      policy: overhead.at('policy'),
      secret: overhead.at('secret'),
      swap_request: overhead.at('swap_request'),
      audit: overhead.at('audit'),
      total: overhead.at('total'),
    },
    enforced: byReason('enforce'),
    observed: byReason('observe'),
    swapped: new Map(LOCATION_KINDS.map(kind => [kind, swaps.at('request', kind, 'swapped')])),
    refused: swaps.at('request', 'other', 'refused'),
    unsent: swaps.at('request', 'other', 'error'),
    swappedBack: swaps.at('response', 'other', 'swapped'),
    leaks: families.leaks.at(),
    overflow: families.overflow.at(INSTRUMENTS.requests.name),
  }
}

function bindRoute(families: Families, id: string): Route {
  for (const [outcome = '', code = ''] of INSTRUMENTS.requests.known) families.requests.at(id, outcome, code)
  const rare = (outcome: OutcomeKind) =>
    CODE_CLASSES.map(code => families.requests.whenSeen(id, outcome, code))
  return {
    duration: families.requestDuration.at(id),
    requests: new Map(OUTCOMES.map(outcome => [outcome, rare(outcome)])),
  }
}

function codeClass(status: number | undefined): number {
  const hundreds = status === undefined ? 0 : Math.floor(status / 100)
  return hundreds >= 1 && hundreds <= 5 ? hundreds - 1 : CODE_CLASSES.indexOf('none')
}
