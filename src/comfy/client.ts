import type { Readable } from 'node:stream'
import { Agent, type Dispatcher } from 'undici'
import { notComfy, statusError, TOO_LONG, transportError } from './client-errors.ts'
import { readAnswer } from './json.ts'
import { parseServerUrl } from './server-url.ts'

export interface ClientOptions {
  /** Scheme, host, port and path prefix; see parseServerUrl. */
  readonly url: string
  readonly key?: string | undefined
  /** For an answer's head to come, and between two parts of its body. Default 30,000. */
  readonly timeoutMs?: number | undefined
}

export interface RequestOptions {
  readonly body?: string | Uint8Array | Readable | AsyncIterable<Uint8Array>
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal | undefined
  /** Leaves the credential out: what does this server do for anybody? */
  readonly withoutKey?: boolean
  /** A file: its body has neither an end by size nor by time. */
  readonly isFile?: boolean
}

/** An answer whose body has not been read. */
export interface OpenAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Dispatcher.ResponseData['body']
}

/** An answer of a route that says little, read whole. */
export interface ShortAnswer {
  readonly status: number
  readonly body: string
  readonly location: string | undefined
  readonly retryAfter: string | undefined
}

export interface PromptAnswer {
  readonly status: number
  readonly answer: unknown
}

/** What /history/{id} tells of a finished prompt; undefined where it is not there (yet). */
export type HistoryEntry = Readonly<Record<string, unknown>>

/** `absent`: the server says it has no such job. `unsupported`: a server older than the jobs routes. */
export type JobAnswer =
  | { readonly kind: 'job'; readonly job: Readonly<Record<string, unknown>> }
  | { readonly kind: 'absent' | 'unsupported' }

export interface FileRef {
  readonly filename: string
  readonly subfolder: string
  readonly type: string
}

export interface ComfyClient {
  readonly url: string
  readonly key: string | undefined
  /** `ws://` or `wss://`, the path prefix and `/ws`. */
  readonly socketUrl: (clientId: string) => string
  /** The credential as header fields, for the WebSocket handshake. */
  readonly credential: Readonly<Record<string, string>>
  /** One exchange, any status; redirects are not followed. Throws in our words where no answer came. */
  request(method: string, path: string, options?: RequestOptions): Promise<OpenAnswer>
  /** As request, the body read: at most 1 MiB of it, within timeoutMs. Throws in our words where it is longer. */
  ask(method: string, path: string, options?: RequestOptions): Promise<ShortAnswer>
  /** As request, the body read as JSON; throws in our words at every status but 200. */
  getJson(path: string, options?: RequestOptions): Promise<unknown>
  postJson(path: string, body: unknown, options?: RequestOptions): Promise<string>
  systemStats(signal?: AbortSignal): Promise<unknown>
  promptInfo(signal?: AbortSignal): Promise<unknown>
  queue(signal?: AbortSignal): Promise<unknown>
  history(promptId: string, signal?: AbortSignal): Promise<HistoryEntry | undefined>
  job(promptId: string, signal?: AbortSignal): Promise<JobAnswer>
  /** POST /prompt with a whole body as JSON text; 200 and 400 come back, everything else throws. */
  submitPrompt(body: string, options?: RequestOptions): Promise<PromptAnswer>
  /** GET /view. The caller reads the body; 200 and 206 come back, everything else throws. */
  view(file: FileRef, options?: RequestOptions): Promise<OpenAnswer>
  /** Stops this prompt where it runs. Servers older than 0.3.50 or so ignore the id and stop whatever runs. */
  interrupt(promptId: string): Promise<void>
  /** POST /api/jobs/{id}/cancel; `unsupported` by servers older than the jobs routes. */
  cancelJob(promptId: string): Promise<'cancelled' | 'not-there' | 'unsupported'>
  /** GET /health without the key: the guide's answer, or undefined where the server has no such route. */
  health(signal?: AbortSignal): Promise<Readonly<Record<string, unknown>> | undefined>
  close(): Promise<void>
}

