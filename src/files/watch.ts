import { type BigIntStats, type FSWatcher, stat, statSync, watch } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'

export interface WatchOptions {
  /** Call after this much quiet since the last change ... */
  readonly quietMs?: number
  /** ... and at the latest this long after the first one. */
  readonly maxMs?: number
  /** How often the files are looked at besides: network folders send no events. */
  readonly pollMs?: number
}

export interface Watch {
  close(): void
}

/** What tells one state of a file from the next: another inode, size, or time of change; `none` where it is not there. */
function fingerprint(found: BigIntStats | undefined): string {
  return found ? `${found.dev}:${found.ino}:${found.size}:${found.mtimeNs}:${found.ctimeNs}` : 'none'
}

function statOrNothing(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true })
  } catch {
    return undefined // not there, or not to be looked at: its coming is a change
  }
}

/**
 * Calls `onChange` after any of the files was replaced, edited in place, deleted or made. The folders are watched, since a
 * rename leaves a watch on the old file; a poll beside it sees what sends no events (network folders, a symlink's target).
 * What changes after this call is seen: read the files after it, and no change falls between.
 * Holds nothing open that would keep the process alive.
 */
export function watchFiles(
  files: readonly string[],
  onChange: () => void,
  { quietMs = 250, maxMs = 750, pollMs = 500 }: WatchOptions = {},
): Watch {
  const paths = files.map((file) => resolve(file))
  const seen = new Map(paths.map((path) => [path, fingerprint(statOrNothing(path))]))
  const watchers = new Map<string, FSWatcher>()
  let timer: NodeJS.Timeout | undefined
  let firstChange: number | undefined
  let closed = false

  const changed = () => {
    if (closed) return
    const now = performance.now()
    firstChange ??= now
    clearTimeout(timer)
    timer = setTimeout(
      () => {
        firstChange = undefined
        onChange()
      },
      Math.max(0, Math.min(quietMs, firstChange + maxMs - now)),
    ).unref()
  }

  const watchFolder = (folder: string) => {
    if (watchers.has(folder) || closed) return
    const names = new Set(paths.filter((path) => dirname(path) === folder).map((path) => basename(path)))
    try {
      const watcher = watch(folder, { persistent: false }, (_event, name) => {
        if (name === null || names.has(name)) look()
      })
      const drop = () => {
        watcher.close()
        watchers.delete(folder)
      }
      watcher.on('error', drop)
      watchers.set(folder, watcher)
    } catch {} // no such folder yet, or no watches left: the poll goes on, and tries again
  }

  const look = () => {
    for (const path of paths) {
      stat(path, { bigint: true }, (error, found) => {
        const now = fingerprint(error ? undefined : found)
        if (seen.get(path) === now) return
        seen.set(path, now)
        changed()
      })
    }
  }

  const folders = new Set(paths.map((path) => dirname(path)))
  const poll = setInterval(() => {
    for (const folder of folders) watchFolder(folder)
    look()
  }, pollMs).unref()
  for (const folder of folders) watchFolder(folder)

  return {
    close() {
      closed = true
      clearInterval(poll)
      clearTimeout(timer)
      for (const watcher of watchers.values()) watcher.close()
      watchers.clear()
    },
  }
}
