import { promises } from 'node:fs'
import { ComfyAuthError } from '../errors.ts'
import { codeOf } from './client-errors.ts'
import { readWorkflow, type Workflow } from './workflow.ts'

/** Pictures and videos carry a prompt; a workflow alone is a few MB at most. */
const MAX_BYTES = 512 * 1024 * 1024

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  EACCES: 'cannot be read: permission denied',
  EISDIR: 'is a folder',
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
    if (path === '-') content = await readAll(stdin)
    else {
      const handle = await promises.open(path, 'r')
      try {
        content = await readAll(handle.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>)
      } finally {
        await handle.close()
      }
    }
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
