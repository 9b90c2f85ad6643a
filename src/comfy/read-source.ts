import { closeSync, constants, createReadStream, fstatSync, openSync, readSync } from 'node:fs'
import { Socket } from 'node:net'
import { ComfyAuthError } from '../errors.ts'
import { codeOf } from './client-errors.ts'
import { readWorkflow, type Workflow } from './workflow.ts'

/** Pictures and videos carry a prompt; a workflow alone is a few MB at most. */
const MAX_BYTES = 512 * 1024 * 1024

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  EACCES: 'cannot be read: permission denied',
  EISDIR: 'is a folder',
  ENOTSUP: 'is a device or a socket',
}

async function readAll(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of stream) {
    parts.push(part)
    length += part.length
    if (length > MAX_BYTES) throw Object.assign(new Error('too large'), { code: 'EFBIG' })
  }
  return Buffer.concat(parts)
}

/** What stands in a pipe now, undefined where there is no writer: a FIFO that never had one shows no end. */
function waitingIn(descriptor: number): Buffer | undefined {
  const first = Buffer.alloc(64 * 1024)
  try {
    const length = readSync(descriptor, first)
    return length === 0 ? undefined : first.subarray(0, length)
  } catch (error) {
    if (codeOf(error) === 'EAGAIN') return Buffer.alloc(0)
    throw error
  }
}

/**
 * A file, or a pipe as the shell's <( ) names one. O_NONBLOCK: the open of a FIFO without a writer would wait for one, in
 * a thread that holds the process.
 */
async function* openFile(path: string): AsyncGenerator<Buffer> {
  const descriptor = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  const info = fstatSync(descriptor)
  if (info.isFile()) yield* createReadStream('', { fd: descriptor }) as AsyncIterable<Buffer>
  else if (info.isFIFO()) {
    const pipe = new Socket({ fd: descriptor, readable: true, writable: false })
    const first = waitingIn(descriptor)
    if (first) {
      yield first
      yield* pipe as AsyncIterable<Buffer>
    } else pipe.destroy()
  } else {
    closeSync(descriptor)
    throw Object.assign(new Error('not a file'), { code: info.isDirectory() ? 'EISDIR' : 'ENOTSUP' })
  }
}

/** Reads the workflow that `path` names; `-` is `stdin`. No message repeats the path: it comes from argv. */
export async function readWorkflowFrom(
  path: string,
  stdin: AsyncIterable<Buffer> & { readonly isTTY?: boolean },
): Promise<Workflow> {
  const name = path === '-' ? 'stdin' : 'the workflow file'
  if (path === '-' && stdin.isTTY) {
    throw new ComfyAuthError('usage', 'There is nothing to read: stdin is a terminal.', {
      remedy: 'Name a workflow file, or pipe one in.',
    })
  }
  let content: Buffer
  try {
    content = await readAll(path === '-' ? stdin : openFile(path))
  } catch (error) {
    const code = codeOf(error)
    const why = REASONS[code] ?? (code === 'EFBIG' ? 'is too large' : 'cannot be read')
    throw new ComfyAuthError('usage', `${name.charAt(0).toUpperCase()}${name.slice(1)} ${why}.`, {
      remedy: 'Name an API-format JSON file, a PNG that ComfyUI saved, or - for stdin.',
      cause: error,
    })
  }
  return readWorkflow(content, name)
}
