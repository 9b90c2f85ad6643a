import { randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { type ComfyClient, createClient } from '../../src/comfy/client.ts'
import { lookupPrompt, type RunEvent, runPrompt } from '../../src/comfy/run-prompt.ts'
import { readWorkflow } from '../../src/comfy/workflow.ts'
import { temporaryFolder } from '../support/cli.ts'
import { closing } from '../support/closers.ts'
import { type Fake, type Route, startFake } from './fake.ts'

const workflow = readWorkflow(
  '{"1": {"class_type": "EmptyImage", "inputs": {"width": 64}}, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}, "_meta": {"title": "Keep"}}}',
)
const images = { images: [{ filename: 'a_00001_.png', subfolder: '', type: 'output' }] }

let dir: string
let fake: Fake
let client: ComfyClient
let events: RunEvent[]

beforeEach(() => {
  dir = temporaryFolder()
  events = []
})

async function start(routes: Readonly<Record<string, Route>>, options?: { refuseSockets?: number }): Promise<void> {
  fake = closing(await startFake(routes, options))
  client = closing(createClient({ url: fake.url, key: 'k'.repeat(20) }))
}

function run(more: Partial<Parameters<typeof runPrompt>[0]> = {}): ReturnType<typeof runPrompt> {
  return runPrompt({
    client,
    prompt: workflow,
    outputDir: dir,
    onEvent: (event) => events.push(event),
    pollMs: 90,
    ...more,
  })
}

const successEntry = { outputs: { '2': images }, status: { status_str: 'success', completed: true, messages: [] } }

/** A server of today: jobs routes, own prompt ids. `state` says where the prompt is. */
function server(state: {
  where: 'pending' | 'in_progress' | 'completed' | 'gone'
  entry?: unknown
}): Record<string, Route> {
  return {
    'POST /prompt': (_request, body) => {
      const { prompt_id } = JSON.parse(body)
      return { prompt_id, number: 1, node_errors: {} }
    },
    'GET /api/jobs/': (request, _body, response) => {
      if (state.where !== 'gone') return { id: request.url!.split('/').at(-1), status: state.where }
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"error": "Job not found"}')
      return undefined
    },
    'GET /queue': () => ({
      queue_running: [[1, 'other', {}, {}, []]],
      queue_pending: [
        [9, 'later', {}, {}, []],
        [5, 'mine', {}, {}, []],
      ],
    }),
    'GET /history/': (request) =>
      state.where === 'completed' ? { [request.url!.split('/').at(-1)!]: state.entry ?? successEntry } : {},
    'GET /view': () => 'PICTURE',
  }
}

