import type { ComfyClient, HistoryEntry } from './client.ts'
import { type Failure, readFailure } from './events.ts'

/** Per node what it put out, as ComfyUI says it: lists of files, texts and whatever custom nodes invent. */
export type NodeOutputs = ReadonlyMap<string, Readonly<Record<string, unknown>>>

/** How a prompt ended. */
export type Ending =
  | { readonly status: 'success'; readonly outputs: NodeOutputs }
  | { readonly status: 'failed'; readonly failure: Failure; readonly outputs: NodeOutputs }
  | { readonly status: 'interrupted'; readonly node: string | undefined; readonly outputs: NodeOutputs }

/** What the server knows of a prompt now. */
export type Whereabouts =
  /** `ahead`: how many stand before it, the running one too. */
  | { readonly state: 'pending'; readonly ahead: number | undefined }
  | { readonly state: 'running' }
  | { readonly state: 'done'; readonly ending: Ending }
  /** In no queue and no history: never arrived, or forgotten (a restart, a cleared history). */
  | { readonly state: 'absent' }

type Fields = Readonly<Record<string, unknown>>

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readOutputs(value: unknown): NodeOutputs {
  const entries = isFields(value) ? Object.entries(value) : []
  return new Map(entries.filter((entry): entry is [string, Fields] => isFields(entry[1])))
}

/** The data of the last message of this name, from `status.messages`: [name, data] pairs. */
function lastMessage(status: Fields, name: string): Fields | undefined {
  const messages = Array.isArray(status.messages) ? status.messages : []
  const found = messages.findLast((message) => Array.isArray(message) && message[0] === name)
  return Array.isArray(found) && isFields(found[1]) ? found[1] : undefined
}

/** A history entry, as how it ended. Servers before 2023-11 keep no status: an entry is then a success. */
export function readEntry(entry: HistoryEntry): Ending {
  const outputs = readOutputs(entry.outputs)
  const status = isFields(entry.status) ? entry.status : {}
  const stopped = lastMessage(status, 'execution_interrupted')
  if (stopped) {
    return { status: 'interrupted', node: typeof stopped.node_id === 'string' ? stopped.node_id : undefined, outputs }
  }
  const failed = lastMessage(status, 'execution_error')
  if (failed || status.status_str === 'error') return { status: 'failed', failure: readFailure(failed ?? {}), outputs }
  return { status: 'success', outputs }
}

/** Prompt ids of one of /queue's lists, in the order in which they will run. */
function queued(value: unknown): string[] {
  const entries = (Array.isArray(value) ? value : []).filter((entry): entry is unknown[] => Array.isArray(entry))
  return entries
    .sort((a, b) => Number(a[0]) - Number(b[0]))
    .map((entry) => entry[1])
    .filter((id): id is string => typeof id === 'string')
}

/**
 * Asks where a prompt is. The queue is asked before the history: a prompt moves from one to the other and never back, so
 * it cannot slip between two questions. `/queue` carries every prompt whole, so the jobs routes are asked first where they exist.
 */
export async function lookupPrompt(client: ComfyClient, promptId: string, signal?: AbortSignal): Promise<Whereabouts> {
  const answer = await client.job(promptId, signal)
  if (answer.kind === 'job' && answer.job.status === 'in_progress') return { state: 'running' }
  if (answer.kind !== 'job' || answer.job.status === 'pending') {
    const queue = await client.queue(signal)
    const [running, pending] = isFields(queue) ? [queued(queue.queue_running), queued(queue.queue_pending)] : [[], []]
    if (running.includes(promptId)) return { state: 'running' }
    const at = pending.indexOf(promptId)
    if (at >= 0) return { state: 'pending', ahead: at + running.length }
  }
  const entry = await client.history(promptId, signal)
  if (entry) return { state: 'done', ending: readEntry(entry) }
  // a job that the server knows, seen between its queue and its history
  return answer.kind === 'job' ? { state: 'running' } : { state: 'absent' }
}
