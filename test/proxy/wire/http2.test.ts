import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createSim, type Sim } from '../../../src/sim/sim.ts'
import { certificateFiles } from '../../support/certificate.ts'
import { temporaryFolder } from '../../support/cli.ts'
import { closing } from '../../support/closers.ts'
import {
  type Client2,
  client2,
  END_HEADERS,
  END_STREAM,
  FRAME,
  headerBlock,
  pseudo,
  raw2,
} from '../../support/http2.ts'
import { ADMIN, proxied, rawUpstream, startProxy, type TestProxy, VIEWER } from './support.ts'

const AUTH = { authorization: `Bearer ${ADMIN}` }
const AUTH_FIELD = ['authorization', `Bearer ${ADMIN}`] as const

let tls: ReturnType<typeof certificateFiles>
let sim: Sim
let proxy: TestProxy
let client: Client2

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
  client = closing(await client2(proxy.port))
  sim.clearRequests()
})

async function secured(answer: Parameters<typeof proxied>[0], options: Parameters<typeof proxied>[1] = {}) {
  const { upstream, proxy: own } = await proxied(answer, { tls, ...options })
  return { upstream, own, client: closing(await client2(own.port)) }
}

const namesSeen = () => sim.requests[0]!.headers.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())

describe('a request of HTTP/2', () => {
  test('passes the same rules: 401 without a key, 403 for too small a role, and through with one', async () => {
    expect((await client.ask('GET', '/queue')).status).toBe(401)
    expect((await client.ask('POST', '/free', { authorization: `Bearer ${VIEWER}` }, '{}')).status).toBe(403)
    expect(sim.requests).toEqual([])
    const { status, body } = await client.ask('GET', '/queue', AUTH)
    expect([status, JSON.parse(body)]).toEqual([200, { queue_running: [], queue_pending: [] }])
  })

  test('may name its Host twice alike, and is 400 where Host and :authority differ', async () => {
    const authority = `127.0.0.1:${proxy.port}`
    expect((await client.ask('GET', '/queue', { ...AUTH, host: authority })).status).toBe(200)
    const given = { ...AUTH, ':authority': authority, host: 'localhost' }
    expect((await client.ask('GET', '/queue', given)).status).toBe(400)
    expect(sim.requests).toHaveLength(1)
  })

  test('is 421 under a name that is not ours, by :authority', async () => {
    expect((await client.ask('GET', '/queue', { ...AUTH, ':authority': 'rebound.example' })).status).toBe(421)
    expect(sim.requests).toEqual([])
  })

  test('finds its session in any of several Cookie fields, and theirs go up without it', async () => {
    const form = { 'content-type': 'application/x-www-form-urlencoded' }
    const login = await client.ask('POST', '/auth_login.html', form, `api_key=${ADMIN}`)
    const cookie = login.headers['set-cookie']![0]!
    expect(cookie).toMatch(new RegExp(`^__Host-comfy_auth_${proxy.port}=.*; Secure`))
    const cookies = ['theme=dark', cookie.split(';')[0]!, 'lang=en']
    expect((await client.ask('GET', '/queue', { cookie: cookies })).status).toBe(200)
    const { headers } = sim.requests.at(-1)!
    expect(headers[headers.findIndex((name) => name.toLowerCase() === 'cookie') + 1]).toBe('theme=dark; lang=en')
  })

  test('leaves te and its pseudo-headers behind, and keeps its target byte for byte', async () => {
    await client.ask('GET', '/userdata/workflows%2Fa.json?x=%41', { ...AUTH, te: 'trailers' })
    expect(sim.requests[0]!.target).toBe('/userdata/workflows%2Fa.json?x=%41')
    expect(namesSeen()).not.toContain('te')
    expect(namesSeen().filter((name) => name.startsWith(':'))).toEqual([])
  })

  test.each(['http://127.0.0.1/queue', '*', 'queue', '/queue#.js', ''])(
    'with the target %j is refused',
    async (path) => {
      const raw = closing(await raw2(proxy.port))
      raw.send(FRAME.headers, END_HEADERS | END_STREAM, 1, headerBlock([...pseudo('GET', path), AUTH_FIELD]))
      await raw.until(({ stream, type }) => (stream === 1 && type !== FRAME.settings) || type === FRAME.goaway)
      expect(sim.requests).toEqual([])
    },
  )

  test('CONNECT is refused, of the WebSocket kind too', async () => {
    const answer = new Promise((resolve) => {
      const stream = client.session.request({ ':method': 'CONNECT', ':authority': 'localhost:1', ...AUTH })
      stream.on('response', (head) => resolve(head[':status']))
    })
    expect(await answer).toBe(400)
    const raw = closing(await raw2(proxy.port))
    const fields = [...pseudo('CONNECT', '/ws'), [':protocol', 'websocket'] as const, AUTH_FIELD]
    raw.send(FRAME.headers, END_HEADERS, 1, headerBlock(fields))
    await raw.until(({ stream, type }) => (stream === 1 && type === FRAME.reset) || type === FRAME.goaway)
    expect(sim.requests).toEqual([])
  })

  test.each([
    ['connection', 'keep-alive'],
    ['transfer-encoding', 'chunked'],
    ['upgrade', 'websocket'],
    ['te', 'gzip'],
    ['content-length', '5'],
    [':path', '/health'],
    [':authority', '127.0.0.1'],
    ['X-Upper', 'case'],
  ])('with %s: %j is malformed, and nothing of it goes up', async (name, value) => {
    const raw = closing(await raw2(proxy.port))
    const fields = name.startsWith(':')
      ? [...pseudo('GET', '/queue'), [name, value] as const, AUTH_FIELD]
      : [...pseudo('GET', '/queue'), AUTH_FIELD, [name, value] as const]
    raw.send(FRAME.headers, END_HEADERS | END_STREAM, 1, headerBlock(fields))
    await raw.until(({ stream, type }) => (stream === 1 && type === FRAME.reset) || type === FRAME.goaway)
    expect(sim.requests).toEqual([])
  })

  test('a line break in a value takes its header away, and makes no other', async () => {
    const raw = closing(await raw2(proxy.port))
    const fields = [...pseudo('GET', '/queue'), AUTH_FIELD, ['x-line', 'a\r\nX-Other: b'] as const]
    raw.send(FRAME.headers, END_HEADERS | END_STREAM, 1, headerBlock(fields))
    await raw.until(({ stream, type }) => stream === 1 && type !== FRAME.settings)
    expect(JSON.stringify(sim.requests.map(({ headers }) => headers)).toLowerCase()).not.toMatch(/x-other|x-line/)
  })

  test('counts under its own address: wrong keys are throttled', async () => {
    const auditLog = join(temporaryFolder(), 'audit.log')
    const { client: own } = await secured(() => {}, { throttle: { limit: 2 }, auditLog })
    const statuses: number[] = []
    for (const key of ['a', 'b', 'c']) statuses.push((await own.ask('GET', '/queue', { 'x-api-key': key })).status)
    expect(statuses).toEqual([401, 401, 429])
    await expect.poll(() => readFileSync(auditLog, 'utf8')).toContain('"client":"127.0.0.1"')
  })

  test('an expectation that is not 100-continue is 417', async () => {
    expect((await client.ask('POST', '/prompt', { ...AUTH, expect: 'a-pony' }, '{}')).status).toBe(417)
    expect(sim.requests).toEqual([])
  })
})

