/**
 * The places that can keep the log: a literal table, so that a new one is one file and one line.
 */
import { unreachable } from '../base/assert.ts'
import type { Clock } from '../base/clock.ts'
import type { AuditSink } from './sink.ts'
import { createFileSink, type Durability } from './sinks/file.ts'
import { createStdoutSink } from './sinks/stdout.ts'

export type { AuditSink, SinkKind } from './sink.ts'
export { SINK_KINDS } from './sink.ts'
export type { Durability } from './sinks/file.ts'

export const DURABILITIES = ['written', 'fsync'] as const satisfies readonly Durability[]

export const SINKS = { file: createFileSink, stdout: createStdoutSink } as const

/** What the configuration says of one sink. */
export type SinkSettings =
  | {
      readonly kind: 'file'
      readonly path: string
      readonly required: boolean
      readonly rotateAfter?: number
    }
  | { readonly kind: 'stdout'; readonly required: boolean }

export function createSink(settings: SinkSettings, durability: Durability, clock: Clock): AuditSink {
  switch (settings.kind) {
    case 'file':
      return SINKS.file({ ...settings, durability })
    case 'stdout':
      return SINKS.stdout({ required: settings.required, clock })
    default:
      return unreachable(settings)
  }
}
