import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { ComfyAuthError } from '../errors.ts'
import { errorCode, errorText } from './errno.ts'
import { restrictFileToOwner } from './windows-acl.ts'

/** Of a system call; tests hand in one that fails half-way. */
export interface WriteOptions {
  /** Replace what stands there; without it an existing file is an error. */
  readonly overwrite: boolean
  /** What the file is to people, as in `The keyring`: its path may have come from argv and is not repeated. */
  readonly name: string
}

function refuse(name: string, what: string, remedy: string, cause?: unknown): ComfyAuthError {
  return new ComfyAuthError('usage', `${name} ${what}`, cause === undefined ? { remedy } : { remedy, cause })
}

function lstatOrNothing(path: string): Stats | undefined {
  try {
    return lstatSync(path)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** The folder's entry must be on disk too, or a power cut loses the rename. Windows and some network folders cannot. */
function syncFolder(folder: string): void {
  let descriptor: number | undefined
  try {
    descriptor = openSync(folder, constants.O_RDONLY)
    fsyncSync(descriptor)
  } catch {
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

function writeAll(descriptor: number, data: Uint8Array): void {
  for (let written = 0; written < data.length; ) written += writeSync(descriptor, data, written)
}

/** `.keyring.json.9f2c4e.tmp`: hidden, beside its target, so that the rename stays within one file system. */
const TEMPORARY = /^\.(.+)\.[0-9a-f]{12}\.tmp$/

/** Whether `entry` is what a killed writePrivate(`path`) may have left beside it. */
export function isLeftover(entry: string, path: string): boolean {
  return TEMPORARY.exec(entry)?.[1] === basename(path)
}

/** What stands there and is to be replaced. */
function checkTarget(path: string, { overwrite, name }: WriteOptions): Stats | undefined {
  const there = lstatOrNothing(path)
  if (!there) return undefined
  if (there.isSymbolicLink())
    throw refuse(name, 'is a symbolic link, and is not written through.', 'Name a regular file.')
  if (there.isDirectory()) throw refuse(name, 'is a folder.', 'Name a file in it.')
  if (!there.isFile()) throw refuse(name, 'is not a regular file.', 'Name a regular file.')
  if (!overwrite) throw refuse(name, 'exists already.', 'Name another file, or add --force to replace it.')
  return there
}

/**
 * What root has just made is given to the owner of the file that it takes the place of, or else of its folder: a serve that
 * runs as that user could not read root's. Made means O_EXCL: what others put there must not be given to them.
 */
export function giveToOwner(made: number, folder: string, replaced?: Stats): void {
  if (process.getuid?.() !== 0) return
  const { uid, gid } = replaced ?? statSync(folder)
  const own = fstatSync(made)
  if (own.uid !== uid) fchownSync(made, uid, gid)
}

/** Puts the finished temporary file in its place, without replacing what someone else put there meanwhile. */
function place(temporary: string, path: string, options: WriteOptions): void {
  if (!options.overwrite) {
    try {
      linkSync(temporary, path)
      unlinkSync(temporary)
      return
    } catch (error) {
      if (errorCode(error) === 'EEXIST') checkTarget(path, options)
      if (lstatOrNothing(path)) throw error // a file system without hard links: the smallest gap that is left
    }
  }
  renameSync(temporary, path)
}

/** A private file that is written and synced beside its place. */
export interface StagedFile {
  /** Puts it there. */
  place(): void
  /** Removes it. */
  discard(): void
}

function unwritable(error: unknown, name: string): ComfyAuthError {
  if (error instanceof ComfyAuthError) return error
  const code = errorCode(error)
  const remedy =
    code === 'ENOENT'
      ? 'Make its folder first.'
      : code === 'ENOSPC' || code === 'EDQUOT'
        ? 'Free some space; what stood there before is unharmed.'
        : 'Name a file in a folder that you can write.'
  return refuse(name, `cannot be written: ${errorText(error)}.`, remedy, error)
}

/** The first half of writePrivate: all that is likely to fail, a full disk above all, fails here. */
export function stagePrivate(path: string, data: string | Uint8Array, options: WriteOptions): StagedFile {
  const folder = dirname(resolve(path))
  const temporary = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`)
  const discard = () => {
    try {
      unlinkSync(temporary)
    } catch {} // it was never made, or has become the file
  }
  let descriptor: number | undefined
  try {
    const replaced = checkTarget(path, options)
    const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = constants
    descriptor = openSync(temporary, O_CREAT | O_EXCL | O_WRONLY | (O_NOFOLLOW ?? 0), 0o600)
    restrictFileToOwner(temporary)
    giveToOwner(descriptor, folder, replaced)
    writeAll(descriptor, typeof data === 'string' ? Buffer.from(data) : data)
    fsyncSync(descriptor)
    closeSync(descriptor)
    descriptor = undefined
  } catch (error) {
    if (descriptor !== undefined) closeSync(descriptor)
    discard()
    throw unwritable(error, options.name)
  }
  return {
    discard,
    place() {
      try {
        checkTarget(path, options)
        place(temporary, path, options)
        syncFolder(folder)
      } catch (error) {
        discard()
        throw unwritable(error, options.name)
      }
    },
  }
}

/**
 * Writes a file that is 0600 from its first byte, whole or not at all: a temporary file beside it, fsync, rename, fsync of
 * the folder. A crash between any two steps leaves the old file or the new one. Symbolic links, folders and devices are refused.
 */
export function writePrivate(path: string, data: string | Uint8Array, options: WriteOptions): void {
  stagePrivate(path, data, options).place()
}

export interface ReadOptions {
  readonly name: string
  readonly maxBytes: number
  /** Refuse a file that belongs to neither this user nor root: its owner could put anything in. */
  readonly ownOnly?: boolean
}

export interface PrivateFile {
  readonly text: string
  /** Permission bits; 0 where the platform has none. */
  readonly mode: number
}

function checkFile(stat: Stats, { name, maxBytes, ownOnly }: ReadOptions): void {
  if (stat.isDirectory()) throw refuse(name, 'is a folder, not a file.', 'Name a file.')
  if (stat.isFIFO()) throw refuse(name, 'is a pipe, not a file.', 'Name a regular file.')
  if (!stat.isFile()) throw refuse(name, 'is a device or socket, not a file.', 'Name a regular file.')
  if (stat.size > maxBytes) {
    const found = Math.ceil(stat.size / 2 ** 20)
    throw refuse(
      name,
      `is ${found} MiB long, more than the ${maxBytes / 2 ** 20} MiB it may be.`,
      'Is it the right file?',
    )
  }
  const uid = process.getuid?.()
  if (ownOnly && uid !== undefined && uid !== 0 && stat.uid !== uid && stat.uid !== 0) {
    throw refuse(name, 'belongs to another user.', 'Make it your own (chown), or name another file.')
  }
}

/** Reads a small text file of ours: never a folder, a pipe (which would wait for ever) or a device. Undefined where there is none. */
export function readPrivate(path: string, options: ReadOptions): PrivateFile | undefined {
  let descriptor: number | undefined
  try {
    descriptor = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    const stat = fstatSync(descriptor)
    checkFile(stat, options)
    const chunks: Buffer[] = []
    for (let total = 0; total <= options.maxBytes; ) {
      const chunk = Buffer.allocUnsafe(Math.max(64 * 1024, stat.size + 1 - total))
      const length = readSync(descriptor, chunk, 0, chunk.length, null)
      if (length === 0) break
      chunks.push(chunk.subarray(0, length))
      total += length
    }
    return { text: Buffer.concat(chunks).toString('utf8'), mode: process.platform === 'win32' ? 0 : stat.mode & 0o777 }
  } catch (error) {
    if (error instanceof ComfyAuthError) throw error
    if (errorCode(error) === 'ENOENT') return undefined
    const remedy =
      errorCode(error) === 'EACCES' ? 'Let this user read it, or name another file.' : 'Name a readable file.'
    throw refuse(options.name, `cannot be read: ${errorText(error)}.`, remedy, error)
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

/** Others may add, rename and replace files in this folder (a sticky folder such as /tmp is not meant: there they cannot). */
export function othersCanWrite(folder: string): boolean {
  if (process.platform === 'win32') return false
  const { mode } = statSync(folder)
  return (mode & 0o022) !== 0 && (mode & 0o1000) === 0
}
