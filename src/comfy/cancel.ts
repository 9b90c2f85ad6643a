import type { ComfyClient } from './client.ts'
import { lookupPrompt } from './lookup.ts'

/** A running one stops at its next node or step. `not-there`: it has ended, or never came. */
export type CancelResult = 'cancelled' | 'not-there'

/**
 * Cancels one prompt by its id, pending or running, and never another. Servers without the jobs routes get
 * `delete` where it waits; where it runs, `/interrupt` with its id, as soon as it is seen to be the one that runs:
 * the oldest servers ignore the id and stop whatever runs, which then is this one.
 */
export async function cancelPrompt(client: ComfyClient, promptId: string): Promise<CancelResult> {
  if (promptId === '') return 'not-there' // an empty id stops whatever runs
  const byJob = await client.cancelJob(promptId)
  if (byJob !== 'unsupported') return byJob
  await client.postJson('/queue', { delete: [promptId] })
  const { state } = await lookupPrompt(client, promptId)
  if (state !== 'running') return 'cancelled'
  await client.interrupt(promptId)
  return 'cancelled'
}
