import { close, closeSync, constants, fstat, fstatSync, open, openSync, rename, type Stats, write } from 'node:fs'
import { promisify } from 'node:util'
import { ComfyAuthError } from '../../errors.ts'
import { errorCode, errorText } from '../../files/errno.ts'

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
  /** Lines that were not written, as the disk was full or too slow; once closed, those too that it did not take in time. */
  readonly lost: number
  /** Writes what waits, as far as it can be within two seconds. */
  close(): Promise<void>
}

export interface LineFileOptions {
  /** `-` is stdout, which is neither re-opened nor rotated. */
  readonly path: string
  /** What it is to people, as in `The audit log`: its path may hold anything and is not repeated. */
  readonly name: string
  /** A file that would grow beyond this becomes PATH.1, in place of the one before. */
  readonly maxBytes?: number
  /** What may wait in memory for a slow disk; more is lost and counted. */
  readonly maxWaitingBytes?: number
  /** Told of the first failure, and again of the first after a success. */
  readonly onError?: (error: unknown) => void
  /** Told likewise where PATH.1 cannot be made: the file grows on beyond `maxBytes`, and PATH.1 is tried again with each chunk. */
  readonly onKept?: (error: unknown) => void
  readonly nowMs?: () => number
}

interface Opened {
  readonly fd: number
  size: number
}

const STDOUT = 1
/** A pipe without a reader would be waited for, in a thread that no exit can end. */
const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | (constants.O_NONBLOCK ?? 0)
const RETRY_MS = 50
const CLOSE_MS = 2_000

/**
 * Appends lines to a file without ever holding up who writes them: stdout too, where Node's own stream
 * would block on a full pipe. After a failure the next chunk says how many lines are missing. Throws `usage` where the file
 * cannot be opened, or is a folder, a pipe or a device.
 */
export function openLineFile(options: LineFileOptions): LineFile {
  const {
    path,
    name,
    maxBytes = Number.POSITIVE_INFINITY,
    maxWaitingBytes = 4 * 1024 * 1024,
    onError = () => {},
    onKept = () => {},
    nowMs = Date.now,
  } = options
  let waiting: string[] = []
  let waitingBytes = 0
  let lost = 0
  let unreported = 0
  let inHand = 0 // lines of the chunk that is being written
  let torn = false // the last write may have left half a line
  let failing = false
  let stale = false
  let kept = false // beyond its size, as PATH.1 cannot be made
  let file: Opened | undefined = path === '-' ? { fd: STDOUT, size: Number.NEGATIVE_INFINITY } : openNow(path, name)
  let pumping: Promise<void> | undefined

  async function shut(): Promise<void> {
    const { fd } = file ?? { fd: STDOUT }
    file = undefined
    if (fd !== STDOUT) await files.close(fd)
  }

  /** Whether what stands at the path is out of the way of a new file. */
  async function movedAway(): Promise<boolean> {
    try {
      await files.rename(path, `${path}.1`)
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') {
        // else somebody was faster
        if (!kept) onKept(error)
        kept = true
        return false
      }
    }
    kept = false
    return true
  }

  async function put(chunk: Buffer): Promise<void> {
    if (stale) await shut()
    stale = false
    file ??= await openAgain(path, name)
    if (file.size > 0 && file.size + chunk.length > maxBytes && (await movedAway())) {
      await shut()
      file = await openAgain(path, name)
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
      inHand = lines.length
      const missing = unreported
      if (missing > 0)
        lines.unshift(JSON.stringify({ time: new Date(nowMs()).toISOString(), event: 'lost', count: missing }))
      try {
        await put(Buffer.from(`${torn ? '\n' : ''}${lines.join('\n')}\n`))
        unreported -= missing
        failing = false
      } catch (error) {
        lost += inHand
        unreported += inHand
        if (!failing) onError(error)
        failing = true
        stale = path !== '-'
      }
      inHand = 0
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
      let timer: NodeJS.Timeout | undefined // until then it keeps the process alive, as a write that is tried again does not
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, CLOSE_MS)
      })
      await Promise.race([pumping, late])
      clearTimeout(timer)
      if (pumping === undefined) await shut().catch(onError)
      else lost += inHand + waiting.length
    },
  }
}

function openNow(path: string, name: string): Opened {
  const remedy = 'Name a regular file in a folder that is there, or - for stdout.'
  try {
    const fd = openSync(path, FLAGS, 0o600)
    try {
      return { fd, size: sizeOf(fstatSync(fd), name) }
    } catch (error) {
      closeSync(fd)
      throw error
    }
  } catch (error) {
    if (error instanceof ComfyAuthError) throw error
    if (errorCode(error) === 'ENXIO') throw notRegular(name)
    throw new ComfyAuthError('usage', `${name} cannot be opened: ${errorText(error)}.`, { remedy, cause: error })
  }
}

async function openAgain(path: string, name: string): Promise<Opened> {
  const fd = await files.open(path, FLAGS, 0o600)
  try {
    return { fd, size: sizeOf(await files.fstat(fd), name) }
  } catch (error) {
    await files.close(fd)
    throw error
  }
}

function sizeOf(stat: Stats, name: string): number {
  if (stat.isFile()) return stat.size
  throw notRegular(name)
}

function notRegular(name: string): ComfyAuthError {
  return new ComfyAuthError('usage', `${name} is a pipe, a socket or a device.`, {
    remedy: 'Name a regular file, or - for stdout.',
  })
}

/** Keeps no process alive by itself. */
function after(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}
