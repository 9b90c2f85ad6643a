import { once } from 'node:events'
import { beforeAll, describe, expect, test } from 'vitest'
import { certificateFiles } from '../../support/certificate.ts'
import { closers, closing } from '../../support/closers.ts'
import { client2, END_HEADERS, END_STREAM, FRAME, headerBlock, pseudo, raw2 } from '../../support/http2.ts'
import { ADMIN, exchange, get, proxied, type RawRequest, rawClient } from './support.ts'

let tls: ReturnType<typeof certificateFiles>

beforeAll(() => {
  tls = certificateFiles()
})

const ok = ({ socket }: RawRequest) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
const serve = (options: Parameters<typeof proxied>[1] = {}, answer: Parameters<typeof proxied>[0] = ok) =>
  proxied(answer, options)

const AUTH = { authorization: `Bearer ${ADMIN}` }
const CANCEL = Buffer.from([0, 0, 0, 8])
const ENHANCE_YOUR_CALM = 11

describe('rapid reset', () => {
  const ask = headerBlock([...pseudo('GET', '/queue'), ['x-api-key', ADMIN]])

  test('a stream that is reset in the same breath never reaches ComfyUI', async () => {
    const { proxy, upstream } = await serve({ tls })
    const raw = closing(await raw2(proxy.port))
    raw.socket.cork()
    for (let stream = 1; stream < 100; stream += 2) {
      raw.send(FRAME.headers, END_HEADERS | END_STREAM, stream, ask)
      raw.send(FRAME.reset, 0, stream, CANCEL)
    }
    raw.send(FRAME.headers, END_HEADERS | END_STREAM, 101, ask)
    raw.socket.uncork()
    await raw.until(({ type, stream }) => type === FRAME.data && stream === 101)
    expect(upstream.requests).toHaveLength(1)
  })

  test('ends the connection with ENHANCE_YOUR_CALM, and the next one is served', async () => {
    const { proxy } = await serve({ tls })
    const raw = closing(await raw2(proxy.port))
    raw.socket.cork()
    for (let stream = 1; stream < 2 * 210; stream += 2) {
      raw.send(FRAME.headers, END_HEADERS | END_STREAM, stream, ask)
      raw.send(FRAME.reset, 0, stream, CANCEL)
    }
    raw.socket.uncork()
    const goaway = await raw.until(({ type }) => type === FRAME.goaway)
    expect(goaway?.payload.readUInt32BE(4)).toBe(ENHANCE_YOUR_CALM)
    await raw.closed()
    const next = closing(await client2(proxy.port))
    expect((await next.ask('GET', '/queue', AUTH)).status).toBe(200)
  })
})

test.each([
  ['a request', ''],
  ['an Upgrade', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'],
])(
  '%s with more than 1,024 fields is 431 and closed, though its head is short, and with fewer it goes on',
  async (_what, more) => {
    const { proxy, upstream } = await serve()
    expect(await exchange(proxy.port, get('/ws', more + 'a:b\r\n'.repeat(1_023)))).toMatch(/^HTTP\/1\.1 431 /)
    expect(upstream.requests).toHaveLength(0)
    const client = await rawClient(proxy.port, get('/ws', more + 'a:b\r\n'.repeat(1_000)))
    closers.push(() => client.socket.destroy())
    await upstream.request(0)
  },
)

test('more than 100 requests that wait behind another on one connection end it, and so many do not', async () => {
  const silent = await serve({}, () => {})
  const { stackTraceLimit } = Error
  expect(await exchange(silent.proxy.port, get('/queue').repeat(102))).toBe('')
  expect(await exchange(silent.proxy.port, get('/queue').repeat(1_600))).toBe('')
  expect(Error.stackTraceLimit).toBe(stackTraceLimit)
  const { proxy } = await serve()
  const text = await exchange(proxy.port, get('/history').repeat(99) + get('/history', 'Connection: close\r\n'))
  expect(text.match(/HTTP\/1\.1 200 /g)).toHaveLength(100)
})

test('a broken head behind a request that waits never breaks into the answer before it', async () => {
  const { proxy } = await serve({}, ({ socket }) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'))
  const client = await rawClient(proxy.port, get('/queue') + get('/queue'))
  await client.until(/half$/)
  client.socket.write('no head at all\r\n\r\n')
  expect(await client.ended()).toMatch(/\r\n\r\nhalf$/)
})

test('CONTINUATION without an end closes the connection, and the next one is served', async () => {
  const { proxy, upstream } = await serve({ tls })
  const raw = closing(await raw2(proxy.port))
  raw.send(FRAME.headers, END_STREAM, 1, headerBlock(pseudo('GET', '/queue')))
  const more = headerBlock(Array.from({ length: 100 }, () => ['x-more', 'a'.repeat(100)] as const))
  const dripping = setInterval(() => raw.send(FRAME.continuation, 0, 1, more), 5)
  closers.push(() => clearInterval(dripping))
  await raw.closed()
  const next = closing(await client2(proxy.port))
  expect((await next.ask('GET', '/queue', AUTH)).status).toBe(200)
  expect(upstream.requests).toHaveLength(1)
})

describe('where nearly all connections are taken', () => {
  test('those that stand idle after a request make room for whoever comes', async () => {
    const { proxy } = await serve({ maxConnections: 10 })
    const clients = []
    for (let i = 0; i < 16; i++) {
      const client = await rawClient(proxy.port, get('/queue'))
      expect(await client.until(/\r\n\r\nok$/)).toMatch(/^HTTP\/1\.1 200 /)
      clients.push(client)
    }
    await Promise.all(clients.slice(0, 8).map((client) => client.ended()))
  })

  test('over HTTP/2 too', async () => {
    const { proxy } = await serve({ tls, maxConnections: 4 })
    const idle = await Promise.all([1, 2, 3].map(() => client2(proxy.port)))
    for (const client of idle) expect((await client.ask('GET', '/queue', AUTH)).status).toBe(200)
    const gone = idle.map(({ session }) => once(session, 'close'))
    const next = closing(await client2(proxy.port))
    expect((await next.ask('GET', '/queue', AUTH)).status).toBe(200)
    await Promise.all(gone)
  })

  test('who waits for an answer stays', async () => {
    const { proxy, upstream } = await serve({ maxConnections: 5 }, (request) => {
      if (!request.head.includes('/history')) ok(request)
    })
    const waiting = await rawClient(proxy.port, get('/history', 'Connection: close\r\n'))
    await upstream.request(0)
    const idle = await Promise.all([1, 2, 3].map(() => rawClient(proxy.port, get('/queue'))))
    for (const client of idle) await client.until(/\r\n\r\nok$/)
    expect(await exchange(proxy.port, get('/prompt', 'Connection: close\r\n'))).toMatch(/^HTTP\/1\.1 200 /)
    ok(upstream.requests[0]!)
    expect(await waiting.ended()).toMatch(/\r\n\r\nok$/)
  })
})
