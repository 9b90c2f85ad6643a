import { close, constants, fstat, open, rename, write } from 'node:fs'
import { promisify } from 'node:util'

const files = {
  open: promisify(open),
  close: promisify(close),
  fstat: promisify(fstat),
  rename: promisify(rename),
  write: promisify(write),
}

export interface LineFile {
  /** Queues a line (without its line feed); returns at once, whatever the disk does. */
  write(line: string): void
  /** The file was moved away by logrotate: the next line begins a new one. */
  reopen(): void
  /** Lines that were not written, as the disk was full or too slow. */
  readonly lost: number
  /** Writes what waits, as far as it can be within two seconds. */
  close(): Promise<void>
}

export interface LineFileOptions {
  /** `-` is stdout, which is neither re-opened nor rotated. */
  readonly path: string
  /** A file that would grow beyond this becomes PATH.1, in place of the one before. */
  readonly maxBytes?: number
  /** What may wait in memory for a slow disk; more is lost and counted. */
  readonly maxWaitingBytes?: number
  /** Told of the first failure, and again of the first after a success. */
  readonly onError?: (error: unknown) => void
}

const STDOUT = 1
const RETRY_MS = 50
const CLOSE_MS = 2_000

/**
 * Appends lines to a file without ever holding up who writes them: stdout too, where Node's own stream
 * would block on a full pipe. After a failure the next chunk says how many lines are missing.
 */
export function openLineFile(options: LineFileOptions): LineFile {
  const { path, maxBytes = Number.POSITIVE_INFINITY, maxWaitingBytes = 4 * 1024 * 1024, onError = () => {} } = options
  let waiting: string[] = []
  let waitingBytes = 0
  let lost = 0
  let unreported = 0
  let torn = false // the last write may have left half a line
  let failing = false
  let stale = false
  let file: { fd: number; size: number } | undefined
  let pumping: Promise<void> | undefined

  async function opened(): Promise<{ fd: number; size: number }> {
    if (path === '-') return { fd: STDOUT, size: Number.NEGATIVE_INFINITY }
    const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT
    const fd = await files.open(path, flags, 0o600)
    return { fd, size: (await files.fstat(fd)).size }
  }

  async function shut(): Promise<void> {
    const { fd } = file ?? { fd: STDOUT }
    file = undefined
    if (fd !== STDOUT) await files.close(fd)
  }

  async function put(chunk: Buffer): Promise<void> {
    if (stale) await shut()
    stale = false
    file ??= await opened()
    if (file.size > 0 && file.size + chunk.length > maxBytes) {
      await shut()
      await files.rename(path, `${path}.1`)
      file = await opened()
    }
    for (let at = 0; at < chunk.length; ) {
      try {
        const { bytesWritten } = await files.write(file.fd, chunk, at)
        at += bytesWritten
        file.size += bytesWritten
        torn = at < chunk.length
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error
        await after(RETRY_MS)
      }
    }
  }

  async function pump(): Promise<void> {
    while (waiting.length > 0) {
      const lines = waiting
      waiting = []
      waitingBytes = 0
      const missing = unreported
      if (missing > 0) lines.unshift(JSON.stringify({ event: 'lost', count: missing }))
      try {
        await put(Buffer.from(`${torn ? '\n' : ''}${lines.join('\n')}\n`))
        unreported -= missing
        failing = false
      } catch (error) {
        const count = lines.length - (missing > 0 ? 1 : 0)
        lost += count
        unreported += count
        if (!failing) onError(error)
        failing = true
        stale = path !== '-'
      }
    }
    pumping = undefined
  }

  return {
    write(line) {
      if (waitingBytes + line.length > maxWaitingBytes) {
        lost++
        unreported++
        return
      }
      waiting.push(line)
      waitingBytes += line.length
      pumping ??= Promise.resolve().then(pump)
    },
    reopen() {
      stale = path !== '-'
    },
    get lost() {
      return lost
    },
    async close() {
      await Promise.race([pumping, after(CLOSE_MS)])
      if (pumping === undefined) await shut().catch(onError)
    },
  }
}

/** Keeps no process alive by itself. */
function after(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}
