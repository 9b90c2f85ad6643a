import { ComfyAuthError } from '../errors.ts'
import type { Job, JobState, JobStatus } from './job.ts'
import { LEASE_MS, type Worker } from './lease.ts'
import type { Ended, FollowEvent, Server, Sight } from './server.ts'
import type { Store } from './store.ts'

/** What to do with a job whose fate nobody can tell: keep it for the owner, send it again under a new id, or give it up. */
export type OnUnknown = 'hold' | 'retry' | 'fail'

export type WorkEvent =
  | { readonly type: 'state'; readonly job: Job; readonly status: JobStatus }
  | ({ readonly type: 'progress'; readonly job: Job } & FollowEvent)
  | { readonly type: 'warning'; readonly job: Job; readonly message: string }
  /** The server cannot be asked now; the same is tried again. */
  | { readonly type: 'waiting'; readonly error: ComfyAuthError; readonly retryMs: number }
  /** Its output folder cannot be written: before it was sent, or when it had run. The next run of a worker takes it up again. */
  | { readonly type: 'held'; readonly job: Job; readonly error: ComfyAuthError }

export interface WorkOptions {
  readonly store: Store
  readonly server: Server
  readonly worker: Worker
  /** Ends when nothing can be sent any more; else waits for more until `signal`. */
  readonly once: boolean
  readonly onUnknown: OnUnknown
  readonly signal: AbortSignal
  readonly onEvent: (event: WorkEvent) => void
  readonly nowMs: () => number
  readonly newId: () => string
  /** Resolves after `ms`, or at once when the signal fires. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
}

/** What one run of a worker brought to an end. */
export interface WorkResult {
  readonly done: readonly string[]
  readonly failed: readonly string[]
  readonly refused: readonly string[]
  readonly cancelled: readonly string[]
  readonly unknown: readonly string[]
  /** Kept back for the next run, since their folder cannot be written. */
  readonly held: readonly string[]
}

/** `absent` must be seen so often, so far apart: a request may still be on its way, a prompt between queue and history. */
const LOOKS = 3
const LOOK_PAUSE_MS = 500

const POLL_MS = 1_000
const LONGEST_PAUSE_MS = 30_000

type Mutable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer U)[] ? U[] : T[K] }

/**
 * Takes jobs from the store, one at a time, and brings each to its end on the server. Every state is on disk before
 * the act that it names, so that at any moment a killed worker's job is found by the next one: what was `queued` has
 * not been sent, and of all else the server is asked before anything is sent.
 *
 * Rejects when the server cannot be used (with `once`, or when it does not know the key); the jobs keep their states.
 */