/** More than any answer that is read whole (object_info is 1.6 MB; a history entry may hold many prompts). */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024

/** More than /system_stats, /health and /prompt say, and any error. */
const MAX_SHORT_BYTES = 1024 * 1024

/** A body may take so many times as long as an answer's head. */
const BODY_TIMES = 10

interface Limits {
  readonly bytes: number
  readonly ms: number
}

async function readText(answer: OpenAnswer, limits: Limits): Promise<string> {
  const parts: Buffer[] = []
  let length = 0
  const late = Object.assign(new Error('the body does not end'), { code: 'UND_ERR_BODY_TIMEOUT' })
  const timer = setTimeout(() => answer.body.destroy(late), limits.ms)
  try {
    for await (const part of answer.body as AsyncIterable<Buffer>) {
      parts.push(part)
      length += part.length
      if (length > limits.bytes) throw Object.assign(new Error('too long'), { code: TOO_LONG }) // ends the stream
    }
  } finally {
    clearTimeout(timer)
  }
  return Buffer.concat(parts).toString('utf8')
}

function one(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}

function told({ status, headers }: OpenAnswer, body: string): ShortAnswer {
  return { status, body, location: one(headers.location), retryAfter: one(headers['retry-after']) }
}

function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `/view`'s query. */
export function viewPath(file: FileRef): string {
  return `/view?${new URLSearchParams({ filename: file.filename, subfolder: file.subfolder, type: file.type })}`
}

