import { createServer, type RequestListener } from 'node:http'
import { createServer as createTcpServer, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { collect, isLocal } from '../../src/health/collect.ts'
import { probeServer } from '../../src/health/server.ts'
import { createSim, type SimOptions } from '../../src/sim/sim.ts'
import { fakeMachine } from '../gpu/fake-machine.ts'
import { closing } from '../support/closers.ts'
import { portOf } from '../support/ports.ts'

async function sim(options: SimOptions = {}) {
  return closing(await createSim({ indexHtml: '', ...options }))
}

async function http(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${await portOf(server)}`
}

/** Our proxy as a client sees it: /health for all, the rest for who holds the key. */
function proxy(health: object, key: string, rest: object = {}): Promise<string> {
  return http((request, response) => {
    const isOpen = request.url === '/health'
    const status = isOpen
      ? JSON.stringify(health).includes('unavailable')
        ? 503
        : 200
      : request.headers.authorization === `Bearer ${key}`
        ? 200
        : 401
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(isOpen ? health : status === 200 ? rest : { error: 'Unauthorized', message: 'no' }))
  })
}

const HEALTH = {
  status: 'ok',
  queue: { pending: 3, running: 1 },
  device: { name: 'mps', type: 'mps' },
  vram: { total: 68719476736, free: 68719476736 },
}

function probe(url: string, key?: string, timeoutMs = 5_000) {
  return probeServer({ url, key }, timeoutMs)
}

describe('who answers', () => {
  test('a ComfyUI by itself is named as such, with its device and its empty queue', async () => {
    const { url } = await sim()
    const report = await probe(url)
    expect(report).toMatchObject({
      state: 'ok',
      message: expect.stringMatching(
        /^ComfyUI 0\.33\.0 on cpu, 21\.2 GiB of 23\.5 GiB free, 0 running, 0 pending, answered in \d+ ms \(ComfyUI itself/,
      ),
      summary: {
        status: 'ok',
        queue: { pending: 0, running: 0 },
        device: { name: 'cpu', type: 'cpu' },
        vram: { total: 25276510208, free: 22816387072 },
      },
      version: '0.33.0',
      devices: [{ name: 'cpu', type: 'cpu', total: 25276510208, free: 22816387072 }],
    })
    expect(report.responseSeconds).toBeGreaterThanOrEqual(0)
  })

  test('our proxy needs no key for what /health says', async () => {
    expect(await probe(await proxy(HEALTH, 'k'))).toMatchObject({
      state: 'ok',
      summary: HEALTH,
      message: expect.stringMatching(
        /^ComfyUI on mps, 64 GiB of 64 GiB free, 1 running, 3 pending, answered in \d+ ms$/,
      ),
    })
  })

  test('with a key the numbers are those of now', async () => {
    const now = {
      devices: [{ name: 'cuda:0 X', type: 'cuda', vram_total: 10, vram_free: 4 }],
      exec_info: { queue_remaining: 0 },
    }
    const report = await probe(await proxy(HEALTH, 'k', now), 'k')
    expect(report).toMatchObject({
      state: 'ok',
      summary: { queue: { pending: 0, running: 0 }, vram: { total: 10, free: 4 } },
    })
  })

  test('a proxy whose ComfyUI is down is critical', async () => {
    const report = await probe(await proxy({ ...HEALTH, status: 'unavailable' }, 'k'), 'k')
    expect(report).toMatchObject({ state: 'critical', message: expect.stringContaining('behind it does not') })
  })

  test('a wrong key is unknown, and what /health said still counts', async () => {
    const report = await probe(await proxy(HEALTH, 'k'), 'comfy_wrong')
    expect(report).toMatchObject({ state: 'unknown', summary: HEALTH })
    expect(report.message).toMatch(/does not accept the key/)
    expect(JSON.stringify(report)).not.toContain('comfy_wrong')
  })

  test('the key never goes to /health', async () => {
    const seen: (string | undefined)[] = []
    const url = await http((request, response) => {
      if (request.url === '/health') seen.push(request.headers.authorization)
      response.end('{}')
    })
    await probe(url, 'comfy_secret')
    expect(seen).toEqual([undefined])
  })

  test.each([
    ['a web page', (_request, response) => response.end('<html>')],
    ['a 404 everywhere', (_request, response) => response.writeHead(404).end()],
    ['JSON of something else', (_request, response) => response.end('{"status":"up"}')],
  ] satisfies [string, RequestListener][])('%s is no ComfyUI, and critical', async (_what, listener) => {
    expect(await probe(await http(listener))).toMatchObject({
      state: 'critical',
      message: expect.stringMatching(/not a ComfyUI/),
      remedy: expect.stringMatching(/./),
    })
  })

  test('a 500 is critical', async () => {
    const { url } = await sim({ faults: { http: [{ path: '/system_stats', kind: 'status', status: 500 }] } })
    expect(await probe(url)).toMatchObject({ state: 'critical', message: expect.stringContaining('500') })
  })
})

describe('a server that is not there', () => {
  test('refused is critical', async () => {
    const server = await createSim()
    await server.close()
    expect(await probe(server.url)).toMatchObject({
      state: 'critical',
      message: expect.stringContaining('refused'),
      summary: { status: 'unavailable' },
      responseSeconds: null,
    })
  })

  test('one that takes the connection and never answers is critical by its deadline', async () => {
    const sockets: Socket[] = []
    const server = createTcpServer((socket) => sockets.push(socket.on('error', () => {})))
    const port = await portOf(server)
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      server.close()
    })
    const start = performance.now()
    const report = await probe(`http://127.0.0.1:${port}`, undefined, 300)
    expect(performance.now() - start).toBeLessThan(2_500)
    expect(report).toMatchObject({ state: 'critical', message: 'no answer within 0.3 s' })
  })

  test('one that answers /health and then hangs is critical too', async () => {
    const { url } = await sim({ faults: { http: [{ path: '/system_stats', kind: 'hang' }] } })
    expect(await probe(url, undefined, 300)).toMatchObject({ state: 'critical', message: 'no answer within 0.3 s' })
  })

  test.each(['reset', 'garbage', 'cut'] as const)('%s is critical', async (kind) => {
    const { url } = await sim({ faults: { http: [{ path: '/system_stats', kind }] } })
    expect(await probe(url)).toMatchObject({ state: 'critical' })
  })
})

