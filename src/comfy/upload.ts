import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, promises } from 'node:fs'
import { basename, extname } from 'node:path'
import { ComfyAuthError } from '../errors.ts'
import { type ComfyClient, viewPath } from './client.ts'
import { codeOf, notComfy, statusError } from './client-errors.ts'
import { readAnswer } from './json.ts'

export interface UploadOptions {
  readonly client: ComfyClient
  /** A file on this machine. */
  readonly path: string
  readonly signal?: AbortSignal | undefined
  readonly onBytes?: ((sent: number, total: number) => void) | undefined
}

function unreadable(why: string, cause?: unknown): ComfyAuthError {
  return new ComfyAuthError('usage', `The file for --image cannot be used: ${why}.`, {
    remedy: 'Give a file that can be read, as --image NODE.INPUT=FILE.',
    cause,
  })
}

async function sizeAndHash(path: string): Promise<{ size: number; hash: string }> {
  try {
    const info = await promises.stat(path)
    if (!info.isFile()) throw unreadable('it is not a regular file')
    if (info.size === 0) throw unreadable('it is empty')
    const hash = createHash('sha256')
    for await (const part of createReadStream(path) as AsyncIterable<Buffer>) hash.update(part)
    return { size: info.size, hash: hash.digest('hex') }
  } catch (error) {
    if (error instanceof ComfyAuthError) throw error
    const code = codeOf(error)
    throw unreadable(
      code === 'ENOENT' ? 'it does not exist' : code === 'EACCES' ? 'permission denied' : code || 'it cannot be read',
      error,
    )
  }
}

/** A name that says the content, so that the same file is sent once and another of its name stays apart. */
function remoteName(path: string, hash: string): string {
  const extension = extname(path)
  const stem = basename(path, extension)
    .replaceAll(/[^A-Za-z0-9_-]+/g, '_')
    .slice(0, 60)
  return `${stem || 'upload'}-${hash.slice(0, 16)}${extension.replaceAll(/[^A-Za-z0-9.]+/g, '')}`
}

/** The name that an upload of this file would ask for. */
export async function nameForUpload(path: string): Promise<string> {
  const { hash } = await sizeAndHash(path)
  return remoteName(path, hash)
}

async function* multipart(
  path: string,
  head: Buffer,
  tail: Buffer,
  size: number,
  onBytes?: (sent: number, total: number) => void,
): AsyncGenerator<Buffer> {
  yield head
  let sent = 0
  for await (const part of createReadStream(path) as AsyncIterable<Buffer>) {
    sent += part.length
    yield part
    onBytes?.(sent, size)
  }
  yield tail
}

/**
 * Puts a file into the server's input folder and returns the value for a node's input: the name that the server gave it,
 * which is not always the one asked for. A file that is there already, by name (it holds its hash) and length, is not sent again.
 */
export async function uploadFile({ client, path, signal, onBytes }: UploadOptions): Promise<string> {
  const { size, hash } = await sizeAndHash(path)
  const filename = remoteName(path, hash)
  const there = await client.request('HEAD', viewPath({ filename, subfolder: '', type: 'input' }), { signal })
  await there.body.dump()
  if (there.status === 200 && Number(there.headers['content-length']) === size) return filename

  const boundary = `comfy-auth-${randomBytes(16).toString('hex')}`
  const head = Buffer.from(
    `--${boundary}\r\nContent-Disposition: form-data; name="type"\r\n\r\ninput\r\n` +
      `--${boundary}\r\nContent-Disposition: form-data; name="image"; filename="${filename}"\r\nContent-Type: application/octet-stream\r\n\r\n`,
  )
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`)
  const answer = await client.ask('POST', '/upload/image', {
    body: multipart(path, head, tail, size, onBytes),
    headers: {
      'content-type': `multipart/form-data; boundary=${boundary}`,
      'content-length': String(head.length + size + tail.length),
    },
    signal,
  })
  if (answer.status !== 200) throw statusError(client, answer)
  return nameIn(answer.body, client)
}

/** `name`, with its subfolder before it, as LoadImage wants it. */
function nameIn(text: string, client: ComfyClient): string {
  try {
    const { name, subfolder } = readAnswer(text) as Readonly<Record<string, unknown>>
    if (typeof name === 'string' && name !== '')
      return typeof subfolder === 'string' && subfolder !== '' ? `${subfolder}/${name}` : name
  } catch {}
  throw notComfy(client, 'it takes an upload and gives it no name')
}
