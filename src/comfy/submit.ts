import { randomUUID } from 'node:crypto'
import { ComfyAuthError } from '../errors.ts'
import { cancelPrompt } from './cancel.ts'
import type { ComfyClient } from './client.ts'
import { notComfy } from './client-errors.ts'
import { type Json, type JsonObject, writeJson } from './json.ts'
import { plain } from './plain.ts'
import { describeNode, toJson, type Workflow } from './workflow.ts'

/** One thing ComfyUI's validation found, in words for people. */
export interface NodeProblem {
  readonly node: string
  /** `3 "My sampler" (KSampler)`. */
  readonly title: string
  readonly input: string | undefined
  readonly message: string
}

export interface Submission {
  /** The server's, which is ours but on servers that choose their own. */
  readonly promptId: string
  readonly clientId: string
  /** Outputs that were refused while others were accepted: the prompt runs without them. */
  readonly problems: readonly NodeProblem[]
}

export interface SubmitOptions {
  readonly client: ComfyClient
  readonly workflow: Workflow
  readonly extraData?: JsonObject | undefined
  /** Canonical lower-case UUIDs; made here where not given. */
  readonly promptId?: string | undefined
  readonly clientId?: string | undefined
  readonly signal?: AbortSignal | undefined
  /** Where only a part of the outputs is accepted: cancel it and refuse. */
  readonly strict?: boolean | undefined
}

type Fields = Readonly<Record<string, unknown>>

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function textIn(fields: Fields, name: string): string {
  const value = fields[name]
  return typeof value === 'string' ? plain(value, { limit: 300 }) : ''
}

/** `Value 99999 bigger than max of 16384`, and the details where they say more than the input's name. */
function wording(error: Fields, input: string | undefined): string {
  const message = textIn(error, 'message') || textIn(error, 'type') || 'refused'
  const details = textIn(error, 'details')
  const rest =
    input !== undefined && details.startsWith(input) ? details.slice(input.length).replace(/^[\s:,-]+/, '') : details
  return rest === '' || message.includes(rest) ? message : `${message}: ${rest}`
}

/** `node_errors` of an answer of POST /prompt, by the titles of the workflow. */
export function readNodeErrors(nodeErrors: unknown, workflow: Workflow): NodeProblem[] {
  const cycles = new Set<unknown>() // each node of a cycle brings the whole of it
  return Object.entries(isFields(nodeErrors) ? nodeErrors : {}).flatMap(([id, value]) => {
    const known = workflow.nodes.get(id)
    const errors = isFields(value) && Array.isArray(value.errors) ? value.errors.filter(isFields) : []
    const title = known ? describeNode(known) : plain(id, { limit: 40 })
    const news = errors.filter(({ type, details }) => {
      if (type !== 'dependency_cycle') return true
      const isNew = !cycles.has(details)
      cycles.add(details)
      return isNew
    })
    return news.map((error) => {
      const info = isFields(error.extra_info) ? error.extra_info : {}
      const input = typeof info.input_name === 'string' ? plain(info.input_name, { limit: 60 }) : undefined
      return { node: id, title, input, message: wording(error, input) }
    })
  })
}

/** `node 3 (KSampler), steps: Value 0 smaller than min of 1`. */
export function describeProblem({ title, input, message }: NodeProblem): string {
  return `node ${title}${input === undefined ? '' : `, ${input}`}: ${message}`
}

/** A 400 of POST /prompt: what was refused, a line for each node and input. */
export function refusal(answer: unknown, workflow: Workflow): ComfyAuthError {
  const fields = isFields(answer) ? answer : {}
  const error = isFields(fields.error) ? fields.error : {}
  const message = isFields(fields.error)
    ? wording(error, undefined)
    : textIn(fields, 'error') || textIn(fields, 'message')
  const problems = readNodeErrors(fields.node_errors, workflow)
  const info = isFields(error.extra_info) ? error.extra_info : {}
  const node = typeof info.node_id === 'string' ? workflow.nodes.get(info.node_id) : undefined
  const at = node && problems.length === 0 ? `node ${describeNode(node)}: ` : ''
  const lines = problems.map((problem) => `\n  ${describeProblem(problem)}`)
  const remedy =
    error.type === 'missing_node_type'
      ? 'Install the custom node on the server, or use a workflow without it.'
      : error.type === 'prompt_no_outputs'
        ? 'Add a node that puts something out, such as SaveImage.'
        : 'Mend these in the workflow, or with --set NODE.INPUT=VALUE.'
  return new ComfyAuthError(
    'refused',
    `ComfyUI refused the workflow: ${at}${message || 'it gave no reason'}.${lines.join('')}`,
    { remedy },
  )
}

/** The whole body of POST /prompt. Numbers go as they were written. */
export function promptBody(
  workflow: Workflow,
  ids: { readonly promptId: string; readonly clientId: string },
  extraData?: JsonObject,
): string {
  const extra = extraData ?? workflow.extraData
  const members: [string, Json][] = [
    ['prompt', toJson(workflow)],
    ['client_id', ids.clientId],
    ['prompt_id', ids.promptId],
  ]
  if (extra) members.push(['extra_data', extra])
  return writeJson(new Map(members))
}

/**
 * POST /prompt under an id of our own, which is also the Idempotency-Key: behind our proxy a repeat gets the first answer.
 * @throws {ComfyAuthError} `refused` where the validation said no; what the transport says otherwise. After a transport
 *   error it cannot be known whether the prompt was taken: ask lookupPrompt.
 */
export async function submitPrompt(options: SubmitOptions): Promise<Submission> {
  const { client, workflow, extraData, signal } = options
  const promptId = options.promptId ?? randomUUID()
  const clientId = options.clientId ?? randomUUID()
  const body = promptBody(workflow, { promptId, clientId }, extraData)
  const { status, answer } = await client.submitPrompt(body, { signal, headers: { 'idempotency-key': promptId } })
  if (status === 400) throw refusal(answer, workflow)
  // printed, and asked for in paths
  if (!isFields(answer) || typeof answer.prompt_id !== 'string' || !/^[\w.-]{1,100}$/.test(answer.prompt_id))
    throw notComfy(client, 'it takes a prompt and names no prompt_id')
  const problems = readNodeErrors(answer.node_errors, workflow)
  if (options.strict && problems.length > 0) {
    const gone = await cancelPrompt(client, answer.prompt_id).catch(() => undefined)
    const fate = gone ? 'cancelled' : `not to be cancelled, as prompt ${answer.prompt_id}`
    const message = `a part of its outputs, and --strict wants all; the rest is ${fate}`
    throw refusal({ ...answer, error: { message } }, workflow)
  }
  return { promptId: answer.prompt_id, clientId, problems }
}
