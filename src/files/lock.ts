import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { ComfyAuthError } from '../errors.ts'
import { errorCode, errorText } from './errno.ts'
import { giveToOwner } from './private.ts'

/** How long a writer waits for the others; each of them needs milliseconds. */
const PATIENCE_MS = 30_000

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && /database is locked|SQLITE_BUSY/.test(error.message)
}

/** SQLite's SQLITE_CORRUPT, SQLITE_FULL and SQLITE_NOTADB; an extended code has more in its upper bytes. */
const [CORRUPT, FULL, NOT_A_DATABASE] = [11, 13, 26]

function damaged(name: string, what: string, cause?: unknown): ComfyAuthError {
  const remedy = `Delete the .lock file beside ${name}: it holds no data.`
  return new ComfyAuthError('usage', `The lock file of ${name} is ${what}.`, { remedy, cause })
}

/** Why BEGIN EXCLUSIVE failed, other than by waiting for others. */
function notTaken(name: string, error: unknown): ComfyAuthError {
  const { errcode, errstr } = error as { readonly errcode?: number; readonly errstr?: string }
  const code = errcode === undefined ? undefined : errcode & 0xff
  if (code === undefined || code === CORRUPT || code === NOT_A_DATABASE) return damaged(name, 'damaged', error)
  const text = code === FULL ? 'no space left on the device' : errstr
  return new ComfyAuthError('usage', `The lock of ${name} cannot be taken: ${text}.`, {
    remedy:
      code === FULL
        ? 'Free some space; nothing was changed.'
        : `See to the disk and the folder that hold ${name}; nothing was changed.`,
    cause: error,
  })
}

const { O_CREAT, O_EXCL, O_RDWR, O_NOFOLLOW, O_NONBLOCK } = constants

/** A descriptor of the lock file, made where it is missing. Throws system errors. */
function openLockFile(path: string): number {
  const flags = O_RDWR | (O_NOFOLLOW ?? 0) | (O_NONBLOCK ?? 0)
  let made: number
  try {
    made = openSync(path, flags | O_CREAT | O_EXCL, 0o600)
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
    return openSync(path, flags)
  }
  giveToOwner(made, dirname(resolve(path)))
  return made
}

export interface LockOptions {
  /** What the lock is for, as in `the keyring`. */
  readonly name?: string
  readonly patienceMs?: number
}

/**
 * Runs `change` while no other process (and no other caller in this one) does so under the same lock file. The lock is an
 * exclusive transaction of an empty SQLite database, which the kernel frees when its holder dies, by kill -9 too.
 */
export async function withLock<T>(
  path: string,
  change: () => T | Promise<T>,
  { name = 'the keyring', patienceMs = PATIENCE_MS }: LockOptions = {},
): Promise<T> {
  const { DatabaseSync } = await import('node:sqlite') // slow to load, and most commands write nothing
  let regular = false
  try {
    const descriptor = openLockFile(path)
    regular = fstatSync(descriptor).isFile()
    closeSync(descriptor)
  } catch (error) {
    throw new ComfyAuthError('usage', `The lock file of ${name} cannot be opened: ${errorText(error)}.`, {
      remedy: `Let this user write the folder that holds ${name}.`,
      cause: error,
    })
  }
  if (!regular) throw damaged(name, 'not a regular file')
  let database: InstanceType<typeof DatabaseSync>
  try {
    database = new DatabaseSync(path)
  } catch (error) {
    throw damaged(name, 'damaged', error)
  }
  try {
    // Tries and sleeps rather than letting SQLite wait: that would block the very caller in this process that holds it.
    for (const start = performance.now(); ; await wait(2 + 15 * Math.random())) {
      try {
        database.exec('BEGIN EXCLUSIVE')
        break
      } catch (error) {
        if (!isBusy(error)) throw notTaken(name, error)
        if (performance.now() - start > patienceMs) {
          throw new ComfyAuthError('timeout', `Another process has held ${name} for too long.`, {
            remedy: 'Try again; if it stays so, look for a stopped comfy-auth process and end it.',
          })
        }
      }
    }
    return await change()
  } finally {
    database.close() // ends the transaction
  }
}