describe('a body over HTTP/2', () => {
  test('comes up whole, with and without its length told', async () => {
    const body = Buffer.alloc(3_000_000, 'a')
    for (const headers of [{}, { 'content-length': body.length }]) {
      expect((await client.ask('POST', '/userdata/a.json?overwrite=true', { ...AUTH, ...headers }, body)).status).toBe(
        200,
      )
      expect(sim.requests.at(-1)!.body.bytes).toBe(body.length)
    }
  })

  test('of nothing, told of only behind the head, is whole', async () => {
    expect((await client.ask('POST', '/userdata/a.json?overwrite=true', AUTH, '')).status).toBe(200)
    expect(sim.requests.at(-1)!.body.bytes).toBe(0)
  })

  test.each([0, 8])('that its client takes back with code %i is no whole body to ComfyUI', async (code) => {
    const { upstream, own } = await secured(() => {})
    const raw = closing(await raw2(own.port))
    raw.send(FRAME.headers, END_HEADERS, 1, headerBlock([...pseudo('POST', '/userdata/a.json'), AUTH_FIELD]))
    raw.send(FRAME.data, 0, 1, Buffer.from('{"half":'))
    const seen = await upstream.request(0)
    raw.send(FRAME.reset, 0, 1, Buffer.from([0, 0, 0, code]))
    await once(seen.socket, 'close')
    expect(seen.body()).not.toContain('\r\n0\r\n')
  })
})

