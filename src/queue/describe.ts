import { ComfyAuthError } from '../errors.ts'
import type { Job, JobState } from './job.ts'
import type { Store } from './store.ts'

/** A job as JSON shows it; what it does not have is null. */
export interface JobDescription {
  readonly id: string
  readonly state: JobState
  readonly label: string
  readonly priority: number
  readonly added: string
  readonly changed: string
  readonly notBefore: string | null
  readonly output: string
  readonly server: string | null
  readonly reason: string | null
  readonly outputs: readonly string[]
  readonly cancelRequested: boolean
  readonly retryOf: string | null
  readonly retriedAs: string | null
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}

export function describeJob(job: Job): JobDescription {
  const { status } = job
  return {
    id: job.id,
    state: status.state,
    label: job.label,
    priority: job.priority,
    added: iso(job.addedMs),
    changed: iso(job.changedMs),
    notBefore: job.notBeforeMs === undefined ? null : iso(job.notBeforeMs),
    output: job.output,
    server: 'server' in status ? (status.server ?? null) : null,
    reason: 'reason' in status ? (status.reason ?? null) : null,
    outputs: status.state === 'done' ? status.outputs : [],
    cancelRequested: job.cancelRequested,
    retryOf: job.retryOf ?? null,
    retriedAs: 'retriedAs' in status ? (status.retriedAs ?? null) : null,
  }
}

/** Enough of an id to be told from others; `findJob` takes it. */
export function shortId(id: string): string {
  return id.slice(0, 8)
}

/** The one job whose id is `text` or begins with it. Messages do not repeat it: it comes from argv. */
export async function findJob(store: Store, text: string): Promise<Job> {
  const listed = 'Ids stand in `comfy-auth queue list`; the first eight characters will do.'
  const prefix = text.toLowerCase()
  const found = /^[0-9a-f-]{4,36}$/.test(prefix) ? await store.find(prefix, 2) : []
  if (found.length === 1) return found[0]!
  const what = found.length === 0 ? 'No job has that id.' : 'More than one job has an id that begins so.'
  throw new ComfyAuthError('usage', what, { remedy: found.length === 0 ? listed : 'Give more of its characters.' })
}
