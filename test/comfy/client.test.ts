import { createServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import { checkServer, probeRole } from '../../src/comfy/check-server.ts'
import { type ComfyClient, createClient } from '../../src/comfy/client.ts'
import { parseServerUrl } from '../../src/comfy/server-url.ts'
import type { ComfyAuthError } from '../../src/errors.ts'
import { closing } from '../support/closers.ts'
import { portOf } from '../support/ports.ts'
import { type Fake, type Route, startFake } from './fake.ts'

const KEY = 'a key of 8 or more'

let fake: Fake

async function start(
  routes: Readonly<Record<string, Route>>,
  more: { key?: string; timeoutMs?: number; path?: string } = { key: KEY },
): Promise<ComfyClient> {
  fake = closing(await startFake(routes))
  return closing(createClient({ url: fake.url + (more.path ?? ''), ...more }))
}

function status(code: number, body = '', headers: Record<string, string> = {}): Route {
  return (_request, _body, response) => void response.writeHead(code, headers).end(body)
}

describe('the address of a server', () => {
  test.each([
    ['127.0.0.1:8189', 'http://127.0.0.1:8189'],
    ['localhost:8189/', 'http://localhost:8189'],
    ['HTTPS://GPU.Example.com/comfy/', 'https://gpu.example.com/comfy'],
    ['http://[::1]:8189', 'http://[::1]:8189'],
  ])('%s is %s', (text, url) => {
    expect(parseServerUrl(text)).toBe(url)
  })

  test.each([
    '',
    'ftp://x',
    'http://',
    'http://a b',
    'http://u:s3cret@h',
    'http://h/?api_key=s3cret',
    'http://h/#s3cret',
  ])('%j is refused and not repeated', (text) => {
    expect(() => parseServerUrl(text)).toThrow(
      expect.objectContaining({ kind: 'usage', message: expect.not.stringContaining('s3cret') }),
    )
  })
})

test('the key goes along as a Bearer, the path prefix stands before each route, for the socket too', async () => {
  const comfy = await start({ 'GET /comfy/system_stats': () => ({ ok: true }) }, { key: KEY, path: '/comfy' })
  expect(await comfy.systemStats()).toEqual({ ok: true })
  expect(fake.heads[0]!.headers.authorization).toBe(`Bearer ${KEY}`)
  expect(comfy.socketUrl('a b')).toBe(`${fake.url.replace('http', 'ws')}/comfy/ws?clientId=a%20b`)
})

describe('what a status means', () => {
  test.each<[string, Route, string, string]>([
    ['401 with a key', status(401, '{"error":"Unauthorized"}'), 'unauthorised', 'does not accept the key'],
    [
      '403 of a role',
      status(403, '{"error":"Forbidden","message":"It needs the role admin; yours is viewer.","role_needed":"admin"}'),
      'unauthorised',
      'to keys of role admin only',
    ],
    ['403 of ComfyUI', status(403), 'unauthorised', 'forbids this'],
    ['429', status(429, '', { 'retry-after': '17' }), 'unauthorised', 'Wait 17 s'],
    ['503 of the lock', status(503, '{}'), 'unreachable', 'the ComfyUI behind it does not'],
    ['404', status(404), 'unreachable', 'is not a ComfyUI'],
    ['HTML', () => '<html>', 'unreachable', 'is not a ComfyUI: its answer is not JSON'],
    ['413', status(413), 'refused', 'does not take a request this large'],
    ['421', status(421), 'unreachable', 'host name'],
    ['500', status(500, '500 Internal Server Error'), 'failed', 'answered 500'],
    [
      '301',
      status(301, '', { location: 'https://elsewhere.example/x?api_key=1' }),
      'unreachable',
      'a redirect to https://elsewhere.example/x;',
    ],
  ])('%s', async (_name, route, kind, words) => {
    const comfy = await start({ 'GET /system_stats': route })
    const error = (await comfy.systemStats().catch((thrown: unknown) => thrown)) as ComfyAuthError
    expect({ kind: error.kind, words: `${error.message} ${error.remedy}` }).toEqual({
      kind,
      words: expect.stringContaining(words),
    })
  })

  test('401 without a key says that one is missing', async () => {
    const comfy = await start({ 'GET /system_stats': status(401) }, {})
    await expect(comfy.systemStats()).rejects.toMatchObject({
      kind: 'unauthorised',
      message: expect.stringContaining('asks for a key'),
    })
  })

  test('a server that echoes the key does not get it into our words', async () => {
    const comfy = await start({ 'GET /system_stats': status(403, JSON.stringify({ message: `bad ${KEY} \u001b[2J` })) })
    const error = (await comfy.systemStats().catch((thrown: unknown) => thrown)) as ComfyAuthError
    expect(error.message).toContain('bad [key]')
    expect(error.message).not.toContain('\u001b')
  })
})

test('a redirect is not followed: the key goes to no other server', async () => {
  const other = await startFake({})
  const comfy = await start({ 'GET /queue': status(302, '', { location: `${other.url}/queue` }) })
  await expect(comfy.queue()).rejects.toMatchObject({ kind: 'unreachable' })
  expect(other.requests).toEqual([])
  await other.close()
})

describe('no answer', () => {
  test('nobody listens', async () => {
    const client = closing(createClient({ url: 'http://127.0.0.1:1' }))
    await expect(client.queue()).rejects.toMatchObject({
      kind: 'unreachable',
      message: 'http://127.0.0.1:1 cannot be reached: the connection was refused.',
    })
  })

  test('it takes the request and hangs', async () => {
    const comfy = await start(
      { 'GET /queue': (_request, _body, response) => void response.flushHeaders() },
      { timeoutMs: 200 },
    )
    await expect(comfy.queue()).rejects.toMatchObject({ kind: 'timeout' })
  })

  test('it cuts in the middle of the body', async () => {
    const comfy = await start({
      'GET /queue': (_request, _body, response) => {
        response.writeHead(200, { 'content-length': '100' }).write('{"a"', () => response.destroy())
        return undefined
      },
    })
    await expect(comfy.queue()).rejects.toMatchObject({ kind: 'unreachable' })
  })

  test('it speaks something else than HTTP', async () => {
    const server = createServer((socket) => socket.end('SSH-2.0-OpenSSH\r\n'))
    const client = closing(createClient({ url: `http://127.0.0.1:${await portOf(server)}` }))
    await expect(client.queue()).rejects.toMatchObject({
      kind: 'unreachable',
      message: expect.stringContaining('not HTTP'),
    })
    server.close()
  })
})

test('a history with NaN in it is read', async () => {
  const comfy = await start({
    'GET /history/p': () => '{"p": {"prompt": [1, "p", {"1": {"is_changed": [NaN]}}], "outputs": {}}}',
  })
  expect(await comfy.history('p')).toMatchObject({ outputs: {} })
})

test("job: the route's own 404 is told from a server that has no such route", async () => {
  const comfy = await start({ 'GET /api/jobs/none': status(404, '{"error": "Job not found"}') })
  expect([await comfy.job('none'), await comfy.job('x')]).toEqual([{ kind: 'absent' }, { kind: 'unsupported' }])
})

describe('checkServer tells apart', () => {
  const stats = { system: { comfyui_version: '0.33.0' }, devices: [{ name: 'cpu', type: 'cpu' }] }
  const health = { status: 'ok', queue: {}, device: {}, vram: {} }
  const locked: Route = (request, _body, response) =>
    request.headers.authorization === `Bearer ${KEY}` ? stats : void response.writeHead(401).end('{}')

  test('our lock', async () => {
    const comfy = await start({ 'GET /health': () => health, 'GET /system_stats': locked })
    expect(await checkServer(comfy)).toEqual({ lock: 'comfy-auth', ours: true, comfyui: 'up', version: '0.33.0' })
    expect(fake.heads.filter(({ url }) => url === '/health').map(({ headers }) => headers.authorization)).toEqual([
      undefined,
    ])
  })

  test('our lock with the ComfyUI down: the key was looked at', async () => {
    const down =
      (inner: Route): Route =>
      (request, body, response) =>
        inner(request, body, response) && void response.writeHead(503).end('{}')
    const comfy = await start({
      'GET /health': status(503, JSON.stringify({ ...health, status: 'unavailable' })),
      'GET /system_stats': down(locked),
    })
    expect(await checkServer(comfy)).toMatchObject({ lock: 'comfy-auth', comfyui: 'down' })
  })

  test("another's lock", async () => {
    expect(await checkServer(await start({ 'GET /system_stats': locked }))).toMatchObject({
      lock: 'other',
      ours: false,
    })
  })

  test('a bare ComfyUI', async () => {
    expect(await checkServer(await start({ 'GET /system_stats': () => stats }))).toMatchObject({
      lock: 'none',
      ours: false,
      version: '0.33.0',
    })
  })

  test('a wrong key', async () => {
    const comfy = await start({ 'GET /health': () => health, 'GET /system_stats': locked }, { key: 'wrong wrong' })
    await expect(checkServer(comfy)).rejects.toMatchObject({ kind: 'unauthorised' })
  })

  test('something that is no ComfyUI', async () => {
    await expect(checkServer(await start({ 'GET /': () => ({ hello: 1 }) }))).rejects.toMatchObject({
      kind: 'unreachable',
      message: expect.stringContaining('not a ComfyUI'),
    })
  })
})

test.each([
  ['admin', 200, 400],
  ['user', 403, 400],
  ['viewer', 403, 403],
])('probeRole finds %s by what is refused', async (role, read, write) => {
  const comfy = await start({ 'GET /internal/folder_paths': status(read, '{}'), 'POST /upload/image': status(write) })
  expect(await probeRole(comfy)).toBe(role)
})
