/**
 * Records, keys and sinks for the tests of the audit trail.
 */
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { AuditSink } from '../../src/audit/sink.ts'
import { createSink } from '../../src/audit/sinks.ts'
import { openTrail, type Trail, type TrailOptions } from '../../src/audit/trail.ts'
import { silentLog } from '../../src/base/log.ts'
import type { ExchangeRecord, SwapRecord } from '../../src/model/exchange.ts'
import { type ManualClock, manualClock } from '../support/clock.ts'

export const keys: { publicKey: KeyObject; privateKey: KeyObject } = generateKeyPairSync('ed25519')

export const swap: SwapRecord = {
  secret: 'acme/stripe',
  version: 3,
  placeholder: 'xclk_r…Q3xZ',
  in: 'header.authorization',
  locationKind: 'header',
  fingerprint: `hmac:${'0f'.repeat(16)}`,
}

let made = 0

/** A record of an exchange with one swap, allowed and sent; `change` overrides. */
export function exchange(change: Partial<ExchangeRecord> = {}): ExchangeRecord {
  return {
    request: `01J${String(++made).padStart(23, '0')}`,
    time: Date.UTC(2026, 10, 23),
    entrance: 'connect',
    caller: 'billing',
    tenant: 'acme',
    rule: 'stripe-charges',
    policy: `sha256:${'ab'.repeat(32)}`,
    target: 'https://api.stripe.com:443',
    method: 'POST',
    path: '/v1/charges',
    trace: '4bf92f3577b34da6a3ce929d0e0e4736',
    swaps: [swap],
    sent: true,
    intended: true,
    bytesToUpstream: 312,
    bytesToCaller: 1024,
    redactions: 0,
    duration: 12.3456,
    phases: { policy: 0, secret: 0, swap_request: 0, audit: 0 },
    outcome: { kind: 'allowed', status: 200 },
    ...change,
  }
}

/** A refusal before anything was sent. */
export function refusal(change: Partial<ExchangeRecord> = {}): ExchangeRecord {
  const outcome = { kind: 'denied', status: 403, error: 'POLICY_DENIED', reason: 'path_not_allowed' } as const
  return exchange({ sent: false, intended: false, swaps: [], outcome, ...change })
}

export type Running = { readonly trail: Trail; readonly clock: ManualClock; readonly path: string }

export function trailAt(path: string, change: Partial<TrailOptions> = {}): Running {
  const clock = (change.clock as ManualClock | undefined) ?? manualClock()
  const sinks: readonly AuditSink[] = [createSink({ kind: 'file', path, required: true }, 'written', clock)]
  const trail = openTrail({
    sinks,
    instance: 'pod-7f',
    clock,
    log: silentLog,
    signingKey: keys.privateKey,
    ...change,
  })
  return { trail, clock, path }
}

export function linesOf(path: string): string[] {
  return readFileSync(path, 'utf8').split('\n').slice(0, -1)
}

export function recordsOf(path: string): Record<string, unknown>[] {
  return linesOf(path).map(line => JSON.parse(line))
}

/** A sink whose disk can be made to hang, fail or break off in the middle. */
export class FaultySink implements AuditSink {
  readonly kind: AuditSink['kind']
  readonly required: boolean
  text = ''
  mode: 'ok' | 'hang' | 'fail' = 'ok'
  writes = 0
  #hung: (() => void)[] = []

  constructor(required = true, kind: AuditSink['kind'] = 'file') {
    this.required = required
    this.kind = kind
  }

  async open(): Promise<undefined> {
    return undefined
  }

  async write(lines: Buffer): Promise<void> {
    this.writes++
    if (this.mode === 'hang') await new Promise<void>(resolve => this.#hung.push(resolve))
    if (this.mode === 'fail') throw Object.assign(new Error('disk'), { code: 'ENOSPC' })
    this.text += lines.toString('latin1')
  }

  /** Lets every hanging write go through. */
  release(): void {
    this.mode = 'ok'
    for (const go of this.#hung.splice(0)) go()
  }

  async close(): Promise<void> {
    this.release()
  }

  get records(): Record<string, unknown>[] {
    return this.text
      .split('\n')
      .slice(0, -1)
      .map(line => JSON.parse(line))
  }
}

/** Lets everything that needs no time and no disk happen. */
export async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(resolve => setImmediate(resolve))
}
