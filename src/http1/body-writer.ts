/**
 * A body's bytes as its framing wants them on the wire.
 *
 * Rule of this file: what was announced is what is sent. A byte too many would be read as the next message by the other side, a
 * byte too few would make it swallow the next one (Node writes both without strictContentLength; threat-model.md E1, C12).
 */
import { invariant } from '../base/assert.ts'
import type { HeaderList } from '../model/message.ts'
import type { Framing } from './framing.ts'
import { CHUNK_END, writeChunkPrefix, writeLastChunk } from './write.ts'

/** Frames one body. After a throw the connection must be destroyed: the other side waits for what cannot come. */
export class BodyWriter {
  readonly #kind: Framing['kind']
  #left: number
  #hasEnded = false

  constructor(framing: Framing) {
    this.#kind = framing.kind
    this.#left = framing.kind === 'length' ? framing.length : 0
  }

  /**
   * Gives the pieces to write for some bytes of the body; `chunk` itself is among them, not a copy.
   *
   * @throws INTERNAL_BROKEN_INVARIANT when the body passes its announced length, or has ended.
   */
  frame(chunk: Buffer): readonly Buffer[] {
    if (chunk.length === 0) return []
    invariant(!this.#hasEnded, 'body that goes on after its end')
    if (this.#kind === 'chunked') return [writeChunkPrefix(chunk.length), chunk, CHUNK_END]
    if (this.#kind === 'until-close') return [chunk]
    invariant(chunk.length <= this.#left, 'body longer than announced')
    this.#left -= chunk.length
    return [chunk]
  }

  /**
   * Gives the pieces that end the body. Only a chunked body can carry trailers; elsewhere they are dropped (RFC 9110 6.5.1).
   *
   * @throws INTERNAL_BROKEN_INVARIANT when the body is shorter than announced, or has ended.
   */
  end(trailers: HeaderList): readonly Buffer[] {
    invariant(!this.#hasEnded, 'body that ends twice')
    invariant(this.#left === 0, 'body shorter than announced')
    this.#hasEnded = true
    return this.#kind === 'chunked' ? [writeLastChunk(trailers)] : []
  }
}