describe('a run', () => {
  test('goes from the POST to a file on disk, with progress from the socket', async () => {
    const state: { where: 'in_progress' | 'completed' } = { where: 'in_progress' }
    let id = ''
    await start({
      ...server(state),
      'POST /prompt': (_request, body) => {
        const { prompt_id, client_id } = JSON.parse(body)
        id = prompt_id
        expect(fake.requests[0]).toBe(`UPGRADE /ws?clientId=${client_id}`)
        fake.send(
          { type: 'execution_start', data: { prompt_id, timestamp: 1 } },
          { type: 'execution_cached', data: { prompt_id, nodes: ['1'] } },
          { type: 'executing', data: { prompt_id, node: '2', display_node: '2' } },
          { type: 'progress', data: { prompt_id, node: '2', value: 1, max: 2 } },
        )
        setTimeout(() => {
          fake.send({ type: 'execution_success', data: { prompt_id } })
          setTimeout(() => {
            state.where = 'completed'
          }, 150) // the moment between execution_success and the history entry
        }, 20)
        return { prompt_id, number: 1, node_errors: {} }
      },
    })
    const result = await run({ pollMs: 60_000 })
    expect(result).toMatchObject({
      promptId: id,
      status: 'success',
      outputs: [{ node: '2', path: join(dir, 'a_00001_.png') }],
    })
    expect(await readFile(join(dir, 'a_00001_.png'), 'utf8')).toBe('PICTURE')
    expect(await readdir(dir)).toEqual(['a_00001_.png'])
    expect(events.map(({ type }) => type).filter((type) => type !== 'connection' && type !== 'downloading')).toEqual([
      'submitted',
      'started',
      'cached',
      'node',
      'progress',
      'output',
    ])
    expect(events).toContainEqual({
      type: 'progress',
      node: '2',
      title: '2 "Keep" (SaveImage)',
      value: 1,
      max: 2,
      fraction: 0.75,
    })
    for (const head of fake.heads) expect(head.headers.authorization).toBe(`Bearer ${'k'.repeat(20)}`)
  })

  test('ends by the poll alone where the socket is refused', async () => {
    const state: { where: 'in_progress' | 'completed' } = { where: 'in_progress' }
    await start(server(state), { refuseSockets: 403 })
    const done = run()
    await expect.poll(() => events).toContainEqual({ type: 'started' })
    state.where = 'completed'
    expect((await done).outputs).toHaveLength(1)
    expect(events).toContainEqual({ type: 'connection', state: 'polling' })
    expect(fake.requests.filter((request) => request.startsWith('UPGRADE'))).toHaveLength(1)
  })

  test('goes on after the socket was cut: it is dialled again under the same clientId', async () => {
    const state: { where: 'in_progress' | 'completed' } = { where: 'in_progress' }
    await start(server(state))
    const done = run()
    await expect.poll(() => fake.sockets.size).toBe(1)
    for (const socket of fake.sockets) socket.terminate()
    await expect
      .poll(() => fake.requests.filter((request) => request.startsWith('UPGRADE')).length, { timeout: 3_000 })
      .toBe(2)
    state.where = 'completed'
    await done
    expect(new Set(fake.requests.filter((request) => request.startsWith('UPGRADE'))).size).toBe(1)
  })

  test('works with a server that has no jobs routes and chooses the prompt_id itself', async () => {
    let where: 'pending' | 'running' | 'done' = 'pending'
    await start({
      'POST /prompt': () => ({ prompt_id: 'mine', number: 1 }),
      'GET /queue': () => ({
        queue_running: [[1, where === 'running' ? 'mine' : 'other', {}, {}, []]],
        queue_pending: where === 'pending' ? [[5, 'mine', {}, {}, []]] : [],
      }),
      'GET /history/': () => (where === 'done' ? { mine: { outputs: { '2': images } } } : {}), // and keeps no status
      'GET /view': () => 'PICTURE',
    })
    const done = run()
    await expect.poll(() => events).toContainEqual({ type: 'queued', ahead: 1 })
    where = 'running'
    await expect.poll(() => events).toContainEqual({ type: 'started' })
    where = 'done'
    expect(await done).toMatchObject({ promptId: 'mine', outputs: [{ path: join(dir, 'a_00001_.png') }] })
    expect(await lookupPrompt(client, 'another')).toEqual({ state: 'absent' })
  })

  test('says that it cannot be known where the server has forgotten the prompt', async () => {
    await start(server({ where: 'gone' }))
    const error = await run().catch((thrown) => thrown)
    expect(error).toMatchObject({ kind: 'failed', message: expect.stringContaining('cannot be known') })
  })

  test('a failure names the node by its title, without the traceback', async () => {
    const data = {
      prompt_id: 'x',
      node_id: '2',
      node_type: 'SaveImage',
      exception_message: 'disk \u001b[31mfull\n',
      exception_type: 'OSError',
      traceback: ['File "/srv/secret"'],
    }
    await start(
      server({
        where: 'completed',
        entry: {
          outputs: {},
          status: { status_str: 'error', completed: false, messages: [['execution_error', data]] },
        },
      }),
    )
    const error = await run().catch((thrown) => thrown)
    expect(error).toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('failed at node 2 "Keep" (SaveImage): disk  [31mfull'),
    })
    expect(error.message).not.toContain('/srv')
  })

  test('one that is stopped on the server is a failure that says so', async () => {
    const entry = {
      outputs: {},
      status: { status_str: 'error', completed: false, messages: [['execution_interrupted', { node_id: '1' }]] },
    }
    await start(server({ where: 'completed', entry }))
    await expect(run()).rejects.toMatchObject({
      kind: 'failed',
      message: expect.stringContaining('was stopped on the server, at node 1 (EmptyImage)'),
    })
  })

  test('its time is over while it waits: kind timeout, and the message has the id', async () => {
    await start(server({ where: 'in_progress' }))
    const promptId = randomUUID()
    await expect(run({ timeoutMs: 150, promptId })).rejects.toMatchObject({
      kind: 'timeout',
      message: expect.stringContaining(promptId),
    })
  })

  test('its time is over while the server hangs in an answer', async () => {
    await start({
      ...server({ where: 'in_progress' }),
      'GET /api/jobs/': (_request, _body, response) => void response.write(' '),
    })
    await expect(run({ timeoutMs: 150 })).rejects.toMatchObject({ kind: 'timeout' })
  })

  test('an abort stops following and sends nothing more', async () => {
    await start(server({ where: 'in_progress' }))
    const abort = new AbortController()
    const done = run({ signal: abort.signal })
    await expect.poll(() => events.some(({ type }) => type === 'started')).toBe(true)
    abort.abort()
    await expect(done).rejects.toMatchObject({ kind: 'interrupted' })
    expect(fake.requests.filter((request) => request.startsWith('POST'))).toEqual(['POST /prompt'])
  })

  test('a key that dies on the way ends it at once', async () => {
    const reject: Route = (_request, _body, response) => void (response as ServerResponse).writeHead(401).end('{}')
    await start({ ...server({ where: 'in_progress' }), 'GET /api/jobs/': reject })
    await expect(run()).rejects.toMatchObject({ kind: 'unauthorised' })
  })

  test('an output folder that cannot be made is said before anything is sent', async () => {
    await start(server({ where: 'completed' }))
    await expect(run({ outputDir: join(import.meta.filename, 'x') })).rejects.toMatchObject({ kind: 'usage' })
    expect(fake.requests).toEqual([])
  })

  test('it waits in the queue: how many come before it is told once', async () => {
    const state: { where: 'pending' | 'completed' } = { where: 'pending' }
    await start({ ...server(state), 'POST /prompt': () => ({ prompt_id: 'mine', number: 5, node_errors: {} }) })
    const done = run()
    const looks = (): number => fake.requests.filter((request) => request === 'GET /queue').length
    await expect.poll(looks).toBeGreaterThan(2)
    state.where = 'completed'
    await done
    expect(events.filter(({ type }) => type === 'queued')).toEqual([{ type: 'queued', ahead: 1 }])
  })
})

