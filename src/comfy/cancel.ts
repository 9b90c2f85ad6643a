import { ComfyAuthError } from '../errors.ts'
import type { ComfyClient } from './client.ts'
import { lookupPrompt } from './lookup.ts'

/** A running one stops at its next node or step. `not-there`: it has ended, or never came. */
export type CancelResult = 'cancelled' | 'not-there'

/** Our proxy learns whose a prompt is just after it has answered for it, and allows a user no other's. */
const LEARNING_MS = 400

async function cancelJob(client: ComfyClient, promptId: string): Promise<CancelResult | 'unsupported'> {
  try {
    return await client.cancelJob(promptId)
  } catch (error) {
    if (!(error instanceof ComfyAuthError) || error.kind !== 'unauthorised') throw error
    const { state } = await lookupPrompt(client, promptId)
    if (state === 'done' || state === 'absent') return 'not-there'
    await new Promise((wake) => setTimeout(wake, LEARNING_MS))
    return await client.cancelJob(promptId)
  }
}

/**
 * Cancels one prompt by its id, pending or running, and never another. Servers without the jobs routes get
 * `delete` where it waits; where it runs, `/interrupt` with its id, as soon as it is seen to be the one that runs:
 * the oldest servers ignore the id and stop whatever runs, which then is this one.
 */
export async function cancelPrompt(client: ComfyClient, promptId: string): Promise<CancelResult> {
  if (promptId === '') return 'not-there' // an empty id stops whatever runs
  const byJob = await cancelJob(client, promptId)
  if (byJob !== 'unsupported') return byJob
  await client.postJson('/queue', { delete: [promptId] })
  const { state } = await lookupPrompt(client, promptId)
  if (state !== 'running') return 'cancelled'
  await client.interrupt(promptId)
  return 'cancelled'
}
