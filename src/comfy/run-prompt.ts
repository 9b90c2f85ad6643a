import { randomUUID } from 'node:crypto'
import { ComfyAuthError } from '../errors.ts'
import type { ComfyClient } from './client.ts'
import { codeOf } from './client-errors.ts'
import { followPrompt, type Outcome } from './follow.ts'
import type { JsonObject } from './json.ts'
import { lookupPrompt } from './lookup.ts'
import { outputFiles, outputTexts, prepareOutputDir, saveOutput, saveSocketImage } from './outputs.ts'
import { plain } from './plain.ts'
import { openSocket } from './socket.ts'
import { describeProblem, type NodeProblem, type Submission, type SubmitOptions, submitPrompt } from './submit.ts'
import { type RunEvent, SOCKET_OUTPUT } from './track.ts'
import { describeNode, type Workflow } from './workflow.ts'

export { cancelPrompt } from './cancel.ts'
export { followPrompt, type Outcome } from './follow.ts'
export { lookupPrompt } from './lookup.ts'
export { type NodeProblem, submitPrompt } from './submit.ts'
export type { RunEvent } from './track.ts'

/** One file that a run brought: kept at `path`, or still on the server where no folder was given. */
export interface RunOutput {
  readonly node: string
  readonly filename: string
  readonly subfolder: string
  readonly type: string
  readonly path: string | undefined
}

export interface RunResult {
  readonly promptId: string
  readonly status: 'success'
  readonly outputs: readonly RunOutput[]
  readonly texts: readonly { readonly node: string; readonly text: string }[]
  /** Outputs that the server's validation left out. */
  readonly problems: readonly NodeProblem[]
}

export interface RunOptions {
  readonly client: ComfyClient
  readonly prompt: Workflow
  /** `extra_data` of POST /prompt; the workflow's own where not given. */
  readonly extraData?: JsonObject | undefined
  readonly promptId?: string | undefined
  readonly clientId?: string | undefined
  readonly onEvent?: ((event: RunEvent) => void) | undefined
  /** For the whole, downloads not counted. */
  readonly timeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
  /** Where outputs are kept; nothing is downloaded without it. Made where it is missing. */
  readonly outputDir?: string | undefined
  /** Cancel and refuse where the server accepts only a part of the outputs. */
  readonly strict?: boolean | undefined
  readonly pollMs?: number | undefined
}

/** How long a socket may take to open before the prompt is sent without it. */
const SOCKET_WAIT_MS = 5_000

/** An ending that is no success, as an error; undefined for a success. */
export function outcomeError(
  outcome: Outcome,
  promptId: string,
  workflow: Workflow | undefined,
): ComfyAuthError | undefined {
  function node(id: string | undefined, classType?: string): string {
    const known = id === undefined ? undefined : workflow?.nodes.get(id)
    return known
      ? `node ${describeNode(known)}`
      : id === undefined
        ? 'a node'
        : `node ${plain(id, { limit: 40 })}${classType ? ` (${plain(classType, { limit: 60 })})` : ''}`
  }
  switch (outcome.status) {
    case 'success':
      return undefined
    case 'failed': {
      const { failure } = outcome
      const why = plain(failure.message || failure.exceptionType)
      return new ComfyAuthError(
        'failed',
        `Prompt ${promptId} failed at ${node(failure.node, failure.classType)}: ${why}`,
        {
          remedy: "Look at ComfyUI's console for the whole traceback.",
        },
      )
    }
    case 'interrupted':
      return new ComfyAuthError('failed', `Prompt ${promptId} was stopped on the server, at ${node(outcome.node)}.`, {
        remedy: 'Submit it again if it should run.',
      })
    case 'unknown':
      return new ComfyAuthError(
        'failed',
        `The server no longer knows prompt ${promptId}: it was restarted, or its queue or history was cleared. Whether it ran cannot be known.`,
        {
          remedy: 'Look for its pictures on the server before you submit it again.',
        },
      )
  }
}

