import { ComfyAuthError } from '../errors.ts'
import { shortId } from './describe.ts'
import type { Job } from './job.ts'
import type { Sight } from './server.ts'
import type { Store } from './store.ts'

/** What cancelling asks of a ComfyUI. */
export interface Canceller {
  readonly url: string
  cancel(id: string): Promise<unknown>
  look(id: string): Promise<Sight>
}

/** `cancelling`: the server was told; the worker that follows the job, or the next one, will see it end. */
export type Cancelled = 'cancelled' | 'cancelling' | 'done'

/**
 * Cancels a job wherever it stands. The wish is on disk first, so that a worker which sends at this moment, or loses sight
 * of the job, knows of it. `connect` is called only for a job that the server may hold.
 */
export async function cancelJob(options: {
  readonly store: Store
  readonly job: Job
  readonly nowMs: number
  readonly connect: () => Promise<Canceller>
  /** The owner's word that the server is gone for good: it is not asked. */
  readonly lost?: boolean
}): Promise<Cancelled> {
  const { store, job, nowMs, connect, lost = false } = options
  const { id } = job
  const short = shortId(id)
  if (!(await store.requestCancel(id, nowMs))) {
    throw new ComfyAuthError('usage', `Job ${short} has ended: it is ${(await store.get(id))?.status.state}.`, {
      remedy: 'There is nothing to cancel.',
    })
  }
  for (const from of ['queued', 'unknown'] as const) {
    if (await store.move({ id, from, to: { state: 'cancelled' }, nowMs })) return 'cancelled'
  }
  const status = (await store.get(id))!.status
  if (status.state === 'cancelled') return 'cancelled'
  if (status.state !== 'sending' && status.state !== 'submitted' && status.state !== 'running') return 'cancelling'
  if (lost) {
    if (await store.move({ id, from: status.state, to: { state: 'cancelled' }, nowMs })) return 'cancelled'
    return 'cancelling'
  }
  const server = await connect()
  if (server.url !== status.server) {
    throw new ComfyAuthError(
      'usage',
      `Job ${short} went to ${status.server}, which is not the server asked now. It is only marked.`,
      {
        remedy: `Name it: \`comfy-auth queue cancel ${short} --url ${status.server}\`. If that one is gone for good, add --lost.`,
      },
    )
  }
  await server.cancel(id)
  const sight = await server.look(id)
  if (sight.state === 'done') return 'done'
  // What is being sent may still arrive; its worker will find it cancelled.
  if (status.state === 'sending' || (sight.state !== 'cancelled' && sight.state !== 'absent')) return 'cancelling'
  await store.move({ id, from: status.state, to: { state: 'cancelled' }, nowMs })
  return 'cancelled'
}
