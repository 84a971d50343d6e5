/**
 * `cloakroom audit …`: reads the log file; needs no key but the public one, and no sidecar.
 */
import { createPublicKey } from 'node:crypto'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { follow, readLast, type TailRecord } from '../../audit/tail.ts'
import { FOREIGN_KEY, type VerifyReport, verifyLog } from '../../audit/verify.ts'
import { systemClock } from '../../base/clock.ts'
import { CloakroomError } from '../../base/errors.ts'
import { printable } from '../../base/log.ts'
import type { AuditEvent, IntentEvent, OutcomeEvent } from '../../model/audit-event.ts'
import { type AddCommands, collect, type Handler } from '../command.ts'
import { auditFileOf } from '../explain.ts'
import { counted, type Output } from '../output.ts'

export const addAuditCommands: AddCommands = (program, perform) => {
  const audit = program.command('audit').description('read and verify the audit log')
  audit
    .command('tail')
    .description('show the last records')
    .option('-n, --lines <count>', 'how many', '20')
    .option('-f, --follow', 'go on as records are written')
    .action(perform(tail))
  audit
    .command('verify')
    .description('walk the whole chain; exit 0 and a count, or 1 and the first broken record')
    .option(
      '--public-key <file>',
      'key that checkpoints are signed with (default: audit.publicKey); may be repeated',
      collect,
    )
    .option(
      '--anchor <seq:hash>',
      'a record known from elsewhere, which must be in the log; may be repeated',
      collect,
    )
    .option('--partial', 'the oldest files were put away: the log may begin with any record')
    .action(perform(verify))
}

const tail: Handler<{ lines: string; follow?: boolean }> = async ({ context, options }) => {
  const count = /^[0-9]{1,6}$/.test(options.lines) ? Number(options.lines) : undefined
  if (count === undefined) throw new CloakroomError('CLI_USAGE', { what: '--lines is not a number' })
  const file = auditFileOf(context.config())
  const records = await readLast(file, count)
  for (const record of records) show(context.output, record)
  if (options.follow !== true) return 0
  const ending = new AbortController()
  process.once('SIGINT', () => ending.abort())
  process.once('SIGTERM', () => ending.abort())
  const last = records.at(-1)?.event.seq ?? (await readLast(file, 1)).at(-1)?.event.seq ?? 0
  for await (const record of follow(file, last, { clock: systemClock, signal: ending.signal }))
    show(context.output, record)
  return 0
}

function show(output: Output, { line, event }: TailRecord): void {
  if (output.isJson) return output.raw(`${line.trimEnd()}\n`)
  const text = 'request' in event ? formatExchange(event) : formatNote(event)
  output.raw(`${printable(text)}\n`)
}

// What a person looks for first; --json has the rest.
function formatExchange(event: IntentEvent | OutcomeEvent): string {
  const { seq, time, event: name, request, caller, method = '', target = '', path = '', swaps } = event
  const end = 'outcome' in event ? [event.status, event.reason ?? event.error ?? event.outcome] : []
  const placeholders = swaps ?? ('refused' in event ? event.refused : undefined) ?? []
  const secrets = placeholders.map(
    one => `${one.secret ?? one.placeholder}${one.in === undefined ? '' : ` in ${one.in}`}`,
  )
  const columns = [
    time,
    seq,
    name.padEnd(7),
    request,
    caller ?? '-',
    ...end,
    method,
    `${target}${path}`,
    secrets.join(', '),
  ]
  return columns.filter(column => column !== undefined && column !== '').join(' ')
}

function formatNote(event: AuditEvent): string {
  const {
    v: _v,
    seq,
    time,
    instance: _instance,
    event: name,
    prev: _prev,
    hash: _hash,
    signature: _signature,
    ...rest
  } = { ...event } as Record<string, unknown>
  const fields = Object.entries(rest).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  return [time, seq, name, ...fields].join(' ')
}

type VerifyOptions = {
  readonly publicKey?: readonly string[]
  readonly anchor?: readonly string[]
  readonly partial?: boolean
}

const verify: Handler<VerifyOptions> = async ({ context, options }) => {
  const config = context.config()
  const file = auditFileOf(config)
  if (!existsSync(file)) throw new CloakroomError('AUDIT_BROKEN', { file, line: 0, what: 'there is no log' })
  const size = statSync(file).size
  const bar = context.output.progress('verify')
  const report = await verifyLog(file, {
    publicKeys: (options.publicKey ?? [config.audit.publicKey]).map(readPublicKey),
    anchors: (options.anchor ?? []).map(parseAnchor),
    mayStartLater: options.partial === true,
    onProgress: bytes => bar.update(Math.min(bytes, size), size),
  })
  bar.end()
  // A log that was emptied, or never begun, is no good news: the writer's first record comes before anything is served.
  if (report.records === 0 && report.faults.length === 0)
    throw new CloakroomError('AUDIT_BROKEN', {
      file,
      line: 0,
      what: 'the log is empty: there is nothing to verify',
    })
  const [first] = report.faults
  if (first !== undefined) {
    if (context.output.isJson) context.output.result(report, '')
    if (isOfAnotherKey(report)) {
      const what =
        'no checkpoint is signed with the public key given: another sidecar wrote this log (give its key with --public-key), or somebody did who has not the key'
      throw new CloakroomError('AUDIT_BROKEN', { ...first, what })
    }
    const faults = report.faults.map(({ file: where, line, what }) => `${where}:${line}: ${what}`)
    throw new CloakroomError('AUDIT_BROKEN', first, { cause: { faults } })
  }
  context.output.result(report, formatReport(report))
  return 0
}

// With a wrong key every checkpoint is a fault, and they are all one.
function isOfAnotherKey({ faults, checkpoints }: VerifyReport): boolean {
  return checkpoints === 0 && faults.every(({ what }) => what === FOREIGN_KEY)
}

function formatReport({
  records,
  signed,
  unsigned,
  checkpoints,
  gaps,
  unfinished,
  last,
}: VerifyReport): string {
  const notes = [
    `${counted(records, 'record')}, unbroken`,
    `${signed} vouched for by ${counted(checkpoints, 'signed checkpoint')}, ${unsigned} since`,
    ...(gaps > 0 ? [`${counted(gaps, 'gap')} that the log itself tells of`] : []),
    ...(unfinished > 0 ? [`${counted(unfinished, 'exchange')} under way`] : []),
    ...(last === undefined ? [] : [`anchor this elsewhere: ${last.seq}:${last.hash}`]),
  ]
  return notes.join('\n')
}

function readPublicKey(file: string) {
  const pem = readFileSync(file)
  try {
    return createPublicKey(pem)
  } catch (cause) {
    throw new CloakroomError('CLI_USAGE', { what: `${file} is not a public key in PEM` }, { cause })
  }
}

function parseAnchor(text: string): { seq: number; hash: string } {
  const match = /^([1-9][0-9]{0,14}):([0-9a-f]{64})$/.exec(text)
  if (match === null)
    throw new CloakroomError('CLI_USAGE', { what: '--anchor is not SEQ:HASH as "audit verify" prints it' })
  return { seq: Number(match[1]), hash: match[2] ?? '' }
}
