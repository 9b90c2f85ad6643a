import { jsonProgress } from './progress-json.ts'
import { textProgress } from './progress-text.ts'

export interface ProgressEvent {
  readonly label: string
  /** 0 to 1; left out where the end is not known. */
  readonly fraction?: number
  readonly detail?: string
}

/** How far something has come: one interface, two printers. */
export interface Progress {
  update(event: ProgressEvent): void
  /** Clears or ends what was drawn; nothing is printed after it. */
  done(): void
}

/** What a printer writes to: process.stderr, or a test's own. */
export interface ProgressStream {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

export function createProgress({
  json,
  stream = process.stderr,
  nowMs = () => performance.now(),
}: {
  readonly json: boolean
  readonly stream?: ProgressStream
  readonly nowMs?: () => number
}): Progress {
  return json ? jsonProgress(stream, nowMs) : textProgress(stream, nowMs)
}
