/**
 * Writes the JSON Schemas that editors read, from the schemas that the program validates with.
 */
import { toJsonSchema } from '@valibot/to-json-schema'
import { CONFIG_SCHEMA } from '../../src/config/schema.ts'
import { PolicySchema } from '../../src/policy/schema.ts'

const BASE = 'https://json-schema.org/draft/2020-12/schema'

export function renderConfigSchema(): string {
  return render(toJsonSchema(CONFIG_SCHEMA, OPTIONS), 'Cloakroom configuration')
}

export function renderPolicySchema(): string {
  return render(toJsonSchema(PolicySchema, OPTIONS), 'Cloakroom policy')
}

// As people write it (input). Checks that are functions have no form in JSON Schema: the program itself makes them.
const OPTIONS = { typeMode: 'input', errorMode: 'ignore', target: 'draft-2020-12' } as const

function render(schema: object, title: string): string {
  const { $schema: _, ...rest } = schema as { $schema?: string }
  return `${JSON.stringify({ $schema: BASE, title, ...rest }, null, 2)}\n`
}
