import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { createSim } from '../../../src/sim/sim.ts'
import { closers, closing } from '../../support/closers.ts'
import { ADMIN, OTHER, proxied, rawClient, startProxy, USER, VIEWER } from './support.ts'

async function proxyToSim(options: Parameters<typeof startProxy>[1] = {}) {
  const sim = closing(await createSim())
  const proxy = closing(await startProxy(sim.url, options))
  return { sim, proxy, ws: `ws://127.0.0.1:${proxy.port}` }
}

const bearer = (key: string) => ({ headers: { authorization: `Bearer ${key}` } })
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' // RFC 6455, 1.3
const SWITCH = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`

const handshake = (more = '', path = '/ws?clientId=a') =>
  `GET ${path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${ADMIN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n${more}\r\n`

function opened(socket: WebSocket): Promise<unknown> {
  closers.push(() => socket.terminate())
  return once(socket, 'open')
}

async function closeOf(socket: WebSocket): Promise<number> {
  const [code] = (await once(socket, 'close')) as [number]
  return code
}

/** The status of a refused handshake. */
function refused(socket: WebSocket): Promise<number> {
  socket.on('error', () => {})
  return new Promise((resolve, reject) => {
    socket.once('unexpected-response', (_request, response) => resolve(response.statusCode!))
    socket.once('open', () => reject(new Error('it was let in')))
  })
}

describe('a handshake', () => {
  test('without a key is a real 401 on the socket, and the upstream is never dialled', async () => {
    const { upstream, proxy } = await proxied(() => {})
    const client = await rawClient(proxy.port, handshake().replace(`X-API-Key: ${ADMIN}\r\n`, ''))
    const text = await client.ended()
    expect(text).toMatch(/^HTTP\/1.1 401 Unauthorized\r\n/)
    expect(text).toMatch(/\r\nWWW-Authenticate: Bearer realm="comfy-auth"/)
    expect(text).toMatch(/\r\nConnection: close\r\n[\s\S]*"error":"Unauthorized"/)
    expect(upstream.connections()).toBe(0)
  })

  test('bytes behind a refused handshake are never read as a request', async () => {
    const { upstream, proxy } = await proxied(() => {})
    const refusedHead = handshake().replace(ADMIN, 'no-such-key')
    const client = await rawClient(proxy.port, refusedHead + handshake())
    expect((await client.ended()).match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
    expect(upstream.requests).toEqual([])
  })

  test('no byte of the client goes up before a true 101', async () => {
    const { upstream, proxy } = await proxied(() => {})
    const client = await rawClient(proxy.port, `${handshake()}early`)
    const request = await upstream.request(0)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(request.body()).toBe('')
    expect(request.head).not.toContain(ADMIN)
    expect(request.head).toMatch(/\r\nSec-WebSocket-Key: dGhl/)
    request.socket.write(SWITCH)
    await client.until(/^HTTP\/1.1 101 /)
    while (request.body() !== 'early') await once(request.socket, 'data')
    client.socket.destroy()
  })

  const NOT_JOINED: readonly [string, string, RegExp][] = [
    ['a 101 with the wrong accept', SWITCH.replace(ACCEPT, 'AAAAAAAAAAAAAAAAAAAAAAAAAAA='), /^HTTP\/1.1 502 /],
    ['a 101 without an accept', SWITCH.replace(/Sec.*\r\n/, ''), /^HTTP\/1.1 502 /],
    ['a 101 without Upgrade', 'HTTP/1.1 101 Switching Protocols\r\n\r\n', /^HTTP\/1.1 502 /],
    ['a 400', 'HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad', /^HTTP\/1.1 400 Bad Request\r\n[\s\S]*bad$/],
    ['a 403 without a body', 'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n', /^HTTP\/1.1 403 [\s\S]*\r\n\r\n$/],
    [
      'a 200',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
      /^HTTP\/1.1 200 [\s\S]*\r\nTransfer-Encoding: chunked\r\n[\s\S]*\r\n\r\n2\r\nok\r\n0\r\n\r\n$/,
    ],
    [
      'a 200 whose chunks break off in their trailers',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nbro ken\r\n\r\n',
      /^HTTP\/1.1 200 [\s\S]*\r\n\r\n2\r\nok\r\n$/,
    ],
    ['a 204', 'HTTP/1.1 204 No Content\r\n\r\n', /^HTTP\/1.1 204 (?![\s\S]*Transfer-Encoding)[\s\S]*\r\n\r\n$/],
    ['a 099', 'HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok', /^HTTP\/1.1 502 /],
    [
      'a control character in its status text',
      'HTTP/1.1 403 No\x01way\r\nContent-Length: 2\r\n\r\nno',
      /^HTTP\/1.1 403 Forbidden\r\n[\s\S]*no$/,
    ],
    ['something else than HTTP', 'SSH-2.0-x\r\n', /^HTTP\/1.1 502 /],
  ]
  for (const [name, answer, expected] of NOT_JOINED) {
    test(`answered with ${name}: relayed or refused, both ends closed, nothing pipelined gets through`, async () => {
      const { upstream, proxy } = await proxied(({ socket }) => socket.write(answer))
      const client = await rawClient(proxy.port, `${handshake()}GET /queue HTTP/1.1\r\nHost: x\r\n\r\n`)
      expect(await client.ended()).toMatch(expected)
      while (upstream.connections() > 0) await new Promise((resolve) => setTimeout(resolve, 5))
      expect(upstream.requests).toHaveLength(1)
      expect(upstream.requests[0]!.body()).toBe('')
    })
  }

  test('an upstream that is not there: 503; one that hangs up: 502', async () => {
    const { upstream, proxy } = await proxied(({ socket }) => socket.destroy())
    expect(await (await rawClient(proxy.port, handshake())).ended()).toMatch(/^HTTP\/1.1 502 /)
    await upstream.close()
    closers.shift()
    expect(await (await rawClient(proxy.port, handshake())).ended()).toMatch(/^HTTP\/1.1 503 /)
  })

  test('a client that leaves while the upstream thinks: the upstream connection goes too', async () => {
    const { upstream, proxy } = await proxied(() => {})
    const client = await rawClient(proxy.port, handshake())
    await upstream.request(0)
    client.socket.destroy()
    while (upstream.connections() > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  })

  test('a key revoked while the upstream thinks opens nothing any more', async () => {
    const { upstream, proxy } = await proxied(() => {})
    const client = await rawClient(proxy.port, handshake())
    const { socket } = await upstream.request(0)
    proxy.keys.revoke('admin')
    socket.write(SWITCH)
    expect(await client.ended()).toBe('')
    while (upstream.connections() > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  })

  test('with a body, or on another method, is no Upgrade', async () => {
    const { upstream, proxy } = await proxied(({ socket }) =>
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'),
    )
    const client = await rawClient(proxy.port, `${handshake('Content-Length: 2\r\n')}hi`)
    await client.until(/ok$/)
    expect(upstream.requests[0]!.head).not.toMatch(/\r\nupgrade:/i)
    client.socket.destroy()
  })
})

describe('through the simulated ComfyUI', () => {
  test('every carrier opens a socket, and no credential goes up', async () => {
    const { sim, ws } = await proxyToSim()
    const protocol = `comfy-auth.bearer.${Buffer.from(ADMIN).toString('base64url')}`
    const sockets = [
      new WebSocket(`${ws}/ws?clientId=1`, bearer(ADMIN)),
      new WebSocket(`${ws}/ws?clientId=2`, { headers: { 'x-api-key': ADMIN } }),
      new WebSocket(`${ws}/ws?clientId=3&api_key=${ADMIN}`),
      new WebSocket(`${ws}/ws?token=${ADMIN}&clientId=4`),
      new WebSocket(`${ws.replace('//', `//x:${ADMIN}@`)}/ws?clientId=5`),
      new WebSocket(`${ws}/ws?clientId=6`, [protocol]),
    ]
    const first = sockets.map((socket) => once(socket, 'message'))
    await Promise.all(sockets.map(opened))
    for (const [data] of await Promise.all(first)) expect(JSON.parse(String(data)).type).toBe('status')
    expect(sockets[5]!.protocol).toBe(protocol)
    const seen = JSON.stringify(sim.requests)
    expect(seen).not.toContain(ADMIN)
    expect(seen).not.toContain(Buffer.from(ADMIN).toString('base64').replaceAll('=', ''))
    expect(sim.requests.map(({ target }) => target).toSorted()).toEqual(
      [1, 2, 3, 4, 5, 6].map((n) => `/ws?clientId=${n}`),
    )
  })

  test('a socket without a clientId gets one of our making', async () => {
    const { sim, ws } = await proxyToSim()
    const socket = new WebSocket(`${ws}/ws`, bearer(USER))
    const message = once(socket, 'message')
    await opened(socket)
    const sid = JSON.parse(String((await message)[0])).data.sid
    expect(sid).toMatch(/^[0-9a-f]{32}$/)
    expect(sim.requests[0]!.target).toBe(`/ws?clientId=${sid}`)
  })

  test("a clientId is its principal's while open; the same principal may open it again", async () => {
    const { ws } = await proxyToSim()
    const first = new WebSocket(`${ws}/ws?clientId=mine`, bearer(USER))
    const stranger = new WebSocket(`${ws}/ws?clientId=mine`, bearer(OTHER)) // in the same moment
    const status = refused(stranger)
    await opened(first)
    expect(await status).toBe(403)
    await opened(new WebSocket(`${ws}/ws?clientId=mine`, bearer(USER)))
  })

  test('a revoked key closes its sockets with 4401 and no other', async () => {
    const { sim, proxy, ws } = await proxyToSim()
    const doomed = new WebSocket(`${ws}/ws?clientId=u`, bearer(USER))
    const kept = new WebSocket(`${ws}/ws?clientId=v`, bearer(VIEWER))
    await Promise.all([opened(doomed), opened(kept)])
    const started = performance.now()
    proxy.keys.revoke('user')
    expect(await closeOf(doomed)).toBe(4401)
    expect(performance.now() - started).toBeLessThan(1_000)
    while (sim.sockets() !== 1) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(kept.readyState).toBe(WebSocket.OPEN)
    expect(await refused(new WebSocket(`${ws}/ws?clientId=u`, bearer(USER)))).toBe(401)
  })

  test('close() says 1001 to every socket', async () => {
    const { proxy, ws } = await proxyToSim({ drainMs: 5_000 })
    const socket = new WebSocket(`${ws}/ws`, bearer(USER))
    await opened(socket)
    const code = closeOf(socket)
    closers.splice(1, 1) // closed here
    await proxy.close()
    expect(await code).toBe(1001)
  })

  test('either end closing ends the other', async () => {
    const { sim, ws } = await proxyToSim()
    const socket = new WebSocket(`${ws}/ws`, bearer(USER))
    await opened(socket)
    socket.close(1000)
    expect(await closeOf(socket)).toBe(1000)
    while (sim.sockets() > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    const second = new WebSocket(`${ws}/ws`, bearer(USER))
    await opened(second)
    second.terminate()
    while (sim.sockets() > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  })
})

describe('through a WebSocket server', () => {
  async function proxyToServer(onSocket: (socket: WebSocket) => void, perMessageDeflate = false) {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate, maxPayload: 128 * 1024 * 1024 })
    await once(server, 'listening')
    server.on('connection', onSocket)
    closers.push(() => new Promise<void>((resolve) => server.close(() => resolve())))
    closers.push(() => {
      for (const client of server.clients) client.terminate()
    })
    const { port } = server.address() as { port: number }
    const proxy = closing(await startProxy(`http://127.0.0.1:${port}`))
    return { ws: `ws://127.0.0.1:${proxy.port}`, proxy }
  }

  test('a frame of 64 MiB comes down whole, and one of 4 MiB goes up', async () => {
    const hash = (data: Buffer) => createHash('sha256').update(data).digest('hex')
    const big = Buffer.alloc(64 * 1024 * 1024, 'comfy')
    const up = Buffer.alloc(4 * 1024 * 1024, 'auth')
    const { ws } = await proxyToServer((socket) =>
      socket.on('message', (data) => socket.send(hash(data as Buffer) === hash(up) ? big : 'broken')),
    )
    const options = { ...bearer(ADMIN), maxPayload: 128 * 1024 * 1024, perMessageDeflate: false }
    const socket = new WebSocket(`${ws}/ws`, options)
    await opened(socket)
    socket.send(up)
    const [received] = (await once(socket, 'message')) as [Buffer]
    expect(hash(received)).toBe(hash(big))
  })

  test('permessage-deflate passes untouched', async () => {
    const { ws } = await proxyToServer((socket) => socket.on('message', (data) => socket.send(String(data))), true)
    const socket = new WebSocket(`${ws}/ws`, { ...bearer(ADMIN), perMessageDeflate: { threshold: 0 } })
    await opened(socket)
    expect(socket.extensions).toContain('permessage-deflate')
    socket.send('x'.repeat(100_000))
    expect(String((await once(socket, 'message'))[0])).toHaveLength(100_000)
  })

  test('pings of either end reach the other', async () => {
    const { ws } = await proxyToServer((socket) => socket.ping('from-server'))
    const socket = new WebSocket(`${ws}/ws`, bearer(ADMIN))
    const ping = once(socket, 'ping')
    await opened(socket)
    expect(String((await ping)[0])).toBe('from-server')
    socket.ping('from-client')
    expect(String((await once(socket, 'pong'))[0])).toBe('from-client')
  })
})
