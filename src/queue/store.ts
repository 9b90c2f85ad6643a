import { ComfyAuthError } from '../errors.ts'
import type { Job, JobState, JobStatus, NewJob } from './job.ts'
import type { Worker } from './lease.ts'

export interface ClaimQuery {
  readonly nowMs: number
  /** Jobs that were sent to another server are left alone: only that one can tell their fate. */
  readonly server: string
  /** This job alone, `unknown` too. */
  readonly id?: string
}

/**
 * The durable queue. Whatever a promise of it reports as done is on disk by then. Several workers, in one process or
 * in many, may use one store at once: no two hold the same job.
 */
export interface Store {
  /** All or none. An id that is there already is a usage error. */
  add(jobs: readonly NewJob[]): Promise<void>
  get(id: string): Promise<Job | undefined>
  /** Jobs whose id begins with `prefix`, at most `limit`. */
  find(prefix: string, limit: number): Promise<readonly Job[]>
  /** In the order in which they were added; with a limit, the last so many. */
  list(query: { readonly states?: readonly JobState[]; readonly limit?: number }): Promise<readonly Job[]>
  counts(): Promise<Readonly<Record<JobState, number>>>
  /** Jobs in flight that nobody holds any more, then queued ones that may be sent, by priority and age. */
  claim(worker: Worker, query: ClaimQuery): Promise<Job | undefined>
  /** Keeps the worker's jobs its own. */
  renew(worker: Worker, nowMs: number): Promise<void>
  /** Gives a job back. */
  release(worker: Worker, id: string): Promise<void>
  /**
   * Writes a job's new state if it still is in `from` and, where `worker` is given, still that worker's. False, and
   * nothing is written, if it is not. A final state ends the lease.
   */
  move(move: Move): Promise<boolean>
  /** Notes that the owner wants it cancelled. False where it has come to an end before. */
  requestCancel(id: string, nowMs: number): Promise<boolean>
  /** Adds `job` as the second attempt of a job in `from`, and writes `old` to that one: both or neither. False as for `move`. */
  retry(move: Move, job: NewJob): Promise<boolean>
  close(): void
}

export interface Move {
  readonly id: string
  readonly from: JobState
  readonly to: JobStatus
  readonly nowMs: number
  readonly worker?: Worker
}

/** Opens the queue at a path or a `file:` URL. */
export async function openStore(where: string): Promise<Store> {
  if (/^rediss?:/.test(where)) {
    throw new ComfyAuthError('usage', 'A queue on Redis is not supported by this version.', {
      remedy: 'Leave --queue out: the queue is then a file of this machine (SQLite).',
    })
  }
  const { openSqlite } = await import('./sqlite.ts')
  return openSqlite(where)
}
