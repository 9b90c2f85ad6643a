import { randomBytes } from 'node:crypto'
import { constants, createReadStream, promises } from 'node:fs'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { ComfyAuthError } from '../errors.ts'
import { makeDir } from '../files/make-dir.ts'
import type { ComfyClient, FileRef, OpenAnswer } from './client.ts'
import { codeOf, interrupted, transportError } from './client-errors.ts'
import { alternatives, localPath } from './file-names.ts'
import type { NodeOutputs } from './lookup.ts'
import { plain } from './plain.ts'

const { access, link, lstat, open, realpath, rename, unlink } = promises
type FileHandle = promises.FileHandle

/** A file that a node put out, as the server names it. */
export interface OutputFile extends FileRef {
  readonly node: string
}

function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * The files of a prompt: whatever stands in a list of a node's output and has a filename (`images`, `audio`, `gifs`, a
 * custom node's own). What PreviewImage leaves in `temp` counts only where nothing was saved: it is a look at the way,
 * else the only result.
 */
export function outputFiles(outputs: NodeOutputs): OutputFile[] {
  const files = [...outputs].flatMap(([node, output]) =>
    Object.values(output).flatMap((list) =>
      (Array.isArray(list) ? list : []).filter(isFields).flatMap(({ filename, subfolder, type }) =>
        typeof filename === 'string' && filename !== ''
          ? {
              node,
              filename,
              subfolder: typeof subfolder === 'string' ? subfolder : '',
              type: typeof type === 'string' ? type : 'output',
            }
          : [],
      ),
    ),
  )
  const saved = files.filter(({ type }) => type === 'output')
  const chosen = saved.length > 0 ? saved : files.filter(({ type }) => type === 'temp')
  return [...new Map(chosen.map((file) => [`${file.type}/${file.subfolder}/${file.filename}`, file])).values()]
}

/** Texts that nodes put out (PreviewAny, ShowText and the like), by node. */
export function outputTexts(outputs: NodeOutputs): { node: string; text: string }[] {
  return [...outputs].flatMap(([node, { text }]) =>
    (Array.isArray(text) ? text : []).filter((line) => typeof line === 'string').map((line) => ({ node, text: line })),
  )
}

/** `isEarly`: nothing has run yet. */
function unwritable(error: unknown, isEarly = false): ComfyAuthError {
  if (error instanceof ComfyAuthError) return error
  const code = codeOf(error)
  const reasons: Readonly<Record<string, string>> = {
    ENOSPC: 'the disk is full',
    EDQUOT: 'the quota is used up',
    EROFS: 'it is read-only',
    ENOTDIR: 'a file stands in its place',
    EEXIST: 'a file stands in its place',
    ENOENT: 'no folder can be made there',
    EACCES: 'permission denied',
  }
  return new ComfyAuthError(
    'usage',
    `The output folder cannot be written: ${reasons[code] ?? (code || 'permission denied')}.`,
    {
      remedy: `Give another with --output DIR. ${isEarly ? 'Nothing has run.' : 'The pictures are still on the server.'}`,
      cause: error,
    },
  )
}

/** Makes the folder and looks whether it can be written, before anything runs on a GPU. */
export async function prepareOutputDir(dir: string): Promise<void> {
  if (dir === '')
    throw new ComfyAuthError('usage', 'The output folder has an empty name.', { remedy: 'Give one with --output DIR.' })
  try {
    makeDir(resolve(dir))
    await access(dir, constants.W_OK | constants.X_OK)
  } catch (error) {
    throw unwritable(error, true)
  }
}

/** A folder below `dir`. A symbolic link on the way that leads out of it is not followed: the names are the server's. */
async function folderBelow(dir: string, path: string): Promise<void> {
  const folder = dirname(path)
  makeDir(folder)
  const [real, root] = await Promise.all([realpath(folder), realpath(dir)])
  if (real !== root && !real.startsWith(root.endsWith(sep) ? root : root + sep)) {
    throw new ComfyAuthError('usage', 'A folder below the output folder is a link that leads out of it.', {
      remedy: 'Give another folder with --output DIR.',
    })
  }
}

async function sameContent(a: string, b: string): Promise<boolean> {
  const [left, right] = await Promise.all([lstat(a), lstat(b)])
  if (!right.isFile() || left.size !== right.size) return false
  const [one, other] = [createReadStream(a), createReadStream(b)]
  const chunks = one[Symbol.asyncIterator]()
  const others = other[Symbol.asyncIterator]()
  try {
    for (let mine = Buffer.alloc(0), theirs = Buffer.alloc(0); ; ) {
      if (mine.length === 0) mine = (await chunks.next()).value ?? Buffer.alloc(0)
      if (theirs.length === 0) theirs = (await others.next()).value ?? Buffer.alloc(0)
      const length = Math.min(mine.length, theirs.length)
      if (length === 0) return mine.length === theirs.length
      if (!mine.subarray(0, length).equals(theirs.subarray(0, length))) return false
      mine = mine.subarray(length)
      theirs = theirs.subarray(length)
    }
  } finally {
    one.destroy()
    other.destroy()
  }
}

