/**
 * Writes docs/errors.md from the table of errors.
 */
import { ERROR_SOURCES, ERRORS, type ErrorCode, type ErrorSource } from '../../src/base/errors.ts'

const WHO: Readonly<Record<ErrorSource, string>> = {
  caller: 'the app, or how it is set up',
  policy: 'whoever writes the policy',
  secrets: 'whoever keeps the secrets, or their store',
  upstream: 'the third party, or the way to it',
  sidecar: 'the operator of the sidecar',
  operator: 'whoever typed the command or wrote the file',
}

/** The whole page, in Markdown. */
export function renderErrorsDoc(): string {
  const codes = Object.keys(ERRORS).sort() as ErrorCode[]
  return `${[
    '# Errors',
    '',
    '<!-- Generated from src/base/errors.ts by scripts/generate.ts. Do not edit. -->',
    '',
    'Every error has a code, which is never renamed. To an app it is the header `Cloakroom-Error` beside a problem document (RFC 9457),',
    '`Proxy-Status` (RFC 9209) and `Cloakroom-Request-Id`, under which the audit log has the record. The app is told the code and',
    'nothing more; text and hint go to the log, to the command line and to `cloakroom policy explain REQUEST-ID`. A refused',
    'placeholder is `SWAP_REFUSED` whatever the reason: unknown, foreign, revoked and misplaced are one answer.',
    '',
    'On the command line: `cloakroom: error CODE: text`, then a hint; exit 1 failed, 2 wrong usage, 3 sidecar or store not reachable,',
    '78 a runtime that may not hold secrets.',
    '',
    '| source | who must act |',
    '|---|---|',
    ...ERROR_SOURCES.map(source => `| ${source} | ${WHO[source]} |`),
    '',
    '## Answers to requests',
    '',
    '| code | status | source | try again | text | hint |',
    '|---|---|---|---|---|---|',
    ...codes
      .filter(code => ERRORS[code].status !== 0)
      .map(code => {
        const { status, source, retry, hint } = ERRORS[code]
        return `| \`${code}\` | ${status} | ${source} | ${retry ? 'yes' : 'no'} | ${cell(textOf(code))} | ${cell(hint)} |`
      }),
    '',
    '## Errors of commands and of the start',
    '',
    '| code | source | text | hint |',
    '|---|---|---|---|',
    ...codes
      .filter(code => ERRORS[code].status === 0)
      .map(code => {
        const { source, hint } = ERRORS[code]
        return `| \`${code}\` | ${source} | ${cell(textOf(code))} | ${cell(hint)} |`
      }),
  ].join('\n')}\n`
}

// The text with the names of its details in the place of their values.
function textOf(code: ErrorCode): string {
  const text = ERRORS[code].text as (details: unknown) => string
  // `faults` is a number that the text counts with: one fault is the plain case.
  return text(new Proxy({}, { get: (_, name) => (name === 'faults' ? 1 : `‹${String(name)}›`) }))
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}
