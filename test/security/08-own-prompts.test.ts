import { randomUUID } from 'node:crypto'
import { request } from 'node:http'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createKey, revokeKey } from '../../src/keys/lifecycle.ts'
import { createProxy } from '../../src/proxy/proxy.ts'
import { temporaryFolder } from '../support/cli.ts'
import { closing } from '../support/closers.ts'
import { type Door, openDoor } from '../support/door.ts'

/** What waits behind LONG. */
const PROMPT = {
  '1': { class_type: 'EmptyImage', inputs: { width: 16, height: 16, batch_size: 1, color: 0 } },
  '2': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
}
/** Long enough to be met while it runs, and it hears an interrupt at each step. */
const LONG = {
  '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'v1-5-pruned-emaonly-fp16.safetensors' } },
  '2': { class_type: 'EmptyLatentImage', inputs: { width: 64, height: 64, batch_size: 1 } },
  '3': { class_type: 'CLIPTextEncode', inputs: { text: 'a hill', clip: ['1', 1] } },
  '4': {
    class_type: 'KSampler',
    inputs: {
      seed: 1,
      steps: 10_000,
      cfg: 8,
      sampler_name: 'euler',
      scheduler: 'normal',
      denoise: 1,
      model: ['1', 0],
      positive: ['3', 0],
      negative: ['3', 0],
      latent_image: ['2', 0],
    },
  },
  '5': { class_type: 'VAEDecode', inputs: { samples: ['4', 0], vae: ['1', 2] } },
  '6': { class_type: 'PreviewImage', inputs: { images: ['5', 0] } },
}

let door: Door
let other: string

beforeAll(async () => {
  door = await openDoor({}, { stepMs: 5 })
  other = (await createKey({ label: 'another user', role: 'user', keyring: door.keyring })).key
  await door.keys.live.reload()
})
afterAll(() => door.close())

