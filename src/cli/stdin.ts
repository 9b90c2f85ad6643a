import { ComfyAuthError } from '../errors.ts'

const MAX_BYTES = 16 * 2 ** 20

/** All of stdin as text. On a terminal there is nothing to wait for: throws `usage` with `remedy`, which names what to give instead. */
export async function readStdin(remedy: string): Promise<string> {
  if (process.stdin.isTTY)
    throw new ComfyAuthError('usage', 'There is nothing to read: stdin is a terminal.', { remedy })
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    length += chunk.length
    if (length > MAX_BYTES)
      throw new ComfyAuthError('usage', 'There is too much on stdin.', { remedy: 'Is it the right file?' })
  }
  return Buffer.concat(chunks).toString('utf8')
}