/**
 * Gives the finished temporary file its name, or the next free one: nothing is ever written over. A file of that name with
 * the same bytes is the same picture (a cached prompt names its old files again) and stays alone.
 */
async function place(temporary: string, wanted: string): Promise<string> {
  for (const path of alternatives(wanted)) {
    try {
      await link(temporary, path)
      await unlink(temporary)
      return path
    } catch (error) {
      const code = codeOf(error)
      if (code === 'EEXIST') {
        if (!(await sameContent(temporary, path))) continue
        await unlink(temporary)
        return path
      }
      if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error
    }
    try {
      // no hard links on this file system: the name is taken by an empty file of ours, which the rename replaces
      await (await open(path, 'wx')).close()
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error
      if (!(await sameContent(temporary, path))) continue
      await unlink(temporary)
      return path
    }
    await rename(temporary, path)
    return path
  }
  throw new Error('no free name')
}

export interface SaveOptions {
  readonly client: ComfyClient
  /** An existing folder; see prepareOutputDir. */
  readonly dir: string
  readonly signal?: AbortSignal | undefined
  /** Bytes so far, and in all where the server says so. */
  readonly onBytes?: ((received: number, total: number | undefined) => void) | undefined
  /** First pause before a cut download goes on; doubled each time. Default 500. */
  readonly retryMs?: number | undefined
}

const ATTEMPTS = 6

function header(answer: OpenAnswer, name: string): string | undefined {
  const value = answer.headers[name]
  return Array.isArray(value) ? value[0] : value
}

/** Where a 206 begins; undefined where it is no such answer. */
function rangeStart(answer: OpenAnswer): number | undefined {
  const match = answer.status === 206 ? /^bytes (\d+)-/.exec(header(answer, 'content-range') ?? '') : null
  return match ? Number(match[1]) : undefined
}

/** Streams a file into `handle`. A cut goes on where it was, if the server still has the same file (If-Range), else anew. */
async function fetchInto(handle: FileHandle, file: FileRef, options: SaveOptions): Promise<void> {
  const { client, signal, onBytes } = options
  let received = 0
  let validator: string | undefined
  let total: number | undefined
  for (let attempt = 1; ; attempt += 1) {
    try {
      const resume = received > 0 && validator !== undefined
      const headers: Record<string, string> = resume ? { range: `bytes=${received}-`, 'if-range': validator! } : {}
      const answer = await client.view(file, { signal, headers: { ...headers, 'accept-encoding': 'identity' } })
      if (rangeStart(answer) !== received || !resume) {
        if (answer.status === 206) throw Object.assign(new Error('another part'), { code: 'ECONNRESET' })
        received = 0
        await handle.truncate(0)
        validator = header(answer, 'etag') ?? header(answer, 'last-modified')
        const length = Number(header(answer, 'content-length') ?? Number.NaN)
        total = Number.isSafeInteger(length) ? length : undefined
      }
      for await (const part of answer.body as AsyncIterable<Buffer>) {
        await handle.write(part, 0, part.length, received)
        received += part.length
        onBytes?.(received, total)
      }
      return
    } catch (error) {
      if (signal?.aborted) throw interrupted()
      const fromDisk = error instanceof Error && 'syscall' in error && error.syscall === 'write'
      if (fromDisk) throw unwritable(error)
      const worded = transportError(error, client)
      const passing = worded.kind === 'unreachable' || worded.kind === 'timeout'
      if (attempt === ATTEMPTS || !passing) throw worded
      await new Promise((wake) => setTimeout(wake, (options.retryMs ?? 500) * 2 ** (attempt - 1)))
    }
  }
}

async function save(dir: string, name: string, fill: (handle: FileHandle) => Promise<void>): Promise<string> {
  const wanted = resolve(dir, name)
  const temporary = join(dirname(wanted), `.${basename(wanted).slice(0, 40)}.${randomBytes(6).toString('hex')}.part`)
  let handle: FileHandle | undefined
  try {
    await folderBelow(dir, wanted)
    handle = await open(temporary, 'wx')
    await fill(handle)
    await handle.sync()
    await handle.close()
    handle = undefined
    return await place(temporary, wanted)
  } catch (error) {
    await handle?.close()
    await unlink(temporary).catch(() => {})
    throw unwritable(error)
  }
}

/** Downloads one output below `dir`: streamed, resumed after a cut, put in its place whole. Returns its path. */
export function saveOutput(file: FileRef, options: SaveOptions): Promise<string> {
  return save(options.dir, localPath(file), (handle) => fetchInto(handle, file, options))
}

const EXTENSIONS: Readonly<Record<string, string>> = { 'image/png': 'png', 'image/jpeg': 'jpg', 'image/webp': 'webp' }

/** Keeps a picture that came over the socket, which has no name on the server. */
export function saveSocketImage(
  node: string,
  picture: { readonly mime: string; readonly image: Uint8Array },
  dir: string,
): Promise<string> {
  const filename = `node_${plain(node, { limit: 40 })}_00001.${EXTENSIONS[picture.mime] ?? 'png'}`
  return save(dir, localPath({ filename, subfolder: '' }), async (handle) => {
    await handle.writeFile(picture.image)
  })
}