describe('an answer over HTTP/2', () => {
  test('speaks of no connection, and two cookies stay two', async () => {
    const { client: own } = await secured(({ socket }) => {
      socket.write(
        'HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nX-Name: \xc3\xa9\r\n' +
          'Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nVary: A\r\nVary: B\r\nContent-Type: a/b\r\nContent-Type: a/c\r\nContent-Length: 2\r\n\r\nok',
        'latin1',
      )
    })
    const { status, headers, body } = await own.ask('GET', '/queue', AUTH)
    expect([status, body]).toEqual([200, 'ok'])
    for (const name of ['connection', 'x-hop', 'keep-alive', 'upgrade', 'transfer-encoding']) {
      expect(headers).not.toHaveProperty(name)
    }
    expect(headers['set-cookie']).toEqual(['a=1', 'b=2'])
    expect(headers.vary).toBe('A, B')
    expect(headers['x-name']).toBe('\u00c3\u00a9') // latin1 both ways
  })

  test('that ComfyUI cuts is reset, never ended as if it were whole', async () => {
    const { client: own } = await secured(({ socket }) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n')
      setImmediate(() => socket.destroy())
    })
    await expect(own.ask('GET', '/queue', AUTH)).rejects.toMatchObject({ code: 'ERR_HTTP2_STREAM_ERROR' })
  })

  test.each(['HEAD', 'GET'])('to %s ends, with 204 and 304 too', async (method) => {
    for (const head of ['204 No Content\r\n', '304 Not Modified\r\n', '200 OK\r\nContent-Length: 0\r\n']) {
      const { client: own } = await secured(({ socket }) => socket.write(`HTTP/1.1 ${head}\r\n`))
      expect((await own.ask(method, '/queue', AUTH)).body).toBe('')
    }
  })

  test('whose client goes takes the request upstream with it, and the connection serves the next', async () => {
    const { upstream, client: own } = await secured(({ socket, head }) => {
      if (head.includes('/queue')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    })
    const stream = own.session.request({ ':path': '/history', ...AUTH })
    stream.on('error', () => {})
    const { socket } = await upstream.request(0)
    stream.close(8)
    await once(socket, 'close')
    expect((await own.ask('GET', '/queue', AUTH)).body).toBe('ok')
  })
})

describe('close()', () => {
  async function standing(drainMs: number) {
    const upstream = closing(await rawUpstream())
    const own = await startProxy(upstream.url, { tls, drainMs })
    const busy = closing(await client2(own.port))
    return { upstream, own, busy }
  }

  test('lets a running answer finish, and ends idle connections at once', async () => {
    const { upstream, own, busy } = await standing(20_000)
    const idle = await client2(own.port)
    const gone = once(idle.session, 'close')
    const answer = busy.ask('GET', '/history', AUTH)
    const { socket } = await upstream.request(0)
    const closed = own.close()
    await gone
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    expect((await answer).body).toBe('ok')
    await closed
  })

  test('cuts what outlasts the drain', async () => {
    const { upstream, own, busy } = await standing(100)
    const answer = busy.ask('GET', '/history', AUTH)
    answer.catch(() => {})
    await upstream.request(0)
    await own.close()
    await expect(answer).rejects.toThrow()
  })
})

describe('floods', () => {
  test('1,000 streams reset at once end their connection, and another client is served meanwhile', async () => {
    const raw = closing(await raw2(proxy.port))
    const head = headerBlock([...pseudo('GET', '/history'), AUTH_FIELD])
    const cancel = Buffer.from([0, 0, 0, 8])
    for (let stream = 1; stream < 2_000; stream += 2) {
      raw.send(FRAME.headers, END_HEADERS | END_STREAM, stream, head)
      raw.send(FRAME.reset, 0, stream, cancel)
    }
    expect((await client.ask('GET', '/queue', AUTH)).status).toBe(200)
    await raw.closed()
    expect((await client.ask('GET', '/queue', AUTH)).status).toBe(200)
  })

  test('a head that never ends (CONTINUATION) ends its connection', async () => {
    const raw = closing(await raw2(proxy.port))
    raw.send(FRAME.headers, END_STREAM, 1, headerBlock(pseudo('GET', '/queue')))
    for (let i = 0; i < 200; i++) raw.send(FRAME.continuation, 0, 1, headerBlock([[`x-${i}`, 'a'.repeat(100)]]))
    await raw.closed()
    expect((await client.ask('GET', '/queue', AUTH)).status).toBe(200)
    expect(JSON.stringify(sim.requests)).not.toContain('x-0')
  })

  test('a head above 32 KiB is 431', async () => {
    const big = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`x-${i}`, 'a'.repeat(1_000)]))
    expect((await client.ask('GET', '/embeddings', { ...AUTH, ...big })).status).toBe(431)
    expect(sim.requests.map(({ target }) => target)).not.toContain('/embeddings')
  })

  test('more than 100 streams at once end their connection', async () => {
    const { own, upstream } = await secured(() => {})
    const raw = await raw2(own.port)
    const head = headerBlock([...pseudo('GET', '/history'), AUTH_FIELD])
    await raw.until(({ type }) => type === FRAME.settings)
    raw.send(FRAME.settings, 1, 0)
    for (let stream = 1; stream <= 401; stream += 2) raw.send(FRAME.headers, END_HEADERS | END_STREAM, stream, head)
    await raw.closed()
    expect(upstream.requests.length).toBeLessThanOrEqual(100)
  })

  test('a connection on which nothing is asked is closed after the time for a head', async () => {
    const { own } = await secured(() => {}, { headMs: 300 })
    const raw = await raw2(own.port)
    await raw.closed()
  })
})
