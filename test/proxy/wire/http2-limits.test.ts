import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createSim, type Sim } from '../../../src/sim/sim.ts'
import { certificateFiles } from '../../support/certificate.ts'
import { closing } from '../../support/closers.ts'
import {
  type Client2,
  client2,
  END_HEADERS,
  END_STREAM,
  FRAME,
  headerBlock,
  type Raw2,
  raw2,
} from '../../support/http2.ts'
import { get, post, sendGet, sendPost, setting, uint32 } from './h2spec/row.ts'
import { ADMIN, proxied, startProxy, type TestProxy } from './support.ts'

const AUTH = { authorization: `Bearer ${ADMIN}` }

let tls: ReturnType<typeof certificateFiles>
let sim: Sim
let proxy: TestProxy
let other: Client2

beforeAll(async () => {
  tls = certificateFiles()
  sim = await createSim()
  proxy = await startProxy(sim.url, { tls })
})

afterAll(async () => {
  await proxy.close()
  await sim.close()
})

beforeEach(async () => {
  other = closing(await client2(proxy.port))
  sim.clearRequests()
})

const open = async (port: number): Promise<Raw2> => closing(await raw2(port))

const answered = (raw: Raw2, id: number) =>
  raw.until(({ stream, flags }) => stream === id && (flags & END_STREAM) !== 0)

describe('the time for a head', () => {
  test('holds for a later stream too: half a head ends its connection, and silence does not', async () => {
    const own = closing(await startProxy(sim.url, { tls, headMs: 500 }))
    const quiet = closing(await client2(own.port))
    const raw = await open(own.port)
    expect((await quiet.ask('GET', '/queue', AUTH)).status).toBe(200)
    sendGet(raw)
    await answered(raw, 1)
    raw.send(FRAME.headers, END_STREAM, 3, get())
    await raw.closed()
    expect((await quiet.ask('GET', '/queue', AUTH)).status).toBe(200)
  })

  test('holds for a frame that is cut within', async () => {
    const own = closing(await startProxy(sim.url, { tls, headMs: 500 }))
    const raw = await open(own.port)
    sendGet(raw)
    await answered(raw, 1)
    raw.socket.write(Buffer.from('0000ff01050000000388', 'hex')) // HEADERS of 255 bytes, of which one came
    await raw.closed()
  })

  test.each([
    ['nothing', ''],
    ['half a hello of TLS', '1603010200010001fc0303'],
  ])('holds for a handshake of which %s came', async (_what, hex) => {
    const { proxy: own } = await proxied(undefined, { tls, headMs: 300 })
    const socket = connectTcp(own.port, '127.0.0.1')
    socket.on('error', () => {})
    await once(socket, 'connect')
    socket.write(Buffer.from(hex, 'hex'))
    socket.resume()
    await once(socket, 'close')
  })

  test.each(['', 'GET /queue HTTP/1.1\r\nHost: localhost\r\nX-Half: '])(
    'holds for HTTP/1.1 over TLS, of which %j came',
    async (text) => {
      const { proxy: own } = await proxied(undefined, { tls, headMs: 300 })
      const socket = connectTls({ port: own.port, host: '127.0.0.1', rejectUnauthorized: false })
      socket.on('error', () => {})
      await once(socket, 'secureConnect')
      socket.write(text)
      socket.resume()
      await once(socket, 'close')
    },
  )
})

describe('a connection in error', () => {
  test('is closed behind its GOAWAY, open streams or not', async () => {
    const { proxy: own } = await proxied(undefined, { tls, headMs: 300 })
    for (const streams of [[1], []]) {
      const raw = await open(own.port)
      for (const stream of streams) sendPost(raw, stream)
      raw.send(FRAME.ping, 0, 0, Buffer.alloc(7))
      await raw.until(({ type }) => type === FRAME.goaway)
      await raw.closed()
    }
  })

  test('whose client goes leaves nothing open behind it', async () => {
    const { proxy: own, upstream } = await proxied(undefined, { tls, headMs: 300 })
    const raw = await open(own.port)
    sendPost(raw)
    raw.send(FRAME.data, 0, 1, Buffer.from('{'))
    const { socket } = await upstream.request(0)
    const closed = once(socket, 'close')
    raw.send(FRAME.ping, 0, 0, Buffer.alloc(7))
    await raw.until(({ type }) => type === FRAME.goaway)
    raw.socket.destroy()
    await closed
  })
})

const CANCEL = uint32(8)
/** Streams 1, 3, 5 ... */
const ids = (count: number) => Array.from({ length: count }, (_, i) => 2 * i + 1)

function each(count: number, act: (raw: Raw2, stream: number) => void) {
  return (raw: Raw2) => {
    for (const stream of ids(count)) act(raw, stream)
  }
}

