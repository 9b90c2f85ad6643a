import { randomUUID } from 'node:crypto'
import { ComfyAuthError } from '../errors.ts'
import { cancelPrompt } from './cancel.ts'
import { type RunOptions, type RunResult, runPrompt, submitPrompt } from './run-prompt.ts'
import type { Variation } from './variations.ts'

export interface BatchOptions extends Omit<RunOptions, 'prompt' | 'promptId' | 'clientId'> {
  readonly variations: readonly Variation[]
  /** Asked when `signal` aborts while a prompt is on the server. */
  readonly shallCancel: (promptId: string) => Promise<boolean>
}

export interface BatchItem extends Omit<RunResult, 'status'> {
  readonly status: 'success' | 'submitted'
  readonly seed: string | undefined
}

async function cancelled(options: BatchOptions, promptId: string): Promise<ComfyAuthError> {
  if (!(await options.shallCancel(promptId))) {
    return new ComfyAuthError('interrupted', `Interrupted. Prompt ${promptId} goes on on the server.`, {
      remedy: 'Its pictures will be in ComfyUI.',
    })
  }
  try {
    const result = await cancelPrompt(options.client, promptId)
    return new ComfyAuthError(
      'interrupted',
      result === 'cancelled'
        ? `Interrupted; prompt ${promptId} is cancelled on the server.`
        : `Interrupted; prompt ${promptId} was no longer on the server's queue.`,
      {
        remedy: 'Submit it again when you like.',
      },
    )
  } catch (error) {
    return new ComfyAuthError(
      'interrupted',
      `Interrupted, and prompt ${promptId} could not be cancelled: it may go on on the server.`,
      {
        remedy: 'Cancel it in ComfyUI.',
        cause: error,
      },
    )
  }
}

/** Runs prompts one after another; the first that does not succeed ends it. An abort asks whether to cancel on the server. */
export async function runBatch(options: BatchOptions, onDone: (item: BatchItem) => void): Promise<BatchItem[]> {
  const items: BatchItem[] = []
  for (const { workflow, seed } of options.variations) {
    const promptId = randomUUID()
    let known: string = promptId
    const onEvent: RunOptions['onEvent'] = (event) => {
      if (event.type === 'submitted') known = event.promptId
      options.onEvent?.(event)
    }
    try {
      const item: BatchItem = { ...(await runPrompt({ ...options, prompt: workflow, promptId, onEvent })), seed }
      items.push(item)
      onDone(item)
    } catch (error) {
      if (!(error instanceof ComfyAuthError) || error.kind !== 'interrupted') throw error
      throw await cancelled(options, known)
    }
  }
  return items
}

/** `--no-wait`: sends them all and looks after none. */
export async function submitBatch(
  options: Pick<BatchOptions, 'client' | 'variations' | 'signal' | 'strict' | 'onEvent'>,
  onDone: (item: BatchItem) => void,
): Promise<BatchItem[]> {
  const items: BatchItem[] = []
  for (const { workflow, seed } of options.variations) {
    const { promptId, problems } = await submitPrompt({
      client: options.client,
      workflow,
      signal: options.signal,
      strict: options.strict,
    })
    const item: BatchItem = {
      promptId,
      status: 'submitted',
      outputs: [],
      texts: [],
      problems,
      seed,
    }
    items.push(item)
    onDone(item)
  }
  return items
}
