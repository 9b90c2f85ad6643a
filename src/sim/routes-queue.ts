import { randomUUID } from 'node:crypto'
import { bodyJson, header } from './call.ts'
import { isJobId, jobOf, listJobs } from './jobs.ts'
import { asNumber, type Json, JsonError, type JsonMap, PyFloat, pyRepr, truthy, type Writable } from './json.ts'
import { type QueueItem, tuple } from './queue.ts'
import { empty, json, type Reply } from './reply.ts'
import type { Route } from './router.ts'
import { validatePrompt } from './validate.ts'
import type { World } from './world.ts'

const SECRETS = ['auth_token_comfy_org', 'api_key_comfy_org']

function refusal(type: string, message: string, details: string): Reply {
  return json({ error: { type, message, details, extra_info: {} }, node_errors: {} }, 400)
}

/** Python's `in`: a list and a string can be asked, a number cannot. */
function member(body: Json, name: string): Json | undefined {
  if (body instanceof Map) return body.get(name)
  if (Array.isArray(body) || typeof body === 'string') return undefined
  throw new TypeError('argument is not iterable')
}

function dictionary(value: Json): JsonMap {
  if (!(value instanceof Map)) throw new TypeError('not a dictionary')
  return value
}

/** What a `for` over the value would give. */
function each(value: Json): Json[] {
  if (Array.isArray(value)) return value
  if (typeof value === 'string') return [...value]
  return [...dictionary(value).keys()]
}

