/**
 * Reads values of secrets: from a terminal without echo, from stdin, or from a file; never from an argument, where `ps` and the
 * shell's history would keep them (threat-model.md N8).
 *
 * Rule of this file: values are bytes in memory of their own, which the caller wipes.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { ownCopy } from '../base/bytes.ts'
import { CloakroomError } from '../base/errors.ts'
import { mib } from '../base/size.ts'

export const MAX_INPUT = mib(64)

export type ValueSource = {
  /** --file: the value is the file's content. */
  readonly file?: string | undefined
  /** What to ask for on a terminal. */
  readonly question: string
}

/** Reads one value; a single final newline is not part of it (rulings.md 30). @throws CLI_USAGE, CLI_FAILED */
export async function readValue(source: ValueSource): Promise<Buffer> {
  if (source.file !== undefined) return withoutNewline(readWholeFile(source.file))
  if (process.stdin.isTTY === true) return askTwice(source.question)
  return withoutNewline(await readStdin())
}

/** Reads all of stdin. @throws CLI_USAGE when it is a terminal, or holds more than MAX_INPUT. */
export async function readInput(file: string | undefined): Promise<Buffer> {
  if (file !== undefined && file !== '-') return readWholeFile(file)
  if (process.stdin.isTTY === true)
    throw new CloakroomError('CLI_USAGE', { what: 'nothing on stdin: give a file or a pipe' })
  return readStdin()
}

/** Asks a yes-or-no question on a terminal; `undefined` where there is none. */
export async function confirm(question: string): Promise<boolean | undefined> {
  if (process.stdin.isTTY !== true || process.stderr.isTTY !== true) return undefined
  process.stderr.write(`${question} [y/N] `)
  const answer = await readLine({ isHidden: false })
  return /^y(?:es)?$/i.test(answer.toString('utf8').trim())
}

async function askTwice(question: string): Promise<Buffer> {
  process.stderr.write(`${question}: `)
  const first = await readLine({ isHidden: true })
  process.stderr.write(`once more: `)
  const second = await readLine({ isHidden: true })
  const isSame = first.equals(second)
  second.fill(0)
  if (isSame) return first
  first.fill(0)
  throw new CloakroomError('CLI_USAGE', { what: 'the two entries differ' })
}

const ENTER = new Set([0x0a, 0x0d])
const INTERRUPT = 0x03
const END = 0x04
const BACKSPACE = new Set([0x08, 0x7f])
const ERASE_LINE = 0x15

// Raw mode: the terminal echoes nothing, and what is typed comes byte by byte.
function readLine({ isHidden }: { readonly isHidden: boolean }): Promise<Buffer> {
  const input = process.stdin
  const line: number[] = []
  if (isHidden) input.setRawMode(true)
  return new Promise((resolve, reject) => {
    const finish = (done: () => void): void => {
      input.off('data', onData)
      input.pause()
      if (isHidden) {
        input.setRawMode(false)
        process.stderr.write('\n')
      }
      done()
    }
    const onData = (chunk: Buffer): void => {
      for (const byte of chunk) {
        if (byte === INTERRUPT)
          return finish(() => reject(new CloakroomError('CLI_FAILED', { what: 'interrupted' })))
        if (ENTER.has(byte) || byte === END) {
          const value = ownCopy(Uint8Array.from(line))
          line.fill(0)
          return finish(() => resolve(value))
        }
        if (BACKSPACE.has(byte)) removeCharacter(line)
        else if (byte === ERASE_LINE) line.length = 0
        else line.push(byte)
      }
    }
    input.on('data', onData)
    input.resume()
  })
}

// One character of UTF-8: its continuation bytes are 10xxxxxx.
function removeCharacter(line: number[]): void {
  for (let byte = line.pop(); byte !== undefined && (byte & 0xc0) === 0x80; ) byte = line.pop()
}

async function readStdin(): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > MAX_INPUT)
      throw new CloakroomError('CLI_USAGE', { what: `stdin holds more than ${MAX_INPUT} bytes` })
    chunks.push(chunk)
  }
  const whole = Buffer.allocUnsafeSlow(length)
  let at = 0
  for (const chunk of chunks) {
    at += chunk.copy(whole, at)
    chunk.fill(0)
  }
  return whole
}

function readWholeFile(file: string): Buffer {
  let fd: number | undefined
  try {
    fd = openSync(file, 'r')
    const size = fstatSync(fd).size
    if (size > MAX_INPUT) throw new RangeError('too large')
    const bytes = Buffer.allocUnsafeSlow(size)
    let at = 0
    for (let read = 1; read > 0 && at < size; at += read) read = readSync(fd, bytes, at, size - at, at)
    return bytes.subarray(0, at)
  } catch (cause) {
    const what = cause instanceof RangeError ? 'is too large' : 'cannot be read'
    throw new CloakroomError('CLI_USAGE', { what: `${file} ${what}` }, { cause })
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

// Exactly one, and CRLF as one: a value that ends in a newline of its own is put with a second one behind it.
function withoutNewline(bytes: Buffer): Buffer {
  if (bytes.at(-1) !== 0x0a) return bytes
  const end = bytes.at(-2) === 0x0d ? bytes.length - 2 : bytes.length - 1
  return bytes.subarray(0, end)
}