const bearer = (key: string) => ({ Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' })

async function post(path: string, key: string, body: unknown) {
  return door.ask('POST', path, { headers: bearer(key), body: JSON.stringify(body) })
}

async function submit(key: string, prompt: object, id: string = randomUUID()): Promise<string> {
  const { status, body } = await post('/prompt', key, { prompt, prompt_id: id })
  expect(status, body).toBe(200)
  return (JSON.parse(body) as { prompt_id: string }).prompt_id
}

/** The ids that run and wait, as ComfyUI itself says. */
async function queue(): Promise<{ running: unknown[]; waiting: unknown[] }> {
  const { queue_running, queue_pending } = (await (await fetch(`${door.sim.url}/queue`)).json()) as Record<
    string,
    unknown[][]
  >
  return { running: queue_running!.map((item) => item[1]), waiting: queue_pending!.map((item) => item[1]) }
}

async function until(done: () => Promise<boolean>): Promise<void> {
  while (!(await done())) await new Promise((resolve) => setTimeout(resolve, 5))
}

const runs = (id: string) => until(async () => (await queue()).running.includes(id))

/** Empties ComfyUI past the proxy. */
async function empty(): Promise<void> {
  door.sim.setFaults({})
  await fetch(`${door.sim.url}/queue`, { method: 'POST', body: '{"clear":true}' })
  await fetch(`${door.sim.url}/interrupt`, { method: 'POST' })
  await until(async () => (await queue()).running.length === 0)
}

type Stop = readonly [name: string, path: (id: string) => string, body: (id: string) => unknown]

const withTwins = (rows: readonly Stop[]): Stop[] =>
  rows.flatMap(([name, path, body]) => [
    [name, path, body],
    [`/api${name}`, (id) => `/api${path(id)}`, body],
  ])

const JOB: Stop = ['/api/jobs/ID/cancel', (id) => `/api/jobs/${id}/cancel`, () => ({})]
const JOBS: Stop = ['/api/jobs/cancel', () => '/api/jobs/cancel', (id) => ({ job_ids: [id] })]
/** Each door by which ComfyUI stops what runs, and what waits. */
const STOPS_RUNNING = withTwins([['/interrupt', () => '/interrupt', (id) => ({ prompt_id: id })], JOB, JOBS])
const STOPS_WAITING = withTwins([['/queue', () => '/queue', (id) => ({ delete: [id] })], JOB, JOBS])
const STOPS = [...STOPS_RUNNING, ...STOPS_WAITING.slice(0, 2)]

describe('a user stops its own prompts and nobody else’s', () => {
  afterEach(empty)

  test.each(STOPS_RUNNING)('that run, by %s', async (_name, path, body) => {
    const id = await submit(door.keys.user, LONG)
    await runs(id)
    door.sim.clearRequests()
    const refused = await post(path(id), other, body(id))
    expect(refused.status).toBe(403)
    expect(door.sim.requests).toEqual([])
    expect((await queue()).running).toEqual([id])
    expect((await post(path(id), door.keys.user, body(id))).status).toBe(200)
    await until(async () => (await queue()).running.length === 0)
  })

  test.each(STOPS_WAITING)('that wait, by %s', async (_name, path, body) => {
    const first = await submit(other, LONG)
    await runs(first)
    const [own, others] = [await submit(door.keys.user, PROMPT), await submit(other, PROMPT)]
    door.sim.clearRequests()
    expect((await post(path(others), door.keys.user, body(others))).status).toBe(403)
    expect(door.sim.requests).toEqual([])
    expect((await post(path(own), door.keys.user, body(own))).status).toBe(200)
    expect(await queue()).toEqual({ running: [first], waiting: [others] })
  })

  test.each(STOPS)('not with an empty id or none, by %s', async (_name, path, body) => {
    const id = await submit(door.keys.user, LONG)
    await runs(id)
    door.sim.clearRequests()
    // The bodies by which ComfyUI stops whatever runs
    for (const empties of ['', '{}', '{"prompt_id":""}', '{"prompt_id":null}', '{"prompt_id":0}', '{"clear":true}']) {
      await door.ask('POST', path('').replace('//', '/'), { headers: bearer(door.keys.user), body: empties })
    }
    await post(path(''), door.keys.user, body(''))
    expect(door.sim.requests).toEqual([])
    expect((await queue()).running).toEqual([id])
  })

  test.each(STOPS)('a viewer none, by %s', async (_name, path, body) => {
    const id = await submit(door.keys.user, LONG)
    await runs(id)
    door.sim.clearRequests()
    expect((await post(path(id), door.keys.viewer, body(id))).status).toBe(403)
    expect(door.sim.requests).toEqual([])
  })

  test('by a session of its key as by the key itself, and by no other session', async () => {
    const id = await submit(door.keys.user, LONG)
    await runs(id)
    door.sim.clearRequests()
    const stop = async (cookie: string) => {
      const headers = { Cookie: cookie, Origin: `http://127.0.0.1:${door.port}`, 'Content-Type': 'application/json' }
      return (await door.ask('POST', '/api/interrupt', { headers, body: JSON.stringify({ prompt_id: id }) })).status
    }
    expect(await stop(await door.logIn(other))).toBe(403)
    expect(door.sim.requests).toEqual([])
    expect(await stop(await door.logIn(door.keys.user))).toBe(200)
    await until(async () => (await queue()).running.length === 0)
  })

  test('an admin stops any', async () => {
    const id = await submit(door.keys.user, LONG)
    await runs(id)
    expect((await post('/interrupt', door.keys.admin, { prompt_id: id })).status).toBe(200)
    await until(async () => (await queue()).running.length === 0)
  })

  test('a batch that names one of another stops none', async () => {
    const running = await submit(other, LONG)
    await runs(running)
    const own = await submit(door.keys.user, PROMPT)
    door.sim.clearRequests()
    expect((await post('/api/jobs/cancel', door.keys.user, { job_ids: [own, running] })).status).toBe(403)
    expect((await post('/queue', door.keys.user, { delete: [own, running] })).status).toBe(403)
    expect(door.sim.requests).toEqual([])
    expect(await queue()).toEqual({ running: [running], waiting: [own] })
  })

  test('a prompt_id used again by another key gives nothing, while it waits, while it runs and after', async () => {
    const id = await submit(door.keys.user, LONG)
    await runs(id)
    await submit(other, LONG, id)
    door.sim.clearRequests()
    for (const [, path, body] of STOPS) expect((await post(path(id), other, body(id))).status).toBe(403)
    expect(door.sim.requests).toEqual([])
    await empty()
    await submit(other, LONG, id)
    await runs(id)
    expect((await post('/interrupt', other, { prompt_id: id })).status).toBe(403)
  })

  test('an id that was a key’s own is nobody’s once another key’s prompt has it', async () => {
    const id = await submit(other, LONG)
    await runs(id)
    expect((await post('/interrupt', other, { prompt_id: id })).status).toBe(200)
    await empty()
    await fetch(`${door.sim.url}/history`, { method: 'POST', body: '{"clear":true}' })
    for (const poster of [door.keys.admin, other]) {
      await submit(poster, LONG, id)
      await runs(id)
      door.sim.clearRequests()
      for (const [, path, body] of STOPS) expect((await post(path(id), other, body(id))).status).toBe(403)
      expect(door.sim.requests).toEqual([])
      await empty()
    }
  })

  test('an id posted again by its own key stays that key’s', async () => {
    const id = await submit(other, LONG)
    await runs(id)
    await empty()
    await submit(other, LONG, id)
    await runs(id)
    expect((await post('/interrupt', other, { prompt_id: id })).status).toBe(200)
  })

  test('an id that two keys use in the same moment is one’s at most', async () => {
    const first = await submit(door.keys.admin, LONG)
    await runs(first)
    const id = randomUUID()
    await Promise.all([submit(door.keys.user, PROMPT, id), submit(other, PROMPT, id)])
    const stopped = await Promise.all(
      [door.keys.user, other].map(async (key) => (await post('/queue', key, { delete: [id] })).status),
    )
    expect(stopped.filter((status) => status === 200).length).toBeLessThanOrEqual(1)
  })
})

test('whose a prompt is holds over a restart of the proxy', async () => {
  const { sim, keys } = door
  const serveDb = join(temporaryFolder(), 'serve.db')
  const start = () =>
    createProxy({ upstream: sim.url, listen: '127.0.0.1', port: 0, keys: keys.live, serveDb, drainMs: 0 })
  const to = async (proxy: { url: string }, path: string, key: string, body: object) =>
    fetch(`${proxy.url}${path}`, { method: 'POST', headers: bearer(key), body: JSON.stringify(body) })

  const before = await start()
  const { prompt_id: id } = (await (await to(before, '/prompt', keys.user, { prompt: LONG })).json()) as {
    prompt_id: string
  }
  await runs(id)
  await before.close()
  const after = closing(await start())
  expect((await to(after, '/interrupt', other, { prompt_id: id })).status).toBe(403)
  expect((await queue()).running).toEqual([id])
  expect((await to(after, '/interrupt', keys.user, { prompt_id: id })).status).toBe(200)
  await until(async () => (await queue()).running.length === 0)
})

describe('a key that is revoked while its body arrives', () => {
  beforeEach(empty)

  test('stops nothing, and ComfyUI never hears of it', async () => {
    const made = await createKey({ label: 'slow', role: 'user', keyring: door.keyring })
    await door.keys.live.reload()
    const id = await submit(made.key, LONG)
    await runs(id)
    door.sim.clearRequests()
    const body = JSON.stringify({ prompt_id: id })
    const sent = request({
      host: '127.0.0.1',
      port: door.port,
      method: 'POST',
      path: '/interrupt',
      headers: { ...bearer(made.key), 'Content-Length': body.length, Expect: '100-continue' },
    })
    const status = new Promise<number>((resolve) => sent.once('response', (answer) => resolve(answer.statusCode!)))
    sent.flushHeaders()
    await new Promise((resolve) => sent.once('continue', resolve)) // the head is judged, the body asked for
    await revokeKey(door.keyring, 'slow')
    await door.keys.live.reload()
    sent.end(body)
    expect(await status).toBe(401)
    expect(door.sim.requests).toEqual([])
    await empty()
  })
})
