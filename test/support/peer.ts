/**
 * One end of a connection, driven by hand: reads HTTP messages by a reader of its own, and waits for bytes and ends.
 */
import type { Duplex } from 'node:stream'

export type Head = {
  readonly start: string
  readonly headers: readonly (readonly [string, string])[]
  readonly text: string
}

export type Message = Head & {
  readonly status: number
  readonly body: Buffer
  readonly trailers: readonly (readonly [string, string])[]
  readonly framing: 'none' | 'length' | 'chunked' | 'close'
}

type Taken<T> = { readonly value: T; readonly length: number } | undefined

export class Peer {
  readonly socket: Duplex
  #bytes: Buffer = Buffer.alloc(0)
  #later: Buffer[] = [] // came since, joined when somebody looks
  #length = 0
  #ending: 'end' | 'reset' | undefined
  #waiting: (() => void)[] = []

  constructor(socket: Duplex) {
    this.socket = socket
    socket.resume()
    socket.on('data', chunk => {
      this.#later.push(chunk)
      this.#length += chunk.length
      this.#wake()
    })
    socket.on('end', () => this.#ended('end'))
    socket.on('error', () => this.#ended('reset'))
    socket.on('close', () => this.#ended('reset'))
  }

  write(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  }

  end(bytes: string | Buffer = ''): void {
    this.socket.end(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** What has come and was not taken. */
  get pending(): Buffer {
    if (this.#later.length > 0) this.#bytes = Buffer.concat([this.#bytes, ...this.#later])
    this.#later = []
    return this.#bytes
  }

  /** Waits until `read` gives something of at least `least` bytes; throws when the other side ends first. */
  async take<T>(
    read: (bytes: Buffer, ending: 'end' | 'reset' | undefined) => Taken<T>,
    least = 0,
  ): Promise<T> {
    for (;;) {
      const taken = this.#length < least ? undefined : read(this.pending, this.#ending)
      if (taken !== undefined) {
        this.#bytes = this.#bytes.subarray(taken.length)
        this.#length -= taken.length
        return taken.value
      }
      if (this.#ending !== undefined) {
        const text = this.pending.toString('latin1', 0, 300)
        throw new Error(`the connection ended (${this.#ending}) after ${JSON.stringify(text)}`)
      }
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    }
  }

  until(marker: string): Promise<string> {
    return this.take(bytes => {
      const at = bytes.indexOf(marker, 0, 'latin1')
      if (at < 0) return undefined
      const length = at + marker.length
      return { value: bytes.toString('latin1', 0, length), length }
    })
  }

  bytes(count: number): Promise<Buffer> {
    return this.take(bytes => ({ value: bytes.subarray(0, count), length: count }), count)
  }

  /** Everything up to the end, and how it ended. */
  rest(): Promise<{ readonly bytes: Buffer; readonly ending: 'end' | 'reset' }> {
    return this.take((bytes, ending) =>
      ending === undefined ? undefined : { value: { bytes, ending }, length: bytes.length },
    )
  }

  /** Waits until the other side has ended, in whatever way, and leaves what it sent. */
  async over(): Promise<'end' | 'reset'> {
    for (;;) {
      if (this.#ending !== undefined) return this.#ending
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    }
  }

  async head(): Promise<Head> {
    const text = await this.until('\r\n\r\n')
    const [start = '', ...lines] = text.slice(0, -4).split('\r\n')
    return { start, headers: lines.map(pairOf), text }
  }

  /** One message; `bodiless` for answers to HEAD. Interim answers are messages of their own. */
  async message({ bodiless = false } = {}): Promise<Message> {
    const head = await this.head()
    const status = head.start.startsWith('HTTP/') ? Number(head.start.split(' ')[1]) : 0
    const isEmpty = bodiless || status === 204 || status === 304 || (status > 0 && status < 200)
    if (isEmpty) return { ...head, status, body: Buffer.alloc(0), trailers: [], framing: 'none' }
    const length = headerOf(head, 'content-length')
    if (headerOf(head, 'transfer-encoding') === 'chunked')
      return { ...head, status, ...(await this.#chunked()), framing: 'chunked' }
    if (length !== undefined)
      return { ...head, status, body: await this.bytes(Number(length)), trailers: [], framing: 'length' }
    if (status === 0) return { ...head, status, body: Buffer.alloc(0), trailers: [], framing: 'none' }
    const { bytes, ending } = await this.rest()
    if (ending === 'reset') throw new Error('reset in a body that the close ends')
    return { ...head, status, body: bytes, trailers: [], framing: 'close' }
  }

  /** The next answer that is not an interim one. */
  async answer(options: { bodiless?: boolean } = {}): Promise<Message> {
    for (;;) {
      const message = await this.message(options)
      if (message.status >= 200) return message
    }
  }

  async #chunked(): Promise<{ body: Buffer; trailers: (readonly [string, string])[] }> {
    const chunks: Buffer[] = []
    for (;;) {
      const size = Number.parseInt(await this.until('\r\n'), 16)
      if (size === 0) break
      chunks.push((await this.bytes(size + 2)).subarray(0, size))
    }
    const trailers: (readonly [string, string])[] = []
    for (;;) {
      const line = (await this.until('\r\n')).slice(0, -2)
      if (line === '') return { body: Buffer.concat(chunks), trailers }
      trailers.push(pairOf(line))
    }
  }

  #ended(how: 'end' | 'reset'): void {
    this.#ending ??= how
    this.#wake()
  }

  #wake(): void {
    for (const run of this.#waiting.splice(0)) run()
  }
}

function pairOf(line: string): readonly [string, string] {
  const colon = line.indexOf(':')
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
}

/** The value of a header that stands once; undefined when absent or repeated. */
export function headerOf(head: Head, name: string): string | undefined {
  const found = head.headers.filter(([other]) => other === name)
  return found.length === 1 ? found[0]?.[1] : undefined
}
