import { statSync } from 'node:fs'

/**
 * Says so, once each time, when serve.db no longer stands at its path: an open database goes on in a file without a name, which
 * `sessions list` and `sessions end` cannot see and which is gone when serve ends. Returns what stops the watch.
 */
export function watchServeDb(path: string, log: (line: string) => void, pollMs = 1_000): () => void {
  if (path === ':memory:') return () => {}
  const opened = fileAt(path)
  let inPlace = true
  const timer = setInterval(() => {
    const was = inPlace
    inPlace = fileAt(path) === opened
    if (was && !inPlace) {
      log(
        `${path} was deleted or replaced: what stands there does not say who is logged in here, and a session that it ends goes on. Restart serve; everyone logs in once more.`,
      )
    }
    if (!was && inPlace) log(`${path} is in its place again.`)
  }, pollMs)
  timer.unref()
  return () => clearInterval(timer)
}

function fileAt(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true })
    return `${dev}:${ino}`
  } catch {
    return undefined
  }
}
