/**
 * Reads the lines of a log from files, forward and backward, in bounded memory.
 *
 * Rule of this file: it knows of newlines and of how rotated files are named, and nothing of what a line says.
 */
import { type FileHandle, open, readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

const CHUNK_BYTES = 64 * 1024
/** A line beyond this is given cut: nothing that we write is as long, so it reads as a fault and not as memory. */
export const LONGEST_LINE_BYTES = 64 * 1024
const NEWLINE = 0x0a

/** `text` holds a byte in each character; `start` is the offset of its first byte; `ended` is false for what stands after the last newline. */
export type FileLine = { readonly text: string; readonly start: number; readonly ended: boolean }

/** The files of a log, oldest first: `path.1`, `path.2` … and `path`, as far as they exist. */
export async function logFiles(path: string): Promise<string[]> {
  const name = basename(path)
  const entries = await readdir(dirname(path)).catch(() => [] as string[])
  const rotated = entries
    .filter(entry => entry.startsWith(`${name}.`))
    .map(entry => ({ entry, number: rotationNumber(entry.slice(name.length + 1)) }))
    .filter(({ number }) => number > 0)
    .sort((a, b) => a.number - b.number)
    .map(({ entry }) => join(dirname(path), entry))
  return entries.includes(name) ? [...rotated, path] : rotated
}

/** The number that the next rotated file takes. */
export async function nextRotation(path: string): Promise<number> {
  const numbers = (await logFiles(path)).map(file => rotationNumber(file.slice(path.length + 1)))
  return Math.max(0, ...numbers) + 1
}

function rotationNumber(suffix: string): number {
  return /^[1-9][0-9]{0,8}$/.test(suffix) ? Number(suffix) : 0
}

/** Gives the lines of a file from `offset` on, oldest first. */
export async function* linesForward(path: string, offset = 0): AsyncGenerator<FileLine> {
  const file = await open(path, 'r')
  try {
    let start = offset
    let rest: Buffer = Buffer.alloc(0)
    let passedOver = 0 // bytes of an overlong line that are not kept
    for (;;) {
      const chunk = await readAt(file, start + rest.length + passedOver, CHUNK_BYTES)
      if (chunk.length === 0) break
      rest = Buffer.concat([rest, chunk])
      for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
        yield { text: textOf(rest.subarray(0, end)), start, ended: true }
        start += end + 1 + passedOver
        passedOver = 0
        rest = rest.subarray(end + 1)
      }
      passedOver += Math.max(0, rest.length - LONGEST_LINE_BYTES)
      rest = rest.subarray(0, LONGEST_LINE_BYTES)
    }
    if (rest.length > 0) yield { text: textOf(rest), start, ended: false }
  } finally {
    await file.close()
  }
}

/** Gives the lines of a file, newest first; what stands after the last newline comes first, with `ended` false. */
export async function* linesBackward(path: string): AsyncGenerator<FileLine> {
  const file = await open(path, 'r')
  try {
    let position = (await file.stat()).size
    let rest: Buffer = Buffer.alloc(0)
    let ended = false
    while (position > 0) {
      const length = Math.min(CHUNK_BYTES, position)
      position -= length
      rest = Buffer.concat([await readAt(file, position, length), rest])
      for (let at = rest.lastIndexOf(NEWLINE); at >= 0; at = rest.lastIndexOf(NEWLINE)) {
        const line = rest.subarray(at + 1)
        if (ended || line.length > 0) yield { text: textOf(line), start: position + at + 1, ended }
        ended = true
        rest = rest.subarray(0, at)
      }
      rest = rest.subarray(0, LONGEST_LINE_BYTES)
    }
    if (ended || rest.length > 0) yield { text: textOf(rest), start: 0, ended }
  } finally {
    await file.close()
  }
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  let done = 0
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return bytes.subarray(0, done)
}

// One byte, one character: two different lines never read as the same text. Ours are ASCII; readLine refuses others.
function textOf(line: Buffer): string {
  return line.toString('latin1', 0, LONGEST_LINE_BYTES)
}