describe('pictures over the socket', () => {
  test("SaveImageWebsocket's frames are outputs; another node's are previews", async () => {
    const state: { where: 'in_progress' | 'completed' } = { where: 'in_progress' }
    const frame = (text: string) => Buffer.concat([Buffer.from([0, 0, 0, 1, 0, 0, 0, 2]), Buffer.from(text)])
    await start({
      ...server(state),
      'POST /prompt': (_request, body) => {
        const { prompt_id } = JSON.parse(body)
        fake.send(
          frame('not ours'),
          { type: 'executing', data: { prompt_id, node: '1' } },
          frame('preview'),
          { type: 'executing', data: { prompt_id, node: '2' } },
          frame('PNG 1'),
          { type: 'execution_success', data: { prompt_id } },
          { type: 'executing', data: { prompt_id, node: null } },
          frame('not ours either'),
        )
        setTimeout(() => {
          state.where = 'completed'
        }, 100)
        return { prompt_id, number: 1, node_errors: {} }
      },
    })
    state.where = 'in_progress'
    const prompt = readWorkflow(
      '{"1": {"class_type": "KSampler", "inputs": {}}, "2": {"class_type": "SaveImageWebsocket", "inputs": {}}}',
    )
    const { outputs } = await run({ prompt })
    expect(outputs.map(({ filename }) => filename)).toEqual(['a_00001_.png', 'node_2_00001.png'])
    expect(await readFile(join(dir, 'node_2_00001.png'), 'utf8')).toBe('PNG 1')
    expect(events.filter(({ type }) => type === 'preview')).toEqual([
      { type: 'preview', node: '1', mime: 'image/png', image: Buffer.from('preview') },
    ])
  })
})
