/**
 * Writes everything in the repository that is made from a table in src. With --check it writes nothing, and fails where a file is
 * not what it would write.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { renderConfigDoc } from '../src/config/reference.ts'
import { renderMetricsDoc } from '../src/metrics/reference.ts'
import { renderDashboard } from './dashboard.ts'
import { renderErrorsDoc } from './generate/errors-doc.ts'
import { renderConfigSchema, renderPolicySchema } from './generate/schemas.ts'

const ROOT = join(import.meta.dirname, '..')

/** Path in the repository, and what stands there. To generate another file, add a line. */
export const GENERATED: Readonly<Record<string, () => string>> = {
  'docs/config.md': renderConfigDoc,
  'docs/errors.md': renderErrorsDoc,
  'docs/metrics.md': renderMetricsDoc,
  'config/schema/cloakroom.json': renderConfigSchema,
  'config/schema/policy.json': renderPolicySchema,
  'deploy/grafana/cloakroom.json': renderDashboard,
}

/** Lists the files that differ from what would be written. */
export function outOfStep(root = ROOT): string[] {
  return Object.entries(GENERATED)
    .filter(([path, render]) => {
      const file = join(root, path)
      return !existsSync(file) || readFileSync(file, 'utf8') !== render()
    })
    .map(([path]) => path)
}

function main(isCheck: boolean): number {
  const stale = outOfStep()
  for (const path of stale) {
    if (isCheck) {
      process.stderr.write(`${path} is not in step with src: run "npm run generate"\n`)
      continue
    }
    const file = join(ROOT, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, GENERATED[path]?.() ?? '')
    process.stdout.write(`wrote ${path}\n`)
  }
  return isCheck && stale.length > 0 ? 1 : 0
}

if (import.meta.main) process.exitCode = main(process.argv.includes('--check'))
