import { resolve } from 'node:path'
import { isNumber, isObject, type JsonObject, parseJson, writeJson } from '../comfy/json.ts'
import { plain } from '../comfy/plain.ts'
import { readWorkflow, serialise } from '../comfy/workflow.ts'
import { ComfyAuthError } from '../errors.ts'
import { errorCode } from '../files/errno.ts'
import type { NewJob } from './job.ts'
import { parseMoment } from './moment.ts'

/** What a line's job gets where the line does not say it. */
export interface JobDefaults {
  /** Absolute; a line's own `output` is resolved against it. */
  readonly output: string
  readonly priority: number
  readonly notBeforeMs?: number
  readonly nowMs: number
  readonly newId: () => string
}

const NOTHING_ADDED = 'Nothing was added: mend the line and add the whole again.'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Members of a line beside `prompt`; `client_id`, `number` and `front` of a saved request body are passed over. */
const MEMBERS = ['prompt', 'extra_data', 'prompt_id', 'output', 'priority', 'not_before', 'label']
const PASSED_OVER = ['client_id', 'number', 'front']

export const HIGHEST_PRIORITY = 1_000_000

function bad(where: string, what: string): ComfyAuthError {
  return new ComfyAuthError('usage', `${where}: ${what}.`, { remedy: NOTHING_ADDED })
}

function text(line: JsonObject, name: string, where: string): string | undefined {
  const value = line.get(name)
  if (value === undefined || typeof value === 'string') return value
  throw bad(where, `${name} is not text`)
}

function priorityOf(line: JsonObject, where: string): number | undefined {
  const value = line.get('priority')
  if (value === undefined) return undefined
  const priority = isNumber(value) ? Number(value.source) : Number.NaN
  if (Number.isInteger(priority) && Math.abs(priority) <= HIGHEST_PRIORITY) return priority
  throw bad(where, `priority is not a whole number from -${HIGHEST_PRIORITY} to ${HIGHEST_PRIORITY}`)
}

function notBeforeOf(line: JsonObject, where: string): { notBeforeMs?: number } {
  const written = text(line, 'not_before', where)
  if (written === undefined) return {}
  const notBeforeMs = parseMoment(written)
  if (notBeforeMs === undefined) throw bad(where, 'not_before is no date such as 2027-01-31 or 2027-01-31T18:00:00Z')
  return { notBeforeMs }
}

function idOf(line: JsonObject, where: string): string | undefined {
  const id = text(line, 'prompt_id', where)
  if (id === undefined || UUID.test(id)) return id
  throw bad(where, 'prompt_id is not a UUID in lower case with hyphens')
}

/**
 * What stands beside `prompt`; nothing for a bare workflow. Only a line with that name in it, or with an escape that may
 * spell it, is read for it: most have none, and reading is what adding many jobs costs.
 */
function membersOf(line: string, where: string): JsonObject {
  if (!/"prompt"|\\u/.test(line)) return new Map()
  const document = parseJson(line)
  const prompt = isObject(document) ? document.get('prompt') : undefined
  if (!isObject(document) || !isObject(prompt) || prompt.has('class_type')) return new Map()
  const stranger = [...document.keys()].find((name) => !MEMBERS.includes(name) && !PASSED_OVER.includes(name))
  if (stranger === undefined) return document
  throw bad(where, `"${plain(stranger, { limit: 40 })}" is none of ${MEMBERS.join(', ')}`)
}

function workflowOf(line: string, where: string): string {
  try {
    return serialise(readWorkflow(line, where))
  } catch (error) {
    if (!(error instanceof ComfyAuthError)) throw error
    const message = error.message.replace(/ at line 1, column/, ' at column')
    throw new ComfyAuthError(error.kind, message, { remedy: NOTHING_ADDED, cause: error })
  }
}

function fromLine(line: string, number: number, defaults: JobDefaults): NewJob {
  const where = `line ${number}`
  const workflow = workflowOf(line, where)
  const wrapped = membersOf(line, where)
  const { output, priority, notBeforeMs, nowMs, newId } = defaults
  const extra = wrapped.get('extra_data')
  if (extra !== undefined && !isObject(extra)) throw bad(where, 'extra_data is not an object')
  return {
    id: idOf(wrapped, where) ?? newId(),
    workflow,
    ...(extra ? { extraData: writeJson(extra) } : {}),
    label: plain(text(wrapped, 'label', where) ?? where, { limit: 200 }).replaceAll(/\s+/g, ' '),
    output: resolve(output, text(wrapped, 'output', where) ?? ''),
    priority: priorityOf(wrapped, where) ?? priority,
    ...(notBeforeMs === undefined ? {} : { notBeforeMs }),
    ...notBeforeOf(wrapped, where),
    addedMs: nowMs,
  }
}

/** Lines end at `\n` alone: JSON may hold U+2028, at which node:readline would cut. */
async function* linesOf(input: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let rest = ''
  for await (const chunk of input) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = parts.pop()!
    yield* parts
  }
  yield rest + decoder.decode()
}

/**
 * Reads NDJSON: on each line a workflow in API format, or a body of POST /prompt (`prompt`, `extra_data`, `prompt_id`) with
 * `output`, `priority`, `not_before` and `label` beside it. Blank lines are passed over. A bad line fails the whole.
 */
export async function readJobs(input: AsyncIterable<Uint8Array>, defaults: JobDefaults): Promise<NewJob[]> {
  const jobs: NewJob[] = []
  let number = 0
  try {
    for await (const line of linesOf(input)) {
      number += 1
      if (line.trim() !== '') jobs.push(fromLine(line, number, defaults))
    }
  } catch (error) {
    if (errorCode(error) === 'ERR_ENCODING_INVALID_ENCODED_DATA') throw bad(`line ${number + 1}`, 'not UTF-8')
    throw error
  }
  return jobs
}
