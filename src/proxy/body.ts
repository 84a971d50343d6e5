/**
 * Bodies on their way: the guard on what the caller sends, the redactor on what the upstream answers.
 *
 * Rule of this file: backpressure passes through unchanged, and what a transform holds back is at most a possible prefix.
 */
import { CloakroomError } from '../base/errors.ts'
import { isForbiddenTrailer } from '../http1/trailers.ts'
import type { BodySink, BodySource, HeaderList } from '../model/message.ts'
import { holdsPlaceholder } from '../swap/find.ts'

/** Takes a body's chunks one by one; see swap/guard.ts. */
export interface BodyGuard {
  push(chunk: Buffer): readonly Buffer[] | 'found'
  flush(): readonly Buffer[] | 'found'
}

/** Replaces in a body's chunks; see redact/. */
export interface BodyReplacer {
  push(chunk: Buffer): Buffer
  flush(): Buffer
}

/**
 * Watches a request's body for placeholders, none of which may pass (rulings.md 2).
 *
 * The bytes are unchanged, so the length is. On a find the sink fails with SWAP_REFUSED_IN_BODY and the source is cancelled.
 */
export function guardBody(source: BodySource, guard: BodyGuard): BodySource {
  if (source.length === 0) return source
  const step = (sink: BodySink): Step => {
    const pass = (chunks: readonly Buffer[] | 'found'): boolean => {
      if (chunks === 'found') throw new CloakroomError('SWAP_REFUSED_IN_BODY', {})
      let isOpen = true
      for (const chunk of chunks) isOpen = sink.write(chunk) && isOpen
      return isOpen
    }
    return {
      write: chunk => pass(guard.push(chunk)),
      flush: () => void pass(guard.flush()),
      trailers: guardedTrailers,
    }
  }
  return passThrough(source, source.length, step)
}

// C1: a trailer is no place for a placeholder; names that frame, route or authenticate are never carried (rulings.md 6).
function guardedTrailers(trailers: HeaderList): HeaderList {
  if (holdsPlaceholder(trailers)) throw new CloakroomError('SWAP_REFUSED_IN_BODY', {})
  return trailers.filter(([name]) => !isForbiddenTrailer(name))
}

/** Replaces in a response's body; its length is then known to nobody. */
export function replaceInBody(
  source: BodySource,
  replacer: BodyReplacer,
  trailers: (trailers: HeaderList) => HeaderList,
): BodySource {
  if (source.length === 0) return source
  return passThrough(source, undefined, sink => {
    const pass = (chunk: Buffer) => chunk.length === 0 || sink.write(chunk)
    return { write: chunk => pass(replacer.push(chunk)), flush: () => void pass(replacer.flush()), trailers }
  })
}

type Step = {
  write(chunk: Buffer): boolean
  flush(): void
  trailers(trailers: HeaderList): HeaderList
}

function passThrough(
  source: BodySource,
  length: number | undefined,
  stepTo: (sink: BodySink) => Step,
): BodySource {
  return {
    length,
    resume: () => source.resume(),
    cancel: cause => source.cancel(cause),
    start(sink) {
      const step = stepTo(sink)
      let isOver = false
      const stop = (cause: unknown) => {
        isOver = true
        source.cancel(cause)
        sink.fail(cause)
      }
      source.start({
        write(chunk) {
          if (isOver) return false
          try {
            return step.write(chunk)
          } catch (cause) {
            stop(cause)
            return false
          }
        },
        end(trailers) {
          if (isOver) return
          try {
            step.flush()
            const carried = step.trailers(trailers)
            isOver = true
            sink.end(carried)
          } catch (cause) {
            stop(cause)
          }
        },
        fail(cause) {
          if (isOver) return
          isOver = true
          sink.fail(cause)
        },
      })
    },
  }
}
