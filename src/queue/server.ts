import type { ComfyAuthError } from '../errors.ts'
import type { Job } from './job.ts'

/** What became of one attempt to send a job. */
export type Sent =
  | { readonly kind: 'accepted'; readonly warning?: string }
  /** Its validation said no: nothing runs. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** Certainly nothing arrived: no connection came about, or the request was turned away unread. */
  | { readonly kind: 'not-sent'; readonly error: ComfyAuthError }
  /** It may have arrived: the connection broke, or the answer says nothing about the prompt. */
  | { readonly kind: 'doubtful'; readonly error: ComfyAuthError }

export type Ended =
  | { readonly state: 'done' }
  | { readonly state: 'failed'; readonly reason: string }
  | { readonly state: 'cancelled' }
  /** Neither in its queue nor in its history: never arrived, or forgotten. */
  | { readonly state: 'absent' }

export type Sight = Ended | { readonly state: 'pending' } | { readonly state: 'running' }

export interface FollowEvent {
  readonly label: string
  readonly fraction?: number
  readonly detail?: string
}

/** What the worker asks of a ComfyUI. Each promise may fail with a ComfyAuthError: then nothing has been learnt. */
export interface Server {
  readonly url: string
  /**
   * All that can be done before the job counts as being sent; fails with `usage` where its folder cannot be written, and
   * otherwise where no ComfyUI answers that takes the key.
   */
  prepare(job: Job): Promise<void>
  send(job: Job): Promise<Sent>
  look(id: string): Promise<Sight>
  /** Waits for the job's end. `onRunning` is called at most once. */
  follow(job: Job, hooks: { onRunning(): void; onEvent(event: FollowEvent): void; signal: AbortSignal }): Promise<Ended>
  /** Downloads a finished job's outputs into its folder: their paths. */
  collect(job: Job, signal: AbortSignal): Promise<readonly string[]>
  /** The worker is done with this job: what was kept for it can go. */
  forget(id: string): void
}
