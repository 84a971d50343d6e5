/**
 * How the demo looks: plain text, colours only where a person watches.
 *
 * Rule of this file: a step that did not happen is shown as FAILED and counted, so that the demo cannot look better than it went.
 */

export type Stage = {
  heading(text: string): void
  line(text?: string): void
  /** Two columns under their titles, with a name in front of each row. */
  sideBySide(titles: readonly [string, string], rows: readonly (readonly [string, string, string])[]): void
  check(what: string, isSo: boolean): void
  readonly failed: number
  readonly passed: number
}

const GREEN = 32
const RED = 31
const BOLD = 1

export function createStage(write: (text: string) => void, hasColor: boolean): Stage {
  const paint = (code: number, text: string) => (hasColor ? `\u001b[${code}m${text}\u001b[0m` : text)
  const counts = { passed: 0, failed: 0 }
  return {
    heading: text => write(`\n${paint(BOLD, text)}\n`),
    line: (text = '') => write(`  ${text}\n`),
    sideBySide(titles, rows) {
      const all: [string, string, string][] = [
        ['', ...titles],
        ...rows.map((row): [string, string, string] => [...row]),
      ]
      const width = (column: 0 | 1) => Math.max(...all.map(row => row[column].length))
      for (const [index, [name, left, right]] of all.entries()) {
        const text = `${name.padEnd(width(0))}  ${left.padEnd(width(1))}  ${right}`.trimEnd()
        write(`  ${index === 0 ? paint(BOLD, text) : text}\n`)
      }
    },
    check(what, isSo) {
      counts[isSo ? 'passed' : 'failed']++
      write(`  ${isSo ? paint(GREEN, 'ok    ') : paint(RED, 'FAILED')}  ${what}\n`)
    },
    get failed() {
      return counts.failed
    },
    get passed() {
      return counts.passed
    },
  }
}

/** Shows the first and last characters of a credential and hides the rest. */
export function masked(credential: string): string {
  return `${credential.slice(0, 10)}${'*'.repeat(8)}${credential.slice(-2)}`
}
