/**
 * Keeps the log in a file: appended to, readable by its owner alone, rotated by size.
 *
 * Rules of this file. One writer (the state directory's lock sees to it). The event loop never waits for the disk: writes are asynchronous,
 * one at a time. Bytes count when the whole batch is in, and with `fsync` when fdatasync has returned; after any failure the file is
 * opened anew and cut back to the last byte that counted, so that a disk that was full leaves no half line, and a sync that failed is
 * never taken for one that worked: the pages are written again (the kernel may have dropped them and forgotten).
 */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, rename, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { nextRotation } from '../lines.ts'
import { type ChainTail, readChainTail } from '../resume.ts'
import type { AuditSink, SinkChange } from '../sink.ts'

export type Durability = 'written' | 'fsync'

/** The part of a FileHandle that the sink uses; tests put a disk that fails behind it. */
export type LogFile = Pick<FileHandle, 'write' | 'datasync' | 'truncate' | 'stat' | 'close'>
export type OpenLogFile = (path: string) => Promise<LogFile>

export type FileSinkOptions = {
  readonly path: string
  readonly required: boolean
  readonly durability: Durability
  /** Bytes after which the next checkpoint closes the file; default 64 MiB. */
  readonly rotateAfter?: number
  readonly openFile?: OpenLogFile
}

const DEFAULT_ROTATE_AFTER = 64 * 1024 * 1024
const OWNER_ONLY = 0o600

/** Opens for appending only, without following a link that somebody put in the place of the log. */
export const openLogFile: OpenLogFile = path =>
  open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW, OWNER_ONLY)

export function createFileSink(options: FileSinkOptions): AuditSink {
  return new FileSink(options)
}

class FileSink implements AuditSink {
  readonly kind = 'file'
  readonly required: boolean
  readonly #path: string
  readonly #options: FileSinkOptions
  readonly #openFile: OpenLogFile
  #file: LogFile | undefined
  /** Length of the file up to which everything counts. */
  #good = 0
  #inode = 0
  /** True when a repair found another or a shorter file; told at the next settle. */
  #isReplaced = false

  constructor(options: FileSinkOptions) {
    this.required = options.required
    this.#path = options.path
    this.#options = options
    this.#openFile = options.openFile ?? openLogFile
  }

  async open(): Promise<ChainTail | undefined> {
    const tail = await readChainTail(this.#path)
    if (tail?.torn !== undefined) await this.#moveAside(tail.torn.from, tail.torn.bytes, tail.head.seq)
    await this.#reopen()
    return tail
  }

  async write(lines: Buffer): Promise<void> {
    const file = this.#file ?? (await this.#repair())
    try {
      await writeAll(file, lines)
      if (this.#options.durability === 'fsync') await file.datasync()
    } catch (cause) {
      this.#file = undefined
      await file.close().catch(() => undefined) // the write's failure is the one to report
      throw cause
    }
    this.#good += lines.length
  }

  async settle(): Promise<SinkChange | undefined> {
    if (!(await this.#isInPlace())) {
      await this.#replace()
      this.#isReplaced = true
    }
    if (this.#isReplaced) {
      this.#isReplaced = false
      return { kind: 'replaced' }
    }
    if (this.#good < (this.#options.rotateAfter ?? DEFAULT_ROTATE_AFTER)) return undefined
    const file = `${this.#path}.${await nextRotation(this.#path)}`
    await rename(this.#path, file)
    await this.#replace()
    return { kind: 'rotated', file: file.slice(dirname(file).length + 1) }
  }

  async close(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    if (file === undefined) return
    await file.datasync().catch(() => undefined) // some places cannot sync (a pipe); what counted was told before
    await file.close()
  }

  async #replace(): Promise<void> {
    await this.close()
    await this.#reopen()
  }

  // Begins at the end of whatever stands under the name now.
  async #reopen(): Promise<LogFile> {
    const file = await this.#openFile(this.#path)
    const { size, ino } = await file.stat()
    this.#good = size
    this.#inode = ino
    this.#file = file
    if (this.#options.durability === 'fsync') await syncDirectory(dirname(this.#path))
    return file
  }

  // After a failure: the same file is cut back to what counted; another file under the name is begun at its end.
  async #repair(): Promise<LogFile> {
    const good = this.#good
    const inode = this.#inode
    const file = await this.#reopen()
    if (this.#inode !== inode || this.#good < good) this.#isReplaced = true
    if (this.#inode !== inode || this.#good <= good) return file
    try {
      await file.truncate(good)
      this.#good = good
      return file
    } catch (cause) {
      this.#file = undefined
      this.#good = good
      await file.close().catch(() => undefined) // the failure to cut is the one to report
      throw cause
    }
  }

  async #isInPlace(): Promise<boolean> {
    const there = await stat(this.#path).catch(() => undefined)
    return there !== undefined && there.ino === this.#inode && there.size >= this.#good
  }

  // Keeps torn bytes in a file of their own, for whoever wants to look, and cuts them off the log.
  async #moveAside(from: number, bytes: number, seq: number): Promise<void> {
    const log = await open(this.#path, 'r+')
    try {
      const torn = Buffer.alloc(bytes)
      await log.read(torn, 0, bytes, from)
      const digest = createHash('sha256').update(torn).digest('hex').slice(0, 16)
      const aside = await open(`${this.#path}.torn-${seq}-${digest}`, 'w', OWNER_ONLY)
      try {
        await aside.writeFile(torn)
        await aside.datasync()
      } finally {
        await aside.close()
      }
      await log.truncate(from)
      await log.datasync()
    } finally {
      await log.close()
    }
  }
}

// write(2) may take a part only (a disk that fills up); the rest is tried until it is in or fails.
async function writeAll(file: LogFile, bytes: Buffer): Promise<void> {
  let done = 0
  while (done < bytes.length) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, null)
    if (bytesWritten === 0) throw new Error('write made no progress')
    done += bytesWritten
  }
}

// A new name is durable only when its directory is.
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
