import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { decodePng, encodePng, pngTexts } from '../../src/sim/png.ts'
import { createSim, type Sim, type SimOptions } from '../../src/sim/sim.ts'
import { closing } from '../support/closers.ts'
import { listen } from './support/sessions.ts'

const example = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../examples/${name}.json`, import.meta.url), 'utf8')) as Record<
    string,
    { inputs: Record<string, unknown> }
  >

async function start(options: SimOptions = {}): Promise<Sim> {
  return closing(await createSim({ stepMs: 0, indexHtml: '<p>page</p>', ...options }))
}

interface Ended {
  readonly outputs: Record<string, { images?: { filename: string; subfolder: string; type: string }[] }>
  readonly status: { status_str: string; messages: [string, Record<string, unknown>][] }
}

async function submit(sim: Sim, prompt: unknown, extra: object = {}): Promise<string> {
  const response = await fetch(`${sim.url}/prompt`, {
    method: 'POST',
    body: JSON.stringify({ prompt, client_id: 'me', ...extra }),
  })
  expect(response.status).toBe(200)
  return ((await response.json()) as { prompt_id: string }).prompt_id
}

/** Submits and waits for the end over the socket, as a client does. */
async function run(sim: Sim, prompt: unknown, extra: object = {}): Promise<Ended> {
  const heard = await listen(sim, 'me')
  const id = await submit(sim, prompt, extra)
  await heard.until((frame) => frame.text?.includes(`"node": null, "prompt_id": "${id}"`) === true)
  heard.socket.terminate()
  return ((await (await fetch(`${sim.url}/history/${id}`)).json()) as Record<string, Ended>)[id] as Ended
}

async function imageOf(sim: Sim, ended: Ended): Promise<Buffer> {
  const image = Object.values(ended.outputs)[0]?.images?.[0]
  const response = await fetch(`${sim.url}/view?${new URLSearchParams({ ...image })}`)
  return Buffer.from(await response.arrayBuffer())
}

describe('the examples', () => {
  test('text-to-image makes a 512 x 512 PNG that carries its prompt and workflow, seed digit for digit', async () => {
    const sim = await start()
    const text = JSON.stringify(example('text-to-image'))
      .replace('20260824', '18446744073709551615')
      .replace('"steps":20', '"steps":2')
    const heard = await listen(sim, 'me')
    const body = `{"prompt":${text},"client_id":"me","extra_data":{"extra_pnginfo":{"workflow":{"id":"w"}}}}`
    const id = ((await (await fetch(`${sim.url}/prompt`, { method: 'POST', body })).json()) as { prompt_id: string })
      .prompt_id
    await heard.until((frame) => frame.text?.includes('"node": null') === true)
    heard.socket.terminate()
    const ended = ((await (await fetch(`${sim.url}/history/${id}`)).json()) as Record<string, Ended>)[id] as Ended
    const png = await imageOf(sim, ended)
    const { width, height } = decodePng(png)
    expect([width, height]).toEqual([512, 512])
    const texts = pngTexts(png)
    expect(texts.get('prompt')).toContain('"seed": 18446744073709551615')
    expect(texts.get('workflow')).toBe('{"id": "w"}')
    expect(heard.frames.filter((frame) => frame.text === undefined)).toHaveLength(2)
  })

  test('another prompt or seed makes another picture, the same makes the same', async () => {
    const sim = await start()
    const picture = async (text: string, seed: number) => {
      const prompt = example('text-to-image')
      Object.assign(prompt['3']?.inputs ?? {}, { seed, steps: 1 })
      Object.assign(prompt['5']?.inputs ?? {}, { width: 64, height: 64 })
      Object.assign(prompt['6']?.inputs ?? {}, { text })
      return Buffer.from(decodePng(await imageOf(sim, await run(sim, prompt))).data).toString('base64')
    }
    const first = await picture('a lake', 1)
    expect(await picture('a lake', 1)).toBe(first)
    expect(await picture('a lake', 2)).not.toBe(first)
    expect(await picture('a hill', 1)).not.toBe(first)
  })

  test('empty-image runs', async () => {
    const sim = await start()
    expect((await run(sim, example('empty-image'))).status.status_str).toBe('success')
  })
})

test('an uploaded picture is loaded, scaled and inverted', async () => {
  const sim = await start()
  const form = new FormData()
  form.set(
    'image',
    new Blob([
      new Uint8Array(encodePng({ width: 2, height: 1, channels: 3, data: Uint8Array.of(255, 0, 0, 0, 0, 255) })),
    ]),
    'dot.png',
  )
  await fetch(`${sim.url}/upload/image`, { method: 'POST', body: form })
  const ended = await run(sim, {
    1: { class_type: 'LoadImage', inputs: { image: 'dot.png' } },
    2: {
      class_type: 'ImageScale',
      inputs: { image: ['1', 0], upscale_method: 'nearest-exact', width: 4, height: 2, crop: 'disabled' },
    },
    3: { class_type: 'ImageInvert', inputs: { image: ['2', 0] } },
    4: { class_type: 'SaveImage', inputs: { images: ['3', 0], filename_prefix: 'deep/er' } },
  })
  const { width, height, data } = decodePng(await imageOf(sim, ended))
  expect([width, height, [...data.subarray(0, 3)], [...data.subarray(9, 12)]]).toEqual([
    4,
    2,
    [0, 255, 255],
    [255, 255, 0],
  ])
  expect(readFileSync(join(sim.folders.output, 'deep', 'er_00001_.png'))).toBeInstanceOf(Buffer)
})

describe('the log of requests', () => {
  test('holds method, target, headers and body as they arrived, and refused requests too', async () => {
    const sim = await start()
    await fetch(`${sim.url}/queue?a=%62`, { method: 'POST', body: '{"clear":true}', headers: { 'X-Some': 'Thing' } })
    await fetch(`${sim.url}/queue`, { headers: { 'Sec-Fetch-Site': 'cross-site', Origin: 'http://evil.example' } })
    await fetch(`${sim.url}/no/such`, { method: 'POST', body: 'unread' })
    const [first, second, third] = sim.requests
    expect(first).toMatchObject({
      method: 'POST',
      target: '/queue?a=%62',
      status: 200,
      upgrade: false,
      body: { bytes: 14, text: '{"clear":true}' },
    })
    expect(first?.headers).toContain('Thing')
    expect(second?.status).toBe(403)
    expect(third).toMatchObject({ status: 405, body: { text: 'unread' } })
    sim.clearRequests()
    expect(sim.requests).toHaveLength(0)
  })

  test('holds upgrades and bytes that are no HTTP', async () => {
    const sim = await start()
    const heard = await listen(sim, 'me')
    expect(sim.sockets()).toBe(1)
    heard.socket.terminate()
    await new Promise<void>((resolve) => {
      const socket = connect(sim.port, '127.0.0.1', () => socket.write('nonsense\r\n\r\n'))
      socket.resume().on('close', () => resolve())
    })
    expect(sim.requests[0]).toMatchObject({ method: 'GET', target: '/ws?clientId=me', upgrade: true, status: 101 })
    expect(sim.requests[1]).toMatchObject({ method: '', raw: 'nonsense\r\n\r\n', status: 400 })
  })

  test('drops the oldest once it is full', async () => {
    const sim = await start({ logLimit: 4 })
    for (let i = 0; i < 9; i++) await fetch(`${sim.url}/queue?${i}`)
    expect(sim.requests.at(-1)?.target).toBe('/queue?8')
    expect(sim.requests.length).toBeLessThanOrEqual(5)
  })

  test('shows each request of a pipeline, also behind an Upgrade that is none', async () => {
    const sim = await start()
    const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'
    const requests = [
      `POST /interrupt HTTP/1.1\r\nHost: a\r\n${upgrade}Content-Length: 2\r\n\r\n{}`,
      `GET /ws HTTP/1.1\r\nHost: a\r\n${upgrade}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bad\r\n\r\n`,
      'GET /queue HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    ].join('')
    await new Promise<void>((resolve) => {
      const socket = connect(sim.port, '127.0.0.1', () => socket.write(requests))
      socket.resume().on('close', () => resolve())
    })
    expect(sim.requests.map(({ method, target, status, body }) => [method, target, status, body.text])).toEqual([
      ['POST', '/interrupt', 200, '{}'],
      ['GET', '/ws', 400, undefined],
      ['GET', '/queue', 200, undefined],
    ])
    expect(sim.requests[0]?.headers).toContain('Upgrade')
  })
})

describe('an order in an odd spelling', () => {
  const spellings: [string, Record<string, string>, Buffer][] = [
    ['without a body', {}, Buffer.alloc(0)],
    ['gzipped', { 'Content-Encoding': 'gzip' }, gzipSync('{"prompt_id":""}')],
    ['in UTF-16', { 'Content-Type': 'text/plain; charset=utf-16' }, Buffer.from('\ufeff{"prompt_id":null}', 'utf16le')],
    ['in UTF-7', { 'Content-Type': 'application/json; charset=UTF-7' }, Buffer.from('+AHs-"prompt_id":0}')],
    ['with the id said twice', {}, Buffer.from('{"prompt_id":"00000000-0000-4000-8000-000000000000","prompt_id":""}')],
    ['that is no JSON', {}, Buffer.from('stop!')],
  ]

  test.each(spellings)('%s stops whatever runs', async (_, headers, body) => {
    const sim = await start({ stepMs: 60_000 })
    const heard = await listen(sim, 'me')
    await submit(sim, example('text-to-image'))
    await heard.until((frame) => frame.text?.includes('"executing", "data": {"node": "3"') === true)
    await fetch(`${sim.url}/interrupt`, { method: 'POST', headers, body: new Uint8Array(body) })
    await heard.until((frame) => frame.text?.includes('execution_interrupted') === true)
    heard.socket.terminate()
  })

  test('with the id of another prompt stops nothing', async () => {
    const sim = await start({ stepMs: 20 })
    const heard = await listen(sim, 'me')
    await submit(sim, example('text-to-image'))
    await heard.until((frame) => frame.text === undefined)
    await fetch(`${sim.url}/interrupt`, {
      method: 'POST',
      body: '{"prompt_id":"00000000-0000-4000-8000-000000000000"}',
    })
    await heard.until((frame) => frame.text?.includes('"execution_success"') === true)
    heard.socket.terminate()
  })
})

describe('faults', () => {
  test('a node fails where it is told to, by class or by id', async () => {
    const sim = await start({ faults: { failNodes: ['SaveImage'] } })
    const ended = await run(sim, example('empty-image'))
    expect(ended.status.messages.at(-1)).toMatchObject([
      'execution_error',
      { node_id: '2', node_type: 'SaveImage', exception_type: 'RuntimeError', executed: ['1'] },
    ])
    sim.setFaults({ failNodes: ['1'] })
    expect(
      (
        await run(sim, {
          ...example('empty-image'),
          1: { class_type: 'EmptyImage', inputs: { width: 1, height: 1, batch_size: 1, color: 5 } },
        })
      ).status.status_str,
    ).toBe('error')
  })

  test('a node that hangs heeds no interrupt and goes on once faults are lifted', async () => {
    const sim = await start({ faults: { hangNodes: ['EmptyImage'] } })
    const heard = await listen(sim, 'me')
    await submit(sim, example('empty-image'))
    await heard.until((frame) => frame.text?.includes('"executing"') === true)
    await fetch(`${sim.url}/interrupt`, { method: 'POST' })
    expect(await (await fetch(`${sim.url}/prompt`)).json()).toEqual({ exec_info: { queue_remaining: 1 } })
    sim.setFaults({})
    await heard.until((frame) => frame.text?.includes('execution_interrupted') === true)
    heard.socket.terminate()
  })

  test('HTTP breaks in the ways that are asked for, as often as asked', async () => {
    const sim = await start()
    const get = (path: string) =>
      fetch(sim.url + path).then(
        async (response) => `${response.status} ${(await response.text()).length}`,
        () => 'broken',
      )
    sim.setFaults({
      http: [
        { path: '/reset', kind: 'reset' },
        { path: '/system_stats', kind: 'cut', times: 1 },
        { path: '/queue', kind: 'status', status: 502 },
        { path: '/garbage', kind: 'garbage' },
        { path: '/settings/a', method: 'POST', kind: 'after' },
        { path: '/prompt', kind: 'delay', ms: 1 },
      ],
    })
    expect(await get('/reset')).toBe('broken')
    expect(await get('/garbage')).toBe('broken')
    expect(await get('/queue')).toBe('502 0')
    await expect(fetch(`${sim.url}/system_stats`).then((response) => response.text())).rejects.toThrow()
    expect(await get('/system_stats')).toMatch(/^200 /)
    expect(await get('/prompt')).toMatch(/^200 /)
    await expect(fetch(`${sim.url}/settings/a`, { method: 'POST', body: '7' })).rejects.toThrow()
    expect(await (await fetch(`${sim.url}/settings/a`)).json()).toBe(7)
  })
})

test('a port in use is said in words', async () => {
  const sim = await start()
  await expect(createSim({ port: sim.port })).rejects.toMatchObject({
    kind: 'usage',
    remedy: expect.stringContaining('port'),
  })
})

test('a frontend folder without a page is said in words', async () => {
  await expect(createSim({ webRoot: import.meta.dirname })).rejects.toMatchObject({
    kind: 'usage',
    remedy: expect.any(String),
  })
})

test('closing ends sockets and prompts, and removes the temporary folder', async () => {
  const sim = await createSim({ stepMs: 60_000, indexHtml: '' })
  const heard = await listen(sim, 'me')
  await submit(sim, example('text-to-image'))
  await heard.until((frame) => frame.text?.includes('"executing"') === true)
  await sim.close()
  await heard.closed
  expect(() => readFileSync(join(sim.folders.output, '_output_images_will_be_put_here'))).toThrow()
})

test('Manager answers only where its flag is on', async () => {
  const [without, v4, v3] = [
    await start(),
    await start({ flags: { enableManager: true } }),
    await start({ flags: { managerV3: true } }),
  ]
  const status = async (sim: Sim, path: string, method = 'GET') => (await fetch(sim.url + path, { method })).status
  expect([
    await status(without, '/v2/manager/version'),
    await status(v4, '/v2/manager/version'),
    await status(v4, '/api/v2/manager/queue/install_model', 'POST'),
  ]).toEqual([404, 200, 200])
  expect([
    await status(without, '/manager/reboot'),
    await status(v4, '/manager/reboot'),
    await status(v3, '/manager/reboot'),
  ]).toEqual([404, 404, 200])
})

test('the demo page is served where neither a frontend nor another page is given', async () => {
  const sim = closing(await createSim())
  const page = await (await fetch(sim.url)).text()
  expect(page).toContain('<title>comfy-auth demo</title>')
  expect(Buffer.byteLength(page)).toBeLessThan(20 * 1024)
  expect(page).not.toMatch(/(?:src|href)="(?:https?:)?\/\//)
})

test('a socket may not name a subprotocol and get it', async () => {
  const sim = await start()
  const socket = new WebSocket(sim.url.replace('http', 'ws').concat('/ws'), ['comfy-auth.bearer.x'])
  await expect(new Promise((_, reject) => socket.on('error', reject))).rejects.toThrow('subprotocol')
})
