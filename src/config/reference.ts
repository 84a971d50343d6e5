/**
 * Writes docs/config.md and the JSON Schema of the configuration from the table of options, so that neither can be wrong about a
 * name or a default.
 */
import { OPTIONS, type Option, SECTIONS } from './table.ts'

const UNITS: Readonly<Record<Option['unit'], string>> = {
  duration: 'duration: `500ms`, `30s`, `15m`, `12h`, `90d`',
  size: 'size: `512B`, `32KiB`, `1MiB`, `2GiB`',
  count: 'whole number',
  path: 'path',
  paths: 'list of paths',
  address: 'IP:PORT',
  word: 'word',
  texts: 'list',
  pairs: 'mapping',
  records: 'list of mappings',
  text: 'text',
}

/** The whole page, in Markdown. */
export function renderConfigDoc(): string {
  return `${[
    '# Configuration',
    '',
    '<!-- Generated from src/config/schema.ts by scripts/generate.ts. Do not edit. -->',
    '',
    'One YAML file. `--config FILE`, else `CLOAKROOM_CONFIG`, else `./cloakroom.yaml`, else `./.cloakroom/cloakroom.yaml`, else',
    '`/etc/cloakroom/cloakroom.yaml`. [config/cloakroom.yaml](../config/cloakroom.yaml) is an annotated example;',
    '[config/schema/cloakroom.json](../config/schema/cloakroom.json) is a JSON Schema for editors.',
    '',
    '- What is absent has the default shown here. An unknown key is an error, with a suggestion; all faults are reported together, each',
    '  with file, line and column.',
    '- Paths are relative to the configuration file.',
    '- A variable overrides the file, and `--set OPTION=VALUE` overrides both. Lists in variables are separated by commas.',
    '- No option holds a secret; those that need one name a file.',
    '',
    ...SECTIONS.flatMap(({ name, description }) => [
      `## ${name}`,
      '',
      description,
      '',
      '| option | default | |',
      '|---|---|---|',
      ...OPTIONS.filter(option => option.section === name).map(row),
      '',
    ]),
  ]
    .join('\n')
    .trimEnd()}\n`
}

function row(option: Option): string {
  const kind = option.words.length > 0 ? option.words.map(code).join(', ') : UNITS[option.unit]
  const parts = [
    option.description,
    `*${kind}*`,
    ...(option.variable === undefined ? [] : [code(option.variable)]),
    ...(option.security === undefined ? [] : [`**Security:** ${option.security}`]),
  ]
  return `| \`${option.name}\` | ${defaultOf(option)} | ${parts.join('<br>').replaceAll('|', '\\|')} |`
}

function defaultOf({ byDefault }: Option): string {
  if (byDefault === undefined || byDefault === '') return ''
  return code(typeof byDefault === 'string' ? byDefault : JSON.stringify(byDefault))
}

function code(text: string): string {
  return `\`${text}\``
}