/** POST /prompt, /queue, /history, /interrupt, and the jobs that show the same from another side. */
export function queueRoutes(world: World): Route[] {
  const { queue, execution } = world
  let nextNumber = 0

  function placeOf(body: Json): number | PyFloat {
    const given = member(body, 'number')
    if (given !== undefined) {
      const value =
        asNumber(given) ?? (typeof given === 'boolean' || typeof given === 'string' ? Number(given) : undefined)
      if (value === undefined || (typeof given === 'string' && Number.isNaN(value))) throw new TypeError('not a number')
      return new PyFloat(value)
    }
    const number = nextNumber++
    return truthy(member(body, 'front')) ? -number : number
  }

  const postPrompt: Route['handler'] = async (call) => {
    world.console.line('got prompt')
    const body = await bodyJson(call)
    const number = placeOf(body)
    const given = member(body, 'prompt')
    if (given === undefined) return refusal('no_prompt', 'No prompt provided', 'No prompt provided')
    const wanted = member(body, 'prompt_id')
    if (wanted !== undefined && wanted !== null && !isJobId(wanted)) {
      const details =
        'prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let the server generate one'
      return refusal('invalid_prompt_id', 'prompt_id must be a valid UUID', details)
    }
    const id = typeof wanted === 'string' ? wanted : randomUUID()
    const prompt = dictionary(given)
    const verdict = validatePrompt(prompt, member(body, 'partial_execution_targets'), world.nodes, world.folders)
    const extra = dictionary(member(body, 'extra_data') ?? new Map())
    const client = member(body, 'client_id')
    if (client !== undefined) extra.set('client_id', client)
    const source = header(call, 'comfy-usage-source')
    if (source && !extra.has('comfy_usage_source')) extra.set('comfy_usage_source', source)
    if (verdict.error !== undefined) {
      return json({ error: verdict.error, node_errors: verdict.nodeErrors }, 400)
    }
    for (const secret of SECRETS) extra.delete(secret)
    extra.set('create_time', world.nowMs())
    queue.put({ number, id, prompt, extra, outputs: verdict.outputs })
    execution.wake()
    return json({ prompt_id: id, number, node_errors: verdict.nodeErrors })
  }

  const interrupt: Route['handler'] = async (call) => {
    let body: Json
    try {
      body = await bodyJson(call)
    } catch (error) {
      if (!(error instanceof JsonError)) throw error
      body = new Map()
    }
    // The trap: an absent, null, empty or zero id stops whatever runs.
    const id = dictionary(body).get('prompt_id')
    if (!truthy(id) || queue.running?.id === id) execution.interrupt()
    return empty()
  }

  function cancel(id: string): boolean {
    if (queue.running?.id === id) {
      execution.interrupt()
      return true
    }
    return queue.remove(id)
  }

  const cancelMany: Route['handler'] = async (call) => {
    let body: Json
    try {
      body = await bodyJson(call)
    } catch (error) {
      if (!(error instanceof JsonError)) throw error
      return json({ error: 'Request body must be valid JSON' }, 400)
    }
    const ids = body instanceof Map ? body.get('job_ids') : undefined
    if (!Array.isArray(ids)) return json({ error: 'job_ids must be a list' }, 400)
    const invalid = ids.filter((id) => !isJobId(id)).map((id) => (typeof id === 'string' ? id : pyRepr(id)))
    if (invalid.length > 0) return json({ error: 'job_ids contains invalid id(s)', invalid_ids: invalid }, 400)
    return json({ cancelled: ids.filter((id) => cancel(id as string)).length > 0 })
  }

  const changeQueue: Route['handler'] = async (call) => {
    const body = await bodyJson(call)
    if (truthy(member(body, 'clear'))) queue.clear()
    const ids = member(body, 'delete')
    if (ids !== undefined) for (const id of each(ids)) queue.remove(id)
    return empty()
  }

  const changeHistory: Route['handler'] = async (call) => {
    const body = await bodyJson(call)
    if (truthy(member(body, 'clear'))) queue.history.clear()
    const ids = member(body, 'delete')
    if (ids !== undefined) for (const id of each(ids)) if (typeof id === 'string') queue.history.delete(id)
    return empty()
  }

  const history: Route['handler'] = ({ target: { query } }) => {
    const read = (name: string) => {
      const text = query.get(name)
      if (text === null) return undefined
      if (!/^\s*[-+]?\d+\s*$/.test(text)) throw new TypeError('invalid literal for int()')
      return Number(text)
    }
    return json(queue.list(read('max_items'), read('offset') ?? -1) as unknown as Writable)
  }

  const rows = (items: readonly QueueItem[]) => items.map(tuple)
  return [
    { method: 'GET', path: '/prompt', handler: () => json({ exec_info: { queue_remaining: queue.remaining } }) },
    { method: 'POST', path: '/prompt', handler: postPrompt },
    {
      method: 'GET',
      path: '/queue',
      handler: () =>
        json({ queue_running: rows(queue.running ? [queue.running] : []), queue_pending: rows(queue.pending) }),
    },
    { method: 'POST', path: '/queue', handler: changeQueue },
    { method: 'GET', path: '/history', handler: history },
    { method: 'POST', path: '/history', handler: changeHistory },
    {
      method: 'GET',
      path: '/history/{id}',
      handler: (_, [id = '']) =>
        json(new Map(queue.history.has(id) ? [[id, queue.history.get(id) as unknown as Writable]] : [])),
    },
    { method: 'POST', path: '/interrupt', handler: interrupt },
    {
      method: 'POST',
      path: '/free',
      handler: async (call) => {
        const body = dictionary(await bodyJson(call))
        if (truthy(body.get('free_memory'))) execution.forget()
        return empty()
      },
    },
    {
      method: 'GET',
      path: '/api/jobs',
      handler: ({ target }) => {
        const list = listJobs(queue, target.query)
        return list.ok ? json(list.value) : json({ error: list.error }, 400)
      },
    },
    { method: 'POST', path: '/api/jobs/cancel', handler: cancelMany },
    {
      method: 'GET',
      path: '/api/jobs/{id}',
      handler: (_, [id = '']) => {
        const job = jobOf(queue, id)
        return job ? json(job) : json({ error: 'Job not found' }, 404)
      },
    },
    { method: 'POST', path: '/api/jobs/{id}/cancel', handler: (_, [id = '']) => json({ cancelled: cancel(id) }) },
  ]
}