/** Downloads what a finished prompt put out, one file after another. */
export async function collectOutputs(
  outcome: Outcome & { readonly status: 'success' },
  options: Pick<RunOptions, 'client' | 'signal' | 'onEvent' | 'outputDir'>,
): Promise<RunOutput[]> {
  const { client, signal, outputDir, onEvent } = options
  const outputs: RunOutput[] = []
  for (const file of outputFiles(outcome.outputs)) {
    let path: string | undefined
    if (outputDir !== undefined) {
      path = await saveOutput(file, {
        client,
        dir: outputDir,
        signal,
        onBytes: (received, total) =>
          onEvent?.({
            type: 'downloading',
            filename: plain(file.filename, { limit: 80 }),
            fraction: total ? received / total : undefined,
          }),
      })
      onEvent?.({ type: 'output', node: file.node, path })
    }
    outputs.push({ ...file, path })
  }
  for (const picture of outcome.images) {
    if (outputDir === undefined) continue
    const path = await saveSocketImage(picture.node, picture, outputDir)
    onEvent?.({ type: 'output', node: picture.node, path })
    outputs.push({ node: picture.node, filename: path.split(/[\\/]/).at(-1)!, subfolder: '', type: 'socket', path })
  }
  return outputs
}

/** Before these no byte of the request was taken. */
const NEVER_SENT = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']

/** An answer that was lost on the way is no refusal: the prompt has an id of ours, so the server is asked for it. */
async function submitOrFind(options: SubmitOptions & { readonly promptId: string }): Promise<Submission> {
  try {
    return await submitPrompt(options)
  } catch (error) {
    const lost = error instanceof ComfyAuthError && (error.kind === 'unreachable' || error.kind === 'timeout')
    if (!lost || NEVER_SENT.includes(codeOf(error))) throw error
    const found = await lookupPrompt(options.client, options.promptId, options.signal).catch(() => undefined)
    if (!found || found.state === 'absent') throw error
    return { promptId: options.promptId, clientId: options.clientId ?? '', problems: [] }
  }
}

/**
 * One prompt from sending to finished: socket open, POST, followed, outputs kept. Pictures and other inputs are uploaded
 * by the caller before (upload.ts). An abort of `signal` stops following; cancelling on the server is cancelPrompt.
 * @throws {ComfyAuthError} refused, failed, unreachable, unauthorised, timeout, interrupted, usage (the output folder)
 */
export async function runPrompt(options: RunOptions): Promise<RunResult> {
  const { client, prompt, signal, timeoutMs, outputDir, onEvent } = options
  const clientId = options.clientId ?? randomUUID()
  if (outputDir !== undefined) await prepareOutputDir(outputDir)
  const startedAt = performance.now()
  const socket = openSocket({ client, clientId })
  try {
    await socket.ready(SOCKET_WAIT_MS)
    const sent = {
      client,
      workflow: prompt,
      extraData: options.extraData,
      promptId: options.promptId ?? randomUUID(),
      clientId,
      signal,
      strict: options.strict,
    }
    const { promptId, problems } = await submitOrFind(sent)
    onEvent?.({ type: 'submitted', promptId, problems: problems.map(describeProblem) })
    const outcome = await followPrompt({
      client,
      promptId,
      socket,
      workflow: prompt,
      onEvent,
      signal,
      pollMs: options.pollMs,
      timeoutMs: timeoutMs === undefined ? undefined : Math.max(0, timeoutMs - (performance.now() - startedAt)),
    })
    const error = outcomeError(outcome, promptId, prompt)
    if (error || outcome.status !== 'success') throw error
    const outputs = await collectOutputs(outcome, options)
    for (const { id, classType } of prompt.nodes.values()) {
      if (classType !== SOCKET_OUTPUT || outcome.images.some(({ node }) => node === id)) continue
      onEvent?.({
        type: 'warning',
        message: `node ${plain(id, { limit: 40 })} (${SOCKET_OUTPUT}) sent no picture over the socket`,
      })
    }
    return { promptId, status: 'success', outputs, texts: outputTexts(outcome.outputs), problems }
  } finally {
    socket.close()
  }
}
