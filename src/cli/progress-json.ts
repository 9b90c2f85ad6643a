import type { Progress, ProgressEvent, ProgressStream } from './progress.ts'

const EVERY_MS = 200

/** NDJSON, at most five lines a second for one label; a new label and a full one are always told. */
export function jsonProgress(stream: ProgressStream, nowMs: () => number): Progress {
  let last: { readonly label: string; readonly atMs: number } | undefined
  return {
    update(event: ProgressEvent) {
      const soon = last !== undefined && last.label === event.label && nowMs() - last.atMs < EVERY_MS
      if (soon && event.fraction !== 1) return
      last = { label: event.label, atMs: nowMs() }
      stream.write(`${JSON.stringify({ progress: event })}\n`)
    },
    done() {},
  }
}
