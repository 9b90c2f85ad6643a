import type { Job, JobStatus } from './job.ts'
import { isJobState } from './job.ts'

type Row = Readonly<Record<string, unknown>>

/** Leaves out what a row does not have: an absent value is absent, never null. */
function text<Name extends string>(name: Name, value: unknown): { [name in Name]?: string } {
  return typeof value === 'string' ? ({ [name]: value } as { [name in Name]: string }) : {}
}

function readStatus(row: Row): JobStatus {
  const state = String(row.state)
  if (!isJobState(state)) throw new Error(`the queue holds a job in state ${state}`)
  const server = String(row.server ?? '')
  const reason = String(row.reason ?? '')
  const retriedAs = text('retriedAs', row.retried_as)
  switch (state) {
    case 'queued':
      return { state, ...text('reason', row.reason) }
    case 'sending':
    case 'submitted':
    case 'running':
      return { state, server }
    case 'done':
      return { state, server, outputs: JSON.parse(String(row.outputs)) as string[] }
    case 'failed':
      return { state, reason, ...text('server', row.server), ...retriedAs }
    case 'refused':
      return { state, server, reason, ...retriedAs }
    case 'cancelled':
      return { state, ...retriedAs }
    case 'unknown':
      return { state, server, reason }
  }
}

/** A row of the table as the value that the rest of the room works with. */
export function readJob(row: Row): Job {
  return {
    id: String(row.id),
    workflow: String(row.workflow),
    ...text('extraData', row.extra_data),
    label: String(row.label),
    output: String(row.output),
    priority: Number(row.priority),
    ...(typeof row.not_before === 'number' ? { notBeforeMs: row.not_before } : {}),
    addedMs: Number(row.added),
    ...text('retryOf', row.retry_of),
    status: readStatus(row),
    changedMs: Number(row.changed),
    cancelRequested: row.cancel_requested === 1,
  }
}
