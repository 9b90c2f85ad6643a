import { requireComfy } from '../comfy/check-server.ts'
import type { ComfyClient, OpenAnswer } from '../comfy/client.ts'
import { codeOf, statusError, transportError } from '../comfy/client-errors.ts'
import { isObject, parseJson, readAnswer } from '../comfy/json.ts'
import { outputFiles, prepareOutputDir } from '../comfy/outputs.ts'
import { collectOutputs, followPrompt, lookupPrompt, type Outcome, outcomeError } from '../comfy/run-prompt.ts'
import { type ComfySocket, openSocket } from '../comfy/socket.ts'
import { describeProblem, promptBody, readNodeErrors, refusal } from '../comfy/submit.ts'
import { tell } from '../comfy/telling.ts'
import { readWorkflow, type Workflow } from '../comfy/workflow.ts'
import { ComfyAuthError } from '../errors.ts'
import type { Job } from './job.ts'
import type { Ended, Sent, Server, Sight } from './server.ts'

type Success = Outcome & { readonly status: 'success' }

/** Errors of a connection that never came about: no byte of the prompt has left. */
const NO_CONNECTION =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|CERT_.*|DEPTH_ZERO_.*|SELF_SIGNED_.*|UNABLE_TO_.*|ERR_TLS_.*|ERR_SSL_.*)$/

/**
 * Statuses that say the prompt was turned away before ComfyUI saw it: redirects, no such route or method, no leave, no
 * upstream. Not 502 and 504: behind those the prompt may have arrived; not 408 and 409, which a proxy may say of a request that
 * went on; and not 500.
 */
function wasTurnedAway(status: number): boolean {
  return (status >= 300 && status < 500 && status !== 408 && status !== 409) || status === 501 || status === 503
}

/** How long a socket may take to open before the prompt is sent without it. */
const SOCKET_WAIT_MS = 3_000

/** A ComfyUI as the worker needs it. The job's id is prompt_id, client_id and Idempotency-Key at once. */
export function comfyServer(client: ComfyClient, { pollMs }: { readonly pollMs?: number } = {}): Server {
  const sockets = new Map<string, ComfySocket>()
  const finished = new Map<string, Success>()

  function read(job: Job): Workflow {
    return readWorkflow(job.workflow, job.label)
  }

  /** What an outcome means for a job; a success is kept until its outputs are collected. */
  function ended(id: string, outcome: Outcome, workflow: Workflow | undefined): Ended {
    if (outcome.status === 'unknown') return { state: 'absent' }
    if (outcome.status === 'interrupted') return { state: 'cancelled' }
    if (outcome.status === 'failed') {
      return { state: 'failed', reason: outcomeError(outcome, id, workflow)!.message }
    }
    finished.set(id, outcome)
    return { state: 'done' }
  }

  async function answered(job: Job, workflow: Workflow, response: OpenAnswer, body: string): Promise<Sent> {
    const { status, headers } = response
    const header = (name: string) => [headers[name]].flat()[0]
    const location = header('location')
    const error = statusError(client, { status, body, location, retryAfter: header('retry-after') })
    if (status === 413) return { kind: 'refused', reason: error.message }
    if (status !== 400 && wasTurnedAway(status)) return { kind: 'not-sent', error }
    if (status !== 200 && status !== 400) return { kind: 'doubtful', error }
    const answer = readAnswer(body) as { readonly prompt_id?: unknown; readonly node_errors?: unknown } | null
    if (status === 400) return { kind: 'refused', reason: refusal(answer, workflow).message }
    if (answer?.prompt_id === job.id) {
      const problems = readNodeErrors(answer.node_errors, workflow).map(describeProblem)
      return { kind: 'accepted', ...(problems.length > 0 ? { warning: `runs without ${problems.join('; ')}` } : {}) }
    }
    const what = 'The server ran it under an id of its own: this ComfyUI is too old for the queue.'
    return { kind: 'doubtful', error: new ComfyAuthError('failed', what, { remedy: 'Update ComfyUI.' }) }
  }

  return {
    url: client.url,

    async prepare(job) {
      read(job) // a workflow that cannot be read must not fail half-way
      await prepareOutputDir(job.output)
      await requireComfy(client)
      const socket = openSocket({ client, clientId: job.id })
      sockets.set(job.id, socket)
      await socket.ready(SOCKET_WAIT_MS)
    },

    async send(job) {
      const workflow = read(job)
      const extra = job.extraData === undefined ? undefined : parseJson(job.extraData)
      const ids = { promptId: job.id, clientId: job.id }
      const body = promptBody(workflow, ids, isObject(extra) ? extra : undefined)
      try {
        const headers = { 'content-type': 'application/json', 'idempotency-key': job.id }
        const answer = await client.request('POST', '/prompt', { body, headers })
        return await answered(job, workflow, answer, await answer.body.text())
      } catch (error) {
        const kind = NO_CONNECTION.test(codeOf(error)) ? 'not-sent' : 'doubtful'
        return { kind, error: transportError(error, client) }
      }
    },

    async look(id): Promise<Sight> {
      const where = await lookupPrompt(client, id)
      return where.state === 'done' ? ended(id, { ...where.ending, images: [] }, undefined) : where
    },

    async follow(job, { onRunning, onEvent, signal }) {
      const socket = sockets.get(job.id)
      const workflow = read(job)
      const outcome = await followPrompt({
        client,
        promptId: job.id,
        workflow,
        signal,
        pollMs,
        ...(socket ? { socket } : { clientId: job.id }),
        onEvent: (event) => {
          if (event.type === 'started') onRunning()
          const shown = tell(event)
          if (shown) onEvent(shown)
        },
      })
      return ended(job.id, outcome, workflow)
    },

    async collect(job, signal) {
      const outcome = finished.get(job.id)!
      if (outputFiles(outcome.outputs).length > 0 || outcome.images.length > 0) await prepareOutputDir(job.output)
      const outputs = await collectOutputs(outcome, { client, signal, outputDir: job.output })
      return outputs.flatMap(({ path }) => path ?? [])
    },

    forget(id) {
      sockets.get(id)?.close()
      sockets.delete(id)
      finished.delete(id)
    },
  }
}
