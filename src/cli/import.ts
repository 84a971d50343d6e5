/**
 * `cloakroom secret import`: many secrets from JSON lines.
 *
 * Rule of this file: every line is checked before the first is stored; they go in batches that fit the admin socket, each batch is
 * durable when the next begins, and the placeholders of what was stored are printed also when a later batch fails.
 */
import * as v from 'valibot'
import type { OperationParams } from '../api/operations.ts'
import { CloakroomError } from '../base/errors.ts'
import { kib } from '../base/size.ts'
import type { Handler } from './command.ts'
import { counted } from './output.ts'
import { readInput } from './prompt.ts'

type NewSecret = OperationParams<'secret.import'>['secrets'][number]

// Well under the admin socket's limit of 1 MiB, with the names and targets of the largest values.
const BATCH_BYTES = kib(512)

const line = v.strictObject({
  secret: v.string(),
  value: v.optional(v.string()),
  valueBase64: v.optional(v.string()),
  targets: v.optional(v.array(v.string())),
  shape: v.optional(v.string()),
  expiresAt: v.optional(v.nullable(v.number())),
  notBefore: v.optional(v.number()),
  widen: v.optional(v.boolean()),
  narrow: v.optional(v.boolean()),
  force: v.optional(v.boolean()),
})

export const importSecrets: Handler<object> = async ({ context, args }) => {
  const input = await readInput(args[0])
  const secrets = parseLines(input.toString('utf8'))
  input.fill(0)
  const bar = context.output.progress('import')
  try {
    await context.withControl(async control => {
      let before = 0
      for (const batch of batches(secrets)) {
        const start = before
        const stored = await control.call('secret.import', { secrets: batch }, done =>
          bar.update(start + done, secrets.length),
        )
        for (const one of stored) context.output.result(one, `${one.secret} ${one.placeholder}`)
        before += batch.length
      }
    })
  } finally {
    bar.end()
  }
  context.output.say(counted(secrets.length, 'secret'))
  return 0
}

/** Reads JSON lines; a fault names its line and never quotes it. @throws CLI_USAGE */
export function parseLines(text: string): NewSecret[] {
  return text.split('\n').flatMap((one, i) => (one.trim() === '' ? [] : [parseLine(one, i + 1)]))
}

function parseLine(text: string, number: number): NewSecret {
  const refuse = (what: string): never => {
    throw new CloakroomError('CLI_USAGE', { what: `line ${number}: ${what}` })
  }
  const checked = v.safeParse(line, parseJson(text))
  if (!checked.success) {
    const path = (checked.issues[0].path ?? []).map(item => String(item.key)).join('.')
    return refuse(path === '' ? 'is not a JSON object of a secret' : `${path} is not as it must be`)
  }
  const { value, valueBase64, ...rest } = checked.output
  if ((value === undefined) === (valueBase64 === undefined))
    return refuse('needs one of value and valueBase64')
  const base64 = valueBase64 ?? Buffer.from(value ?? '').toString('base64')
  const present = Object.entries(rest).filter(([, option]) => option !== undefined)
  return { ...Object.fromEntries(present), secret: rest.secret, value: base64 } as NewSecret
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // V8's message quotes the text, which holds a value
  }
}

function* batches(secrets: readonly NewSecret[]): Generator<NewSecret[]> {
  let batch: NewSecret[] = []
  let size = 0
  for (const secret of secrets) {
    const length = JSON.stringify(secret).length
    if (batch.length > 0 && size + length > BATCH_BYTES) {
      yield batch
      batch = []
      size = 0
    }
    batch.push(secret)
    size += length
  }
  if (batch.length > 0) yield batch
}