/** What ends its connection: nothing of it goes on for ever, and whoever else is connected is served meanwhile and after. */
const FLOODS: readonly (readonly [string, (raw: Raw2) => unknown])[] = [
  [
    'streams reset as they come (CVE-2023-44487)',
    each(1_000, (raw, stream) => {
      sendGet(raw, stream)
      raw.send(FRAME.reset, 0, stream, CANCEL)
    }),
  ],
  [
    'streams that we have to reset: a window opened by 0 (CVE-2025-8671)',
    each(1_000, (raw, stream) => {
      sendPost(raw, stream)
      raw.send(FRAME.window, 0, stream, uint32(0))
    }),
  ],
  [
    'streams that we have to reset: a body longer than was told',
    each(1_000, (raw, stream) => {
      sendPost(raw, stream, post([['content-length', '1']]))
      raw.send(FRAME.data, 0, stream, Buffer.from('xy'))
    }),
  ],
  [
    'streams that we have to reset: malformed heads',
    each(1_000, (raw, stream) => sendGet(raw, stream, get([['connection', 'close']]))),
  ],
  [
    'CONTINUATION frames without an end (CVE-2024-27983)',
    (raw) => {
      raw.send(FRAME.headers, END_STREAM, 1, get())
      for (let i = 0; i < 1_000; i++) raw.send(FRAME.continuation, 0, 1, headerBlock([[`x-${i}`, 'a'.repeat(100)]]))
    },
  ],
  [
    'CONTINUATION frames with nothing in them',
    (raw) => {
      raw.send(FRAME.headers, END_STREAM, 1, get())
      for (let i = 0; i < 1_000; i++) raw.send(FRAME.continuation, 0, 1)
    },
  ],
  [
    'SETTINGS whose acknowledgements nobody reads (CVE-2019-9515)',
    (raw) => {
      raw.socket.pause()
      for (let i = 0; i < 50_000; i++) raw.send(FRAME.settings, 0, 0, setting(3, i))
    },
  ],
  [
    'PINGs whose answers nobody reads (CVE-2019-9512)',
    (raw) => {
      raw.socket.pause()
      for (let i = 0; i < 50_000; i++) raw.send(FRAME.ping, 0, 0, Buffer.alloc(8))
    },
  ],
  [
    'DATA with nothing in it (CVE-2019-9518)',
    (raw) => {
      sendPost(raw)
      for (let i = 0; i < 1_000; i++) raw.send(FRAME.data, 0, 1)
    },
  ],
]

describe('a flood', () => {
  test.each(FLOODS)('of %s ends its connection, and others are served', async (_name, flood) => {
    const raw = await open(proxy.port)
    await flood(raw)
    expect((await other.ask('GET', '/queue', AUTH)).status).toBe(200)
    raw.socket.resume()
    await raw.closed()
    expect((await other.ask('GET', '/queue', AUTH)).status).toBe(200)
    const next = closing(await client2(proxy.port))
    expect((await next.ask('GET', '/queue', AUTH)).status).toBe(200)
  })

  test.each([
    ['PRIORITY', FRAME.priority, 1, Buffer.from('0000000010', 'hex')],
    ['PRIORITY_UPDATE', 0x10, 0, Buffer.concat([uint32(1), Buffer.from('u=1')])],
    ['of a type that nobody knows', 0xbe, 1, Buffer.alloc(100)],
    ['PING', FRAME.ping, 0, Buffer.alloc(8)],
    ['WINDOW_UPDATE', FRAME.window, 0, uint32(1)],
  ])('of 20,000 frames %s leaves others served', async (_name, type, stream, payload) => {
    const raw = await open(proxy.port)
    for (let i = 0; i < 20_000; i++) raw.send(type, 0, stream, payload)
    expect((await other.ask('GET', '/queue', AUTH)).status).toBe(200)
  })

  test('of header fields in one head (HPACK bomb, CVE-2016-6581) is refused, and none of it goes up', async () => {
    const raw = await open(proxy.port)
    const big = Buffer.concat([
      Buffer.from([0x40, 3]),
      Buffer.from('x-b'),
      Buffer.from('7fb11e', 'hex'),
      Buffer.alloc(4_016, 'a'),
    ])
    const bomb = Buffer.alloc(10_000, 0xbe) // the one entry of the dynamic table, 10,000 times: 40 MB
    raw.send(FRAME.headers, END_HEADERS | END_STREAM, 1, Buffer.concat([get(), big, bomb]))
    await raw.until(({ type }) => type === FRAME.reset || type === FRAME.goaway || type === FRAME.headers)
    expect((await other.ask('GET', '/system_stats', AUTH)).status).toBe(200)
    expect(sim.requests.map(({ target }) => target)).toEqual(['/system_stats'])
  })
})

describe('a client that takes nothing (a window of 0)', () => {
  const SIZE = 64 * 1024 * 1024

  async function slow(idleMs: number, end: boolean) {
    const sockets: Socket[] = []
    const { proxy: own, upstream } = await proxied(
      ({ socket }) => {
        sockets.push(socket)
        const body = Buffer.alloc(end ? 20_000 : SIZE, 'a')
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`)
        socket.write(body)
      },
      { tls, idleMs },
    )
    const raw = await open(own.port)
    raw.send(FRAME.settings, 0, 0, setting(4, 0))
    sendGet(raw)
    await raw.until(({ type, stream }) => type === FRAME.headers && stream === 1)
    return { own, upstream, raw, sockets }
  }

  test('holds ComfyUI back, and takes no memory beyond the buffers of its own connection', async () => {
    const { own, sockets } = await slow(60_000, false)
    const second = closing(await client2(own.port))
    const before = process.memoryUsage()
    expect((await second.ask('GET', '/auth_login.html')).status).toBe(200)
    await expect.poll(() => sockets[0]!.writableLength).toBeGreaterThan(SIZE / 2)
    expect(process.memoryUsage().arrayBuffers - before.arrayBuffers).toBeLessThan(8 * 1024 * 1024)
  })

  test.each([
    ['while ComfyUI still has more', false],
    ['once ComfyUI has ended', true],
  ])('is cut by its idleness, %s', async (_when, end) => {
    const { raw, upstream } = await slow(300, end)
    await raw.until(({ type, stream }) => type === FRAME.reset && stream === 1)
    if (!end) await expect.poll(() => upstream.connections()).toBe(0)
  })
})
