import { ComfyAuthError } from '../errors.ts'
import type { ComfyClient } from './client.ts'
import { interrupted } from './client-errors.ts'
import type { ComfyEvent } from './events.ts'
import { type Ending, lookupPrompt } from './lookup.ts'
import { type ComfySocket, openSocket, type SocketState } from './socket.ts'
import { createTracker, type RunEvent, SOCKET_OUTPUT, type SocketImage } from './track.ts'
import type { Workflow } from './workflow.ts'

/** How following a prompt ended. `unknown`: the server has forgotten it, and whether it ran cannot be known. */
export type Outcome = (Ending & { readonly images: readonly SocketImage[] }) | { readonly status: 'unknown' }

export interface FollowOptions {
  readonly client: ComfyClient
  readonly promptId: string
  /** The client_id it was submitted under: progress goes to nobody else. Not needed where `socket` is given. */
  readonly clientId?: string | undefined
  /** One that was opened before the prompt was sent, so that nothing is missed; it stays open. */
  readonly socket?: ComfySocket | undefined
  /** For titles, and for the whole's progress. */
  readonly workflow?: Workflow | undefined
  readonly onEvent?: ((event: RunEvent) => void) | undefined
  readonly signal?: AbortSignal | undefined
  /** From now to the end; exceeded is an error of kind `timeout`, and the prompt goes on on the server. */
  readonly timeoutMs?: number | undefined
  /** Pause between two looks while the socket is live; a third of it while it is not. Default 3,000. */
  readonly pollMs?: number | undefined
  /** How long a server may be out of reach before that is the end. Default 120,000. */
  readonly patienceMs?: number | undefined
}

/** After execution_success ComfyUI saves, then writes the history: looks begin at this pace, and last so long. */
const SOON_MS = 60
const ENTRY_WAIT_MS = 20_000

/** How long the last frame may come behind the history entry. */
const PICTURE_WAIT_MS = 3_000

/** Node's timers end at once beyond this. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** So many looks in a row that find the prompt nowhere, before it counts as forgotten. */
const ABSENT_LOOKS = 3

/**
 * Follows a prompt that the server has taken until it ends. The socket tells the progress and a slow poll always runs
 * beside it, since frames can be lost (a reconnect, a takeover of the clientId, a proxy that cuts): the end is what the
 * server's history says.
 * @throws {ComfyAuthError} unreachable, unauthorised, timeout, interrupted (the signal)
 */
export async function followPrompt(options: FollowOptions): Promise<Outcome> {
  const { client, promptId, workflow, pollMs = 3_000, patienceMs = 120_000, timeoutMs } = options
  const emit = options.onEvent ?? (() => {})
  const startedAt = performance.now()
  const limits = [
    options.signal,
    timeoutMs === undefined ? undefined : AbortSignal.timeout(Math.min(Math.ceil(timeoutMs), MAX_TIMER_MS)),
  ]
  const signal = AbortSignal.any(limits.filter((limit) => limit !== undefined))
  const tracker = createTracker(promptId, workflow, emit)
  const own = options.socket === undefined && options.clientId !== undefined
  const socket =
    options.socket ?? (options.clientId === undefined ? undefined : openSocket({ client, clientId: options.clientId }))

  let wake = (): void => {}
  let woken = false
  let endedAt: number | undefined
  let doneAt: number | undefined
  let soonLooks = 0
  let socketEnded = false
  let failedEnding: Ending | undefined
  let live: boolean | undefined
  let absent = 0
  let lastContact = performance.now()
  let ahead: number | undefined | null = null

  function poke(): void {
    woken = true
    wake()
  }
  function onEvent(event: ComfyEvent): void {
    tracker.take(event)
    if (!('promptId' in event) || event.promptId !== promptId) return
    if (event.type === 'error') failedEnding = { status: 'failed', failure: event.failure, outputs: tracker.outputs }
    if (event.type === 'interrupted')
      failedEnding = { status: 'interrupted', node: event.node, outputs: tracker.outputs }
    if (event.type === 'success' || failedEnding || (event.type === 'executing' && event.node === undefined)) {
      endedAt ??= performance.now()
      // the very last frame: nothing of this prompt comes behind it
      if (event.type === 'executing') socketEnded = true
      poke()
    }
  }
  function onState({ state }: SocketState): void {
    const now = state === 'open'
    if (now === live || state === 'connecting' || state === 'closed') return
    const wasDown = live === false
    live = now
    emit({ type: 'connection', state: now ? 'live' : 'polling' })
    if (now && wasDown) poke() // frames were missed
  }

  /** Until the next look is due, an event asks for one, or the time is over. */
  async function pause(): Promise<void> {
    const wait = endedAt === undefined ? (live ? pollMs : pollMs / 3) : Math.min(SOON_MS * 1.3 ** soonLooks++, 1_000)
    const left = timeoutMs === undefined ? wait : Math.max(0, startedAt + timeoutMs - performance.now())
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, Math.min(wait, left))
    wake = resolve
    if (woken) resolve()
    await promise
    woken = false
    clearTimeout(timer)
  }
  function checkTime(): void {
    if (options.signal?.aborted) throw interrupted()
    if (timeoutMs === undefined || performance.now() - startedAt < timeoutMs) return
    throw new ComfyAuthError('timeout', `Prompt ${promptId} has not ended in time; it goes on on the server.`, {
      remedy: 'Give it longer (--timeout), or look for its pictures in ComfyUI later.',
    })
  }

  /** Pictures that come over the socket alone may still be on their way when the history has the prompt already. */
  function awaitsPictures(): boolean {
    if (
      !live ||
      socketEnded ||
      ![...(workflow?.nodes.values() ?? [])].some(({ classType }) => classType === SOCKET_OUTPUT)
    )
      return false
    doneAt ??= performance.now()
    endedAt ??= doneAt
    return performance.now() - doneAt < PICTURE_WAIT_MS
  }

  /** One look at the server. Undefined: not yet. */
  async function look(): Promise<Outcome | undefined> {
    const where = await lookupPrompt(client, promptId, signal)
    lastContact = performance.now()
    if (where.state === 'done' && !awaitsPictures()) return { ...where.ending, images: tracker.images }
    absent = where.state === 'absent' ? absent + 1 : 0
    if (where.state === 'pending' && where.ahead !== ahead) {
      ahead = where.ahead
      emit({ type: 'queued', ahead })
    }
    if (where.state === 'running') tracker.take({ type: 'start', promptId })
    if (endedAt !== undefined && performance.now() - endedAt > ENTRY_WAIT_MS) {
      // the socket saw the end, the history does not show it (it may have been cleared): what the frames brought counts
      return { ...(failedEnding ?? { status: 'success', outputs: tracker.outputs }), images: tracker.images }
    }
    return endedAt === undefined && absent >= ABSENT_LOOKS ? { status: 'unknown' } : undefined
  }

  const leave = socket?.listen(onEvent, onState)
  signal.addEventListener('abort', poke)
  try {
    for (;;) {
      checkTime()
      try {
        const outcome = await look()
        if (outcome) return outcome
      } catch (error) {
        checkTime()
        const passing = error instanceof ComfyAuthError && (error.kind === 'unreachable' || error.kind === 'timeout')
        if (!passing || performance.now() - lastContact > patienceMs) throw error
        emit({ type: 'connection', state: 'unreachable' })
      }
      await pause()
    }
  } finally {
    leave?.()
    signal.removeEventListener('abort', poke)
    if (own) socket?.close()
  }
}