/** A ComfyUI behind `url`, with or without our proxy before it. No request leaves before it is used; close() when done. */
export function createClient(options: ClientOptions): ComfyClient {
  const url = parseServerUrl(options.url)
  const key = options.key
  const timeoutMs = options.timeoutMs ?? 30_000
  const asked = { url, key }
  const { origin, pathname } = new URL(url)
  const prefix = pathname === '/' ? '' : pathname
  const credential: Readonly<Record<string, string>> = key === undefined ? {} : { authorization: `Bearer ${key}` }
  const timing = {
    connect: { timeout: Math.min(timeoutMs, 10_000) },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    keepAliveTimeout: 4_000,
  }
  const agent = new Agent({ ...timing, maxResponseSize: MAX_ANSWER_BYTES })
  const fileAgent = new Agent(timing)
  const short = { bytes: MAX_SHORT_BYTES, ms: timeoutMs }
  const long = { bytes: MAX_ANSWER_BYTES, ms: timeoutMs * BODY_TIMES }

  async function exchange(
    method: string,
    path: string,
    { body, headers, signal, withoutKey = false, isFile = false }: RequestOptions,
  ): Promise<OpenAnswer> {
    try {
      const answer = await (isFile ? fileAgent : agent).request({
        origin,
        path: prefix + path,
        method: method as Dispatcher.HttpMethod,
        headers: { accept: '*/*', ...(withoutKey ? {} : credential), ...headers },
        ...(body === undefined ? {} : { body: body as Readable }), // undici takes async iterables too; its types do not say so
        ...(signal ? { signal } : {}),
      })
      return { status: answer.statusCode, headers: answer.headers, body: answer.body }
    } catch (error) {
      throw transportError(error, asked)
    }
  }

  async function textOf(answer: OpenAnswer, limits: Limits = long): Promise<string> {
    try {
      return await readText(answer, limits)
    } catch (error) {
      throw transportError(error, asked)
    }
  }

  /** Passes `accepted` statuses, throws at every other. */
  async function expect(answer: OpenAnswer, accepted: readonly number[]): Promise<OpenAnswer> {
    if (accepted.includes(answer.status)) return answer
    throw statusError(asked, await shorten(answer).catch(() => told(answer, '')))
  }

  async function shorten(answer: OpenAnswer): Promise<ShortAnswer> {
    return told(answer, await textOf(answer, short))
  }

  function parse(text: string): unknown {
    try {
      return readAnswer(text)
    } catch {
      throw notComfy(asked, 'its answer is not JSON')
    }
  }

  async function request(method: string, path: string, requestOptions: RequestOptions = {}): Promise<OpenAnswer> {
    return exchange(method, path, requestOptions)
  }

  async function ask(method: string, path: string, requestOptions: RequestOptions = {}): Promise<ShortAnswer> {
    return shorten(await exchange(method, path, requestOptions))
  }

  async function getJson(path: string, requestOptions: RequestOptions = {}, limits = long): Promise<unknown> {
    return parse(await textOf(await expect(await exchange('GET', path, requestOptions), [200]), limits))
  }

  async function post(path: string, body: string, requestOptions: RequestOptions = {}): Promise<OpenAnswer> {
    const headers = { 'content-type': 'application/json', ...requestOptions.headers }
    return exchange('POST', path, { ...requestOptions, body, headers })
  }

  return {
    url,
    key,
    credential,
    request,
    ask,
    getJson: (path, requestOptions) => getJson(path, requestOptions),
    socketUrl: (clientId) => `${url.replace(/^http/, 'ws')}/ws?clientId=${encodeURIComponent(clientId)}`,
    postJson: async (path, body, requestOptions) =>
      textOf(await expect(await post(path, JSON.stringify(body), requestOptions), [200])),
    systemStats: (signal) => getJson('/system_stats', { signal }, short),
    promptInfo: (signal) => getJson('/prompt', { signal }, short),
    queue: (signal) => getJson('/queue', { signal }),
    history: async (promptId, signal) => {
      const answer = await getJson(`/history/${encodeURIComponent(promptId)}`, { signal })
      if (!isFields(answer)) throw notComfy(asked, 'its history is not an object')
      const entry = answer[promptId]
      return isFields(entry) ? entry : undefined
    },
    job: async (promptId, signal) => {
      const answer = await exchange('GET', `/api/jobs/${encodeURIComponent(promptId)}`, { signal })
      if (answer.status === 404 || answer.status === 405) {
        // the route's own 404 is JSON; a server without the route answers from its static files
        const text = await textOf(answer, short)
        return { kind: text.trimStart().startsWith('{') ? 'absent' : 'unsupported' }
      }
      const job = parse(await textOf(await expect(answer, [200])))
      return isFields(job) && job.id === promptId ? { kind: 'job', job } : { kind: 'unsupported' }
    },
    submitPrompt: async (body, requestOptions) => {
      const answer = await expect(await post('/prompt', body, requestOptions), [200, 400])
      return { status: answer.status, answer: parse(await textOf(answer)) }
    },
    view: async (file, requestOptions = {}) =>
      expect(await exchange('GET', viewPath(file), { ...requestOptions, isFile: true }), [200, 206]),
    interrupt: async (promptId) => {
      await textOf(await expect(await post('/interrupt', JSON.stringify({ prompt_id: promptId })), [200]))
    },
    cancelJob: async (promptId) => {
      const answer = await post(`/api/jobs/${encodeURIComponent(promptId)}/cancel`, '{}')
      if (answer.status === 404 || answer.status === 405) {
        await textOf(answer, short)
        return 'unsupported'
      }
      const said = parse(await textOf(await expect(answer, [200])))
      return isFields(said) && said.cancelled === true ? 'cancelled' : 'not-there'
    },
    health: async (signal) => {
      const answer = await exchange('GET', '/health', { signal, withoutKey: true })
      const text = await textOf(answer, short)
      try {
        const body = readAnswer(text)
        return isFields(body) && typeof body.status === 'string' && 'queue' in body ? body : undefined
      } catch {
        return undefined
      }
    },
    close: async () => {
      await Promise.all([agent.destroy(), fileAgent.destroy()])
    },
  }
}
