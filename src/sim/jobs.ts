import { asNumber, type Json, PyFloat, type Writable } from './json.ts'
import type { HistoryItem, PromptQueue, QueueItem } from './queue.ts'

const STATUSES = ['pending', 'in_progress', 'completed', 'failed', 'cancelled']
const PREVIEWABLE = new Set(['images', 'video', 'audio', '3d', 'text'])

type Fields = Record<string, Writable | undefined>

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** A UUID in lower case with hyphens: all that ComfyUI takes for a prompt's id. */
export function isJobId(value: Json): value is string {
  return typeof value === 'string' && UUID.test(value)
}

function extraOf(extra: Json | undefined): { created: Json; workflow: Json | undefined } {
  const map = extra instanceof Map ? extra : new Map<string, Json>()
  const info = map.get('extra_pnginfo')
  const workflow = info instanceof Map ? info.get('workflow') : undefined
  return { created: map.get('create_time') ?? null, workflow: workflow instanceof Map ? workflow.get('id') : undefined }
}

/** Drops what is null, as ComfyUI does with a job's fields. */
function pruned(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined))
}

function queued(item: QueueItem, status: string): Fields {
  const { created, workflow } = extraOf(item.extra)
  return pruned({
    id: item.id,
    status,
    priority: item.number,
    create_time: created,
    outputs_count: 0,
    previewable_outputs_count: 0,
    workflow_id: workflow,
  })
}

interface Summary {
  readonly count: number
  readonly previewable: number
  readonly preview: Writable | undefined
}

function summarise(outputs: ReadonlyMap<string, Writable>): Summary {
  let count = 0
  let previewable = 0
  let saved: Writable | undefined
  let other: Writable | undefined
  for (const [nodeId, output] of outputs) {
    for (const [mediaType, items] of Object.entries(output as Record<string, Writable>)) {
      if (!Array.isArray(items)) continue
      for (const item of items as readonly Writable[]) {
        if (typeof item !== 'object' || item === null) {
          if (mediaType === 'text') other ??= { content: String(item), nodeId, mediaType }
          continue
        }
        count += 1
        if (!PREVIEWABLE.has(mediaType)) continue
        previewable += 1
        const preview = { ...(item as Record<string, Writable>), nodeId, mediaType }
        if ((item as Record<string, Writable>).type === 'output') saved ??= preview
        else other ??= preview
      }
    }
  }
  return { count, previewable, preview: saved ?? other }
}

function ended(id: string, item: HistoryItem, whole: boolean): Fields {
  const [priority = null, , prompt = null, extra = null] = item.prompt
  const { created, workflow } = extraOf(extra)
  const { count, previewable, preview } = summarise(item.outputs)
  let start: Writable | undefined
  let end: Writable | undefined
  let failure: Writable | undefined
  let interrupted = false
  for (const [type, data] of item.status.messages) {
    const { timestamp } = data as Record<string, Writable>
    if (type === 'execution_start') start = timestamp
    if (type === 'execution_success' || type === 'execution_error' || type === 'execution_interrupted') end = timestamp
    if (type === 'execution_error') failure = data
    if (type === 'execution_interrupted') interrupted = true
  }
  const job = pruned({
    id,
    status: item.status.status_str === 'success' ? 'completed' : interrupted ? 'cancelled' : 'failed',
    priority,
    create_time: created,
    execution_start_time: start,
    execution_end_time: end,
    execution_error: failure,
    outputs_count: count,
    previewable_outputs_count: previewable,
    preview_output: preview,
    workflow_id: workflow,
  })
  if (!whole) return job
  return { ...job, outputs: item.outputs, execution_status: item.status, workflow: { prompt, extra_data: extra } }
}

/** One job in full, or undefined. */
export function jobOf(queue: PromptQueue, id: string): Fields | undefined {
  const done = queue.history.get(id)
  if (done) return ended(id, done, true)
  if (queue.running?.id === id) return queued(queue.running, 'in_progress')
  const waiting = queue.pending.find((item) => item.id === id)
  return waiting && queued(waiting, 'pending')
}

export type JobList = { readonly ok: true; readonly value: Writable } | { readonly ok: false; readonly error: string }

function integer(text: string | null, name: string): number | undefined | string {
  if (text === null) return undefined
  return /^\s*[-+]?\d+\s*$/.test(text) ? Number(text) : `${name} must be an integer`
}

/** GET /api/jobs: filtered, sorted, cut; or the words of its 400. */
export function listJobs(queue: PromptQueue, query: URLSearchParams): JobList {
  const fail = (error: string): JobList => ({ ok: false, error })
  const wanted = (query.get('status') ?? '')
    .split(',')
    .map((status) => status.trim().toLowerCase())
    .filter((status) => status !== '')
  const invalid = wanted.filter((status) => !STATUSES.includes(status))
  if (invalid.length > 0)
    return fail(`Invalid status value(s): ${invalid.join(', ')}. Valid values: ${STATUSES.join(', ')}`)
  const sortBy = (query.get('sort_by') ?? 'created_at').toLowerCase()
  const order = (query.get('sort_order') ?? 'desc').toLowerCase()
  if (sortBy !== 'created_at' && sortBy !== 'execution_duration')
    return fail("sort_by must be 'created_at' or 'execution_duration'")
  if (order !== 'asc' && order !== 'desc') return fail("sort_order must be 'asc' or 'desc'")
  const limit = integer(query.get('limit'), 'limit')
  if (typeof limit === 'string') return fail(limit)
  if (limit !== undefined && limit <= 0) return fail('limit must be a positive integer')
  const from = integer(query.get('offset'), 'offset')
  if (typeof from === 'string') return fail(from)
  const offset = Math.max(0, from ?? 0)

  let jobs: Fields[] = []
  if (queue.running) jobs.push(queued(queue.running, 'in_progress'))
  for (const item of queue.pending) jobs.push(queued(item, 'pending'))
  for (const [id, item] of queue.history) jobs.push(ended(id, item, false))
  if (wanted.length > 0) jobs = jobs.filter((job) => wanted.includes(String(job.status)))
  const workflow = query.get('workflow_id')
  if (workflow) jobs = jobs.filter((job) => job.workflow_id === workflow)
  const key = (job: Fields) =>
    sortBy === 'created_at'
      ? number(job.create_time)
      : job.execution_end_time
        ? number(job.execution_end_time) - number(job.execution_start_time)
        : 0
  jobs.sort((a, b) => (order === 'desc' ? key(b) - key(a) : key(a) - key(b)))
  const total = jobs.length
  const page = jobs.slice(offset, limit === undefined ? undefined : offset + limit)
  return {
    ok: true,
    value: {
      jobs: page as Writable,
      pagination: { offset, limit: limit ?? null, total, has_more: offset + page.length < total },
    },
  }
}

function number(value: Writable | undefined): number {
  return typeof value === 'number' || typeof value === 'bigint' || value instanceof PyFloat ? (asNumber(value) ?? 0) : 0
}
