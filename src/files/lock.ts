import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { ComfyAuthError } from '../errors.ts'
import { errorText } from './errno.ts'

/** How long a writer waits for the others; each of them needs milliseconds. */
const PATIENCE_MS = 30_000

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && /database is locked|SQLITE_BUSY/.test(error.message)
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
    const { O_CREAT, O_RDWR, O_NOFOLLOW, O_NONBLOCK } = constants
    const descriptor = openSync(path, O_CREAT | O_RDWR | (O_NOFOLLOW ?? 0) | (O_NONBLOCK ?? 0), 0o600)
    regular = fstatSync(descriptor).isFile()
    closeSync(descriptor)
  } catch (error) {
    throw new ComfyAuthError('usage', `The lock file of ${name} cannot be opened: ${errorText(error)}.`, {
      remedy: `Let this user write the folder that holds ${name}.`,
      cause: error,
    })
  }
  const damaged = (what: string, cause?: unknown) =>
    new ComfyAuthError('usage', `The lock file of ${name} is ${what}.`, {
      remedy: `Delete the .lock file beside ${name}: it holds no data.`,
      cause,
    })
  if (!regular) throw damaged('not a regular file')
  let database: InstanceType<typeof DatabaseSync>
  try {
    database = new DatabaseSync(path)
  } catch (error) {
    throw damaged('damaged', error)
  }
  try {
    // Tries and sleeps rather than letting SQLite wait: that would block the very caller in this process that holds it.
    for (const start = performance.now(); ; await wait(2 + 15 * Math.random())) {
      try {
        database.exec('BEGIN EXCLUSIVE')
        break
      } catch (error) {
        if (!isBusy(error)) throw damaged('damaged', error)
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