export async function work(options: WorkOptions): Promise<WorkResult> {
  const { store, server, worker, once, signal, onEvent, nowMs, sleep } = options
  const result: Mutable<WorkResult> = { done: [], failed: [], refused: [], cancelled: [], unknown: [], held: [] }
  const renewal = setInterval(() => void store.renew(worker, nowMs()).catch(() => {}), LEASE_MS / 4)

  /** Writes the state. False: the job is not this worker's any more, and is let go. */
  async function move(job: Job, from: JobState, to: JobStatus): Promise<boolean> {
    const moved = await store.move({ id: job.id, from, to, nowMs: nowMs(), worker })
    if (!moved) return false
    if (to.state in result) result[to.state as keyof WorkResult].push(job.id)
    onEvent({ type: 'state', job, status: to })
    return true
  }

  async function unknown(job: Job, from: JobState, doubt?: ComfyAuthError): Promise<void> {
    const stored = await store.get(job.id)
    if (stored?.cancelRequested) return void (await move(job, from, { state: 'cancelled' }))
    const reason =
      from === 'sending'
        ? `${doubt?.message ?? 'It was being sent when the worker stopped.'} The server does not know it: it never arrived, or was forgotten.`
        : 'The server had it and no longer knows it: it was removed there, or the server restarted.'
    if (options.onUnknown === 'fail')
      return void (await move(job, from, { state: 'failed', server: server.url, reason }))
    if (options.onUnknown === 'retry') {
      const id = options.newId()
      const status: JobStatus = { state: 'failed', server: server.url, reason, retriedAs: id }
      const again = { ...job, id, retryOf: job.id, addedMs: nowMs() }
      const change = { id: job.id, from, to: status, nowMs: nowMs(), worker }
      if (await store.retry(change, again)) onEvent({ type: 'state', job, status })
      return
    }
    if (from === 'unknown') return await store.release(worker, job.id)
    await move(job, from, { state: 'unknown', server: server.url, reason })
  }

  async function settle(job: Job, from: JobState, ended: Ended, doubt?: ComfyAuthError): Promise<void> {
    if (ended.state === 'absent') return await unknown(job, from, doubt)
    if (ended.state === 'cancelled') return void (await move(job, from, { state: 'cancelled' }))
    if (ended.state === 'failed') {
      return void (await move(job, from, { state: 'failed', server: server.url, reason: ended.reason }))
    }
    const outputs = await server.collect(job, signal)
    await move(job, from, { state: 'done', server: server.url, outputs })
  }

  async function look(id: string): Promise<Sight> {
    for (let looks = 1; ; looks += 1) {
      const sight = await server.look(id)
      if (sight.state !== 'absent' || looks === LOOKS) return sight
      await sleep(LOOK_PAUSE_MS, signal)
      signal.throwIfAborted()
    }
  }

  /** From any state in which the server may hold it. */
  async function resume(job: Job, from: JobState, doubt?: ComfyAuthError): Promise<void> {
    const sight = await look(job.id)
    if (sight.state !== 'pending' && sight.state !== 'running') return await settle(job, from, sight, doubt)
    const state = sight.state === 'running' ? 'running' : 'submitted'
    if (from !== state && from !== 'running' && !(await move(job, from, { state, server: server.url }))) return
    await follow(job, from === 'running' ? from : state)
  }

  async function follow(job: Job, from: 'submitted' | 'running'): Promise<void> {
    let state: 'submitted' | 'running' = from
    let started: Promise<boolean> = Promise.resolve(true)
    const onRunning = (): void => {
      if (state === 'running') return
      state = 'running'
      started = move(job, 'submitted', { state: 'running', server: server.url })
      started.catch(() => {}) // awaited below
    }
    const ended = await server.follow(job, {
      onRunning,
      onEvent: (event) => onEvent({ type: 'progress', job, ...event }),
      signal,
    })
    if (!(await started)) return
    await (ended.state === 'absent' ? resume(job, state) : settle(job, state, ended))
  }

  async function deliver(job: Job): Promise<void> {
    try {
      await server.prepare(job)
    } catch (error) {
      if (error instanceof ComfyAuthError && error.kind !== 'usage') {
        await move(job, 'queued', { state: 'queued', reason: error.message })
      }
      throw error
    }
    if (!(await move(job, 'queued', { state: 'sending', server: server.url }))) return
    const sent = await server.send(job)
    switch (sent.kind) {
      case 'accepted':
        if (sent.warning) onEvent({ type: 'warning', job, message: sent.warning })
        if (await move(job, 'sending', { state: 'submitted', server: server.url })) await follow(job, 'submitted')
        return
      case 'refused':
        await move(job, 'sending', { state: 'refused', server: server.url, reason: sent.reason })
        return
      case 'not-sent':
        await move(job, 'sending', { state: 'queued', reason: sent.error.message })
        throw sent.error
      case 'doubtful':
        await resume(job, 'sending', sent.error)
    }
  }

  /** A job of which the server could not be asked stays as it is, and is given back. */
  async function attend(job: Job): Promise<void> {
    try {
      await (job.status.state === 'queued' ? deliver(job) : resume(job, job.status.state))
    } catch (error) {
      if (error instanceof ComfyAuthError && error.kind === 'usage') {
        result.held.push(job.id) // still leased: this run does not take it again
        return onEvent({ type: 'held', job, error })
      }
      await store.release(worker, job.id)
      throw error
    } finally {
      server.forget(job.id)
    }
  }

  /** Jobs whose fate was unknown are asked after once a run: the server may know them after all. */
  async function revisit(): Promise<void> {
    for (const { id } of await store.list({ states: ['unknown'] })) {
      signal.throwIfAborted()
      const job = await store.claim(worker, { nowMs: nowMs(), server: server.url, id })
      if (job?.status.state === 'unknown') await attend(job)
      else if (job) await store.release(worker, id)
    }
  }

  let pauseMs = POLL_MS
  let revisited = false
  try {
    while (!signal.aborted) {
      try {
        if (!revisited) await revisit()
        revisited = true
        const job = await store.claim(worker, { nowMs: nowMs(), server: server.url })
        if (job) await attend(job)
        else if (once) break
        else await sleep(POLL_MS, signal)
        pauseMs = POLL_MS
      } catch (error) {
        if (signal.aborted) break
        if (once || !(error instanceof ComfyAuthError) || !['unreachable', 'timeout'].includes(error.kind)) throw error
        onEvent({ type: 'waiting', error, retryMs: pauseMs })
        await sleep(pauseMs, signal)
        pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)
      }
    }
  } finally {
    clearInterval(renewal)
    for (const id of result.held) await store.release(worker, id)
  }
  return result
}
