import type { Prompts } from '../state/prompts.ts'
import type { Upstream } from './upstream.ts'

type Ask = Upstream['ask']

/** Bytes of queue or jobs that are looked through; a longer list is a doubt. */
const LIST_BYTES = 16 * 1024 * 1024
const ASK_MS = 2_000

/** What ComfyUI answers to POST /prompt when it took the prompt; undefined for anything else. */
function readAccepted(answer: Buffer): { readonly promptId: string; readonly number: number } | undefined {
  const json = parse(answer)
  if (!isRecord(json)) return undefined
  const { prompt_id: promptId, number } = json
  return typeof promptId === 'string' && promptId !== '' && typeof number === 'number'
    ? { promptId, number }
    : undefined
}

/**
 * Looks on while the body of POST /prompt streams by. Where it names no prompt_id, ComfyUI made a new one (a random UUID),
 * and nothing has to be asked. For bodies that are UTF-8 as they stand; a name inside the workflow is taken for one too.
 */
export class IdLookout {
  #tail = Buffer.alloc(0)
  namesNone = true

  readonly see = (chunk: Buffer): void => {
    if (!this.namesNone) return
    const text = this.#tail.length === 0 ? chunk : Buffer.concat([this.#tail, chunk])
    this.namesNone = !(
      text.includes(ID_NAME) ||
      (text.includes('\\u00') && ESCAPED_ASCII.test(text.toString('latin1')))
    )
    this.#tail = Buffer.from(text.subarray(-(ID_NAME.length - 1)))
  }
}

const ID_NAME = 'prompt_id'
/** JSON may write a letter of the name so: `prompt\u005fid`. Six bytes, less than the name. */
const ESCAPED_ASCII = /\\u00[2-7]/

/**
 * Rule 8: a prompt_id that ComfyUI answered to this key alone becomes the key's own. `newId`: it is one that ComfyUI made
 * for this answer. Else the client chose it: ComfyUI takes a repeated id and never says so, thus it is asked afterwards: no
 * entry of that id in its history, and exactly one waiting or running, under the number that this answer named. Any doubt
 * means that nobody owns it, and only an admin may stop it; so does an answer of the same id to another key, then or later.
 */
export async function learnOwner(
  answer: Buffer,
  keyId: string,
  prompts: Prompts,
  ask: Ask,
  newId: boolean,
): Promise<void> {
  const accepted = readAccepted(answer)
  if (!accepted) return
  const { promptId, number } = accepted
  const sure = newId || prompts.known(promptId) || (await isAlone(promptId, number, ask))
  prompts.record(sure ? keyId : undefined, promptId)
}

async function isAlone(promptId: string, number: number, ask: Ask): Promise<boolean> {
  try {
    const [history, numbers] = await Promise.all([hasHistory(promptId, ask), numbersOf(promptId, ask)])
    return !history && numbers.length === 1 && numbers[0] === number
  } catch {
    return false // it did not answer: a doubt
  }
}

async function hasHistory(promptId: string, ask: Ask): Promise<boolean> {
  const { status, body } = await ask(`/history/${encodeURIComponent(promptId)}`, {
    timeoutMs: ASK_MS,
    limitBytes: LIST_BYTES,
  })
  const json = parse(body)
  return status !== 200 || !isRecord(json) || Object.keys(json).length > 0
}

/** The numbers under which this id waits or runs. */
async function numbersOf(promptId: string, ask: Ask): Promise<readonly unknown[]> {
  const options = { timeoutMs: ASK_MS, limitBytes: LIST_BYTES }
  const { status, body } = await ask('/api/jobs?status=pending,in_progress', options)
  if (status === 200) {
    const json = parse(body)
    const jobs = isRecord(json) && Array.isArray(json.jobs) ? json.jobs : []
    return jobs.filter((job) => isRecord(job) && job.id === promptId).map((job) => job.priority)
  }
  // Before it had jobs: the queue's items are [number, prompt_id, ...].
  const queue = parse((await ask('/queue', options)).body)
  if (!isRecord(queue)) return []
  return [queue.queue_running, queue.queue_pending]
    .flatMap((items) => (Array.isArray(items) ? items : []))
    .filter((item) => Array.isArray(item) && item[1] === promptId)
    .map((item) => item[0])
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString())
  } catch {
    return undefined
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
