/**
 * Starts parts in order and stops them in reverse.
 *
 * Rule of this file: a start that fails stops what had started, in reverse, and reports the first failure;
 * a stop reaches every part even when one of them fails.
 */

export interface Part {
  readonly name: string
  start(): Promise<void>
  /** Ends the part; must be safe to call once after a successful start. */
  stop(): Promise<void>
}

export class Lifecycle {
  readonly #parts: readonly Part[]
  readonly #started: Part[] = []

  /** @param parts - in the order in which they must start; the order is part of the design. */
  constructor(parts: readonly Part[]) {
    this.#parts = parts
  }

  async start(): Promise<void> {
    try {
      for (const part of this.#parts) {
        await part.start()
        this.#started.push(part)
      }
    } catch (cause) {
      await this.stop().catch(() => undefined) // the first failure is the one to report
      throw cause
    }
  }

  async stop(): Promise<void> {
    const failures: unknown[] = []
    for (let part = this.#started.pop(); part !== undefined; part = this.#started.pop()) {
      await part.stop().catch(cause => failures.push(cause))
    }
    if (failures.length > 0) throw failures[0]
  }
}