describe('side by side', () => {
  test('a hung GPU tool keeps no server waiting, nor a hung server a GPU', async () => {
    const hanging = await sim({ faults: { http: [{ path: '/', kind: 'hang' }] } })
    const { url } = await sim()
    const machine = await fakeMachine({ 'nvidia-smi': "trap '' TERM; while :; do /bin/sleep 1; done" })
    const start = performance.now()
    const { servers, local, overran } = await collect({
      servers: [hanging.url, url].map((one) => ({ url: one, key: undefined })),
      machine,
      timeoutMs: 400,
    })
    expect(performance.now() - start).toBeLessThan(2_500)
    expect(servers.map(({ state }) => state)).toEqual(['critical', 'ok'])
    expect(local?.reports).toMatchObject([{ outcome: 'hung' }])
    expect(overran).toBe(false)
  })

  test('an Intel GPU that no tool shows is taken from the ComfyUI of this machine', async () => {
    const device = { name: 'xpu:0 Intel(R) Arc(TM)', type: 'xpu', index: 0, vramTotal: 16, vramFree: 9 }
    const { url } = await sim({ device })
    const { local } = await collect({
      servers: [{ url, key: undefined }],
      machine: await fakeMachine({}),
      timeoutMs: 5_000,
    })
    expect(local?.gpus).toMatchObject([
      { vendor: 'intel', name: device.name, source: 'ComfyUI', memory: { total: 16, used: null, free: 9 } },
    ])
  })

  test('without a machine no GPU is looked at', async () => {
    expect(await collect({ servers: [], machine: undefined, timeoutMs: 100 })).toEqual({
      servers: [],
      local: undefined,
      overran: false,
    })
  })

  test.each([
    ['http://127.0.0.1:8189', true],
    ['http://localhost', true],
    ['http://comfy.localhost:1', true],
    ['http://[::1]:8189', true],
    ['http://127.0.0.1.example.com', false],
    ['http://10.0.0.2:8189', false],
    ['nonsense', false],
  ])('%s is this machine: %s', (url, local) => {
    expect(isLocal(url)).toBe(local)
  })
})
