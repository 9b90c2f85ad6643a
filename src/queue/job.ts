/** What a job is before the queue has it. `id` is its prompt_id: a canonical lower-case UUID, never used for a second sending. */
export interface NewJob {
  readonly id: string
  /** API-format JSON as it will be sent: its numbers keep the digits they were given with. */
  readonly workflow: string
  /** JSON text of `extra_data`, where there is one. */
  readonly extraData?: string
  /** What people call it: a file's name, or `line 7`. */
  readonly label: string
  /** Absolute path of the folder that its outputs go to. */
  readonly output: string
  /** Higher goes first; of two equal ones, the older. */
  readonly priority: number
  /** Not sent before this moment (ms since the epoch). */
  readonly notBeforeMs?: number
  readonly addedMs: number
  /** The job whose second attempt this is. */
  readonly retryOf?: string
}

export const JOB_STATES = [
  'queued',
  'sending',
  'submitted',
  'running',
  'done',
  'failed',
  'refused',
  'cancelled',
  'unknown',
] as const
export type JobState = (typeof JOB_STATES)[number]

/**
 * Where a job stands.
 * - `queued`: nothing of it has left this machine; the reason is why an attempt to send it came to nothing
 * - `sending`: written before the first byte is sent; after a crash the server is asked what became of it
 * - `submitted`, `running`: the server has said that it has it
 * - `refused`: the server's validation said no, nothing ran
 * - `unknown`: the server may have run it and can no longer tell; never sent again without the owner's word
 */
export type JobStatus =
  | { readonly state: 'queued'; readonly reason?: string }
  | { readonly state: 'sending' | 'submitted' | 'running'; readonly server: string }
  | { readonly state: 'done'; readonly server: string; readonly outputs: readonly string[] }
  | { readonly state: 'failed'; readonly reason: string; readonly server?: string; readonly retriedAs?: string }
  | { readonly state: 'refused'; readonly server: string; readonly reason: string; readonly retriedAs?: string }
  | { readonly state: 'cancelled'; readonly retriedAs?: string }
  | { readonly state: 'unknown'; readonly server: string; readonly reason: string }

export interface Job extends NewJob {
  readonly status: JobStatus
  /** When it came into this state (ms since the epoch). */
  readonly changedMs: number
  /** The owner wants it cancelled; the server may not have heard of it yet. */
  readonly cancelRequested: boolean
}

const NEXT: Readonly<Record<JobState, readonly JobState[]>> = {
  queued: ['queued', 'sending', 'cancelled'], // to itself with the reason why it was not sent
  sending: ['queued', 'submitted', 'running', 'done', 'failed', 'refused', 'cancelled', 'unknown'],
  submitted: ['running', 'done', 'failed', 'cancelled', 'unknown'],
  running: ['done', 'failed', 'cancelled', 'unknown'],
  unknown: ['submitted', 'running', 'done', 'failed', 'cancelled'],
  done: [],
  // Only to note under which id it was tried again.
  failed: ['failed'],
  refused: ['refused'],
  cancelled: ['cancelled'],
}

/** Whether a job may go from one state to the other. `unknown` never leads back to `queued`: a second attempt is a new job. */
export function mayMove(from: JobState, to: JobState): boolean {
  return NEXT[from].includes(to)
}

/** The server may hold it: what becomes of it is the server's word, not ours. */
export function isInFlight(state: JobState): boolean {
  return state === 'sending' || state === 'submitted' || state === 'running'
}

export function isJobState(text: string): text is JobState {
  return (JOB_STATES as readonly string[]).includes(text)
}
