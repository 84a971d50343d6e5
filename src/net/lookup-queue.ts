/**
 * A line in front of getaddrinfo: a bound, turns, and a way out for those that nobody waits for any more.
 *
 * getaddrinfo cannot be cancelled, and a name whose server is silent takes 10 s and more. libuv runs as many at a time as half
 * its threads and lines up the rest, in order and for good, so without this file one caller with many slow names stops every
 * look-up of the process for minutes, also after it has hung up (threat-model.md G4).
 *
 * Rules of this file, with "domain" for the last two labels of a name (who calls is not known here, and the names of one
 * wildcard are all of one domain):
 * - a domain has one look-up under way at most, and waiting domains take turns;
 * - domains that were slow have one place together, so that the other one serves those that answer.
 * What is left: each new slow domain costs the others one wait, so a rule that lets a caller name any host lets it slow names down.
 */
import { type Clock, type Milliseconds, seconds } from '../base/clock.ts'
import { CloakroomError } from '../base/errors.ts'

/** Gives all addresses of a fully qualified name (with its trailing dot), in the order in which to try them. */
export type Lookup = (name: string) => Promise<readonly string[]>

// Half of libuv's four threads (UV_THREADPOOL_SIZE cannot be set from inside): a third would only wait in libuv, where it has
// no turn and cannot be taken back.
const MAX_UNDER_WAY = 2
const MAX_SLOW_UNDER_WAY = MAX_UNDER_WAY - 1
const MAX_WAITING = 256
const SLOW_AFTER: Milliseconds = seconds(2)
const MAX_SLOW_DOMAINS = 256

export type LookupQueueOptions = {
  readonly lookup: Lookup
  readonly clock: Clock
  /** Called when a look-up is given up before it began: whoever shares its promise must forget it. */
  readonly onDropped: (name: string) => void
}

export type LookupQueue = {
  /** Lines a look-up up, or gives the one of that name that waits already. */
  load(name: string): Promise<readonly string[]>
  /**
   * Says that somebody waits for `name`; the result, called once, says that they do so no more. A look-up that the last one
   * left before it began is dropped, and its promise never settles; one too many is refused with SIDECAR_OVERLOADED.
   */
  join(name: string): () => void
}

type Job = {
  readonly name: string
  readonly answer: Promise<readonly string[]>
  readonly resolve: (addresses: readonly string[]) => void
  readonly reject: (cause: unknown) => void
  joined: number
}

export function createLookupQueue(options: LookupQueueOptions): LookupQueue {
  const queue = new Queue(options)
  return { load: name => queue.load(name), join: name => queue.join(name) }
}

class Queue {
  readonly #options: LookupQueueOptions
  readonly #waiting = new Map<string, Job>()
  /** By domain; the order of the keys is the order of turns. */
  readonly #lines = new Map<string, Job[]>()
  /** When the look-up of each domain began. */
  readonly #underWay = new Map<string, Milliseconds>()
  /** Whose last look-up was slow; the oldest is forgotten first. */
  readonly #slow = new Set<string>()

  constructor(options: LookupQueueOptions) {
    this.#options = options
  }

  load(name: string): Promise<readonly string[]> {
    const known = this.#waiting.get(name)
    if (known !== undefined) return known.answer
    const { promise: answer, resolve, reject } = Promise.withResolvers<readonly string[]>()
    const job: Job = { name, answer, resolve, reject, joined: 0 }
    const domain = domainOf(name)
    const line = this.#lines.get(domain)
    if (line === undefined) this.#lines.set(domain, [job])
    else line.push(job)
    this.#waiting.set(name, job)
    this.#startNext()
    return answer
  }

  join(name: string): () => void {
    const job = this.#waiting.get(name)
    if (job === undefined) return () => undefined
    job.joined++
    if (this.#waiting.size > MAX_WAITING) this.#refuseOne()
    return () => {
      job.joined--
      if (job.joined === 0 && this.#waiting.get(name) === job) this.#drop(job)
    }
  }

  // The youngest of the longest line, so that whoever fills the queue is the one to be refused.
  #refuseOne(): void {
    const longest = [...this.#lines.values()].reduce((a, b) => (b.length >= a.length ? b : a))
    const job = longest.at(-1)
    if (job === undefined) return
    this.#drop(job)
    job.reject(new CloakroomError('SIDECAR_OVERLOADED', { what: 'name look-ups' }))
  }

  #drop(job: Job): void {
    const domain = domainOf(job.name)
    const line = (this.#lines.get(domain) ?? []).filter(other => other !== job)
    if (line.length === 0) this.#lines.delete(domain)
    else this.#lines.set(domain, line) // keeps its turn
    this.#waiting.delete(job.name)
    this.#options.onDropped(job.name)
  }

  #startNext(): void {
    while (this.#underWay.size < MAX_UNDER_WAY) {
      const next = [...this.#lines].find(([domain]) => this.#mayStart(domain))
      if (next === undefined) return
      const [domain, [job, ...rest]] = next
      this.#lines.delete(domain)
      if (rest.length > 0) this.#lines.set(domain, rest) // behind the others now
      if (job !== undefined) void this.#run(domain, job)
    }
  }

  #mayStart(domain: string): boolean {
    if (this.#underWay.has(domain)) return false
    if (!this.#slow.has(domain)) return true
    return [...this.#underWay.keys()].filter(other => this.#isSlow(other)).length < MAX_SLOW_UNDER_WAY
  }

  #isSlow(domain: string): boolean {
    return this.#slow.has(domain) || this.#isLate(domain)
  }

  #isLate(domain: string): boolean {
    const began = this.#underWay.get(domain)
    return began !== undefined && this.#options.clock.monotonic() - began >= SLOW_AFTER
  }

  async #run(domain: string, job: Job): Promise<void> {
    this.#waiting.delete(job.name)
    this.#underWay.set(domain, this.#options.clock.monotonic())
    try {
      job.resolve(await this.#options.lookup(job.name))
    } catch (cause) {
      job.reject(cause) // also what Node throws at once, for names that it dislikes
    }
    this.#remember(domain, this.#isLate(domain))
    this.#underWay.delete(domain)
    this.#startNext()
  }

  #remember(domain: string, slow: boolean): void {
    this.#slow.delete(domain)
    if (!slow) return
    this.#slow.add(domain)
    const [oldest] = this.#slow
    if (this.#slow.size > MAX_SLOW_DOMAINS && oldest !== undefined) this.#slow.delete(oldest)
  }
}

/** The last two labels of a name that ends in a dot. */
function domainOf(name: string): string {
  return name.split('.').slice(-3).join('.')
}
