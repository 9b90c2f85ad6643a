import { ComfyAuthError } from '../errors.ts'
import { shortId } from './describe.ts'
import type { Job, JobStatus } from './job.ts'
import type { Store } from './store.ts'

function refuse(job: Job, what: string, remedy: string): ComfyAuthError {
  return new ComfyAuthError('usage', `Job ${shortId(job.id)} ${what}.`, { remedy })
}

/** What the first attempt's state becomes, once it has a second. */
function retried(job: Job, retriedAs: string, lost: boolean): JobStatus {
  const { status } = job
  if ('retriedAs' in status && status.retriedAs) {
    const again = shortId(status.retriedAs)
    throw refuse(job, `was tried again as ${again}`, `See \`comfy-auth queue show ${again}\`.`)
  }
  switch (status.state) {
    case 'failed':
    case 'refused':
    case 'cancelled':
      return { ...status, retriedAs }
    case 'unknown':
      return { state: 'failed', server: status.server, reason: status.reason, retriedAs }
    case 'sending':
    case 'submitted':
    case 'running':
      if (lost) return { state: 'failed', server: status.server, reason: 'Its server was given up.', retriedAs }
      throw refuse(
        job,
        `is ${status.state} on ${status.server}`,
        `Let \`comfy-auth queue work --url ${status.server}\` find out what became of it. If that one is gone for good, add --lost: it may run twice.`,
      )
    case 'done':
      throw refuse(job, 'is done', 'To run its workflow once more, add it again.')
    default:
      throw refuse(
        job,
        `is ${status.state}`,
        'Only a job that failed, was refused or cancelled, or is unknown is tried again.',
      )
  }
}

/**
 * Queues a second attempt under an id of its own: ComfyUI would run a repeated prompt_id twice and write over its history.
 * For an unknown job this is the owner's word that it may run twice; for one that its server has, `lost` is that word.
 */
export async function retryJob(
  store: Store,
  job: Job,
  { id, nowMs, lost = false }: { readonly id: string; readonly nowMs: number; readonly lost?: boolean },
): Promise<void> {
  const {
    status: _status,
    changedMs: _changedMs,
    cancelRequested: _cancelRequested,
    notBeforeMs: _notBeforeMs,
    ...rest
  } = job
  const change = { id: job.id, from: job.status.state, to: retried(job, id, lost), nowMs }
  if (await store.retry(change, { ...rest, id, addedMs: nowMs, retryOf: job.id })) return
  throw refuse(job, 'has just changed', 'Look at it with `comfy-auth queue show`, then try again.')
}
