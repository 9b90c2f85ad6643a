import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSim, type Sim } from '../../../src/sim/sim.ts'
import { closing } from '../../support/closers.ts'
import { ADMIN, exchange, get, rawClient, startProxy, type TestProxy, testKeys } from './support.ts'

let sim: Sim
let proxy: TestProxy

beforeAll(async () => {
  sim = await createSim()
  proxy = await startProxy(sim.url)
})

afterAll(async () => {
  await proxy.close()
  await sim.close()
})

const AUTH = `Authorization: Bearer ${ADMIN}\r\n`

/** Heads that no client library sends; each with a live key, so that only the head itself can be the reason. */
const REFUSED: Readonly<Record<string, readonly [number, string]>> = {
  'Content-Length beside Transfer-Encoding': [
    400,
    `POST /prompt HTTP/1.1\r\nHost: localhost\r\n${AUTH}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  'Transfer-Encoding beside Content-Length': [
    400,
    `POST /prompt HTTP/1.1\r\nHost: localhost\r\n${AUTH}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n`,
  ],
  'two Content-Lengths': [
    400,
    `POST /prompt HTTP/1.1\r\nHost: localhost\r\n${AUTH}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}`,
  ],
  'a signed Content-Length': [400, `POST /prompt HTTP/1.1\r\nHost: localhost\r\n${AUTH}Content-Length: +2\r\n\r\n{}`],
  'a coding before chunked': [
    400,
    `POST /prompt HTTP/1.1\r\nHost: localhost\r\n${AUTH}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  ],
  'a coding that is not chunked': [
    400,
    `POST /prompt HTTP/1.1\r\nHost: localhost\r\n${AUTH}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
  ],
  'Transfer-Encoding in HTTP/1.0': [
    400,
    `POST /prompt HTTP/1.0\r\nHost: localhost\r\n${AUTH}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  'obs-fold': [400, `GET /queue HTTP/1.1\r\nHost: localhost\r\n${AUTH}X-A: b\r\n c\r\n\r\n`],
  'bare LF in the request line': [400, `GET /queue HTTP/1.1\nHost: localhost\r\n${AUTH}\r\n`],
  'bare LF behind a header': [400, `GET /queue HTTP/1.1\r\nHost: localhost\n${AUTH}\r\n`],
  'bare CR in a header': [400, `GET /queue HTTP/1.1\r\nHost: localhost\rX: y\r\n${AUTH}\r\n`],
  'a control byte in a header': [400, `GET /queue HTTP/1.1\r\nHost: localhost\r\n${AUTH}X-A: \x01\r\n\r\n`],
  'a blank before the colon': [400, `GET /queue HTTP/1.1\r\nHost: localhost\r\n${AUTH}X-A : b\r\n\r\n`],
  'absolute form': [400, `GET http://localhost/queue HTTP/1.1\r\nHost: localhost\r\n${AUTH}\r\n`],
  'asterisk form': [400, `OPTIONS * HTTP/1.1\r\nHost: localhost\r\n${AUTH}\r\n`],
  'a fragment': [400, `GET /queue#.js HTTP/1.1\r\nHost: localhost\r\n${AUTH}\r\n`],
  'a fragment in the query': [400, `GET /view?filename=a#.js HTTP/1.1\r\nHost: localhost\r\n${AUTH}\r\n`],
  'bytes beyond ASCII in the target': [400, `GET /queue\xff HTTP/1.1\r\nHost: localhost\r\n${AUTH}\r\n`],
  CONNECT: [400, `CONNECT localhost:8188 HTTP/1.1\r\nHost: localhost\r\n${AUTH}\r\n`],
  'no Host': [400, `GET /queue HTTP/1.1\r\n${AUTH}\r\n`],
  'two Hosts': [400, `GET /queue HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n${AUTH}\r\n`],
  'a doubled Authorization': [400, `GET /queue HTTP/1.1\r\nHost: localhost\r\n${AUTH}${AUTH}\r\n`],
  'a lower-case method': [400, `get /queue HTTP/1.1\r\nHost: localhost\r\n${AUTH}\r\n`],
  'an unknown method': [400, `BREW /queue HTTP/1.1\r\nHost: localhost\r\n${AUTH}\r\n`],
  'HTTP/1.2': [400, `GET /queue HTTP/1.2\r\nHost: localhost\r\n${AUTH}\r\n`],
  'HTTP/2.0 in a head of HTTP/1': [505, `GET /queue HTTP/2.0\r\nHost: localhost\r\n${AUTH}\r\n`],
  'the preface of HTTP/2': [400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  'HTTP/0.9': [400, 'GET /queue\r\n\r\n'],
  'a head of 64 KiB': [431, `GET /queue HTTP/1.1\r\nHost: localhost\r\n${AUTH}X-A: ${'a'.repeat(65_536)}\r\n\r\n`],
  'a foreign expectation': [
    417,
    `POST /prompt HTTP/1.1\r\nHost: localhost\r\n${AUTH}Expect: gold\r\nContent-Length: 2\r\n\r\n{}`,
  ],
  TLS: [400, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
}

describe('a head that two readers could read differently', () => {
  for (const [name, [status, head]] of Object.entries(REFUSED)) {
    test(`${name}: ${status} in our shape, and the upstream sees nothing`, async () => {
      sim.clearRequests()
      const client = await rawClient(proxy.port, head)
      await client.until(/\r\n\r\n[\s\S]*\}\n$/)
      client.socket.destroy()
      const [, body] = client.text().split('\r\n\r\n')
      expect(client.text()).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
      expect(JSON.parse(body!)).toEqual({ error: expect.any(String), message: expect.any(String) })
      expect(sim.requests).toEqual([])
    })
  }

  test('what stands behind a broken head on the same connection is never read', async () => {
    sim.clearRequests()
    const text = await exchange(proxy.port, `GET /queue HTTP/1.1\nHost: x\n\n${get('/queue')}`)
    expect(text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
    expect(sim.requests).toEqual([])
  })

  test.each([
    [1_000, 400],
    [8_000, 431],
  ])('of %i tiny headers none hides behind a limit on their number: %i', async (count, status) => {
    sim.clearRequests()
    const filler = 'a:\r\n'.repeat(count)
    const text = await exchange(
      proxy.port,
      `GET /queue HTTP/1.1\r\nHost: localhost\r\n${filler}${AUTH}${AUTH}Connection: close\r\n\r\n`,
    )
    expect(text.slice(0, 13)).toBe(`HTTP/1.1 ${status} `)
    expect(sim.requests).toEqual([])
  })
})

test('pipelined requests are answered in order, each decided by itself', async () => {
  sim.clearRequests()
  const refused = 'GET /queue HTTP/1.1\r\nHost: localhost\r\n\r\n'
  const text = await exchange(proxy.port, get('/prompt') + refused + get('/prompt', 'Connection: close\r\n'))
  expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 401', 'HTTP/1.1 200'])
  expect(sim.requests.map(({ target }) => target)).toEqual(['/prompt', '/prompt'])
})

test('HTTP/1.0 is served, and its connection closed', async () => {
  const text = await exchange(proxy.port, `GET /prompt HTTP/1.0\r\nHost: localhost\r\n${AUTH}\r\n`)
  expect(text).toMatch(/^HTTP\/1.1 200 [\s\S]*queue_remaining/)
  expect(text).toMatch(/\r\nConnection: close\r\n/)
})

test('a half-sent head is 408 after its time, while other clients are served', async () => {
  const slow = closing(await startProxy(sim.url, { headMs: 1_000 }))
  const client = await rawClient(slow.port, 'GET /queue HTTP/1.1\r\nHost: loc')
  expect(await exchange(slow.port, get('/prompt', 'Connection: close\r\n'))).toMatch(/^HTTP\/1.1 200 /)
  expect(await client.ended()).toMatch(/^HTTP\/1.1 408 /)
})

test('connections beyond the cap are dropped, and a place that becomes free is given again', async () => {
  const small = closing(await startProxy(sim.url, { maxConnections: 1 }))
  const first = await rawClient(small.port, get('/prompt'))
  await first.until(/queue_remaining/)
  expect(await (await rawClient(small.port, get('/prompt'))).ended()).toBe('')
  first.socket.destroy()
  for (;;) {
    const again = await rawClient(small.port, get('/prompt', 'Connection: close\r\n'))
    if ((await again.ended()).startsWith('HTTP/1.1 200 ')) break
  }
})

test('close() lets a running answer finish, refuses new connections, and ends idle ones at once', async () => {
  const own = await startProxy(sim.url, { drainMs: 10_000 })
  sim.setFaults({ http: [{ path: '/system_stats', kind: 'delay', ms: 300 }] })
  const idle = await rawClient(own.port, get('/prompt'))
  await idle.until(/queue_remaining/)
  const busy = await rawClient(own.port, get('/system_stats'))
  while (!sim.requests.some(({ target }) => target === '/system_stats'))
    await new Promise((resolve) => setImmediate(resolve))
  const closed = own.close()
  await idle.ended()
  expect(busy.text()).toBe('')
  expect(await busy.ended()).toMatch(/^HTTP\/1.1 200 [\s\S]*comfyui_version/)
  await closed
  sim.setFaults({})
  const late = connect(own.port, '127.0.0.1')
  await expect(new Promise((_, reject) => late.once('error', reject))).rejects.toThrow('ECONNREFUSED')
})

test('close() cuts what is still running once the time is over', async () => {
  sim.setFaults({ http: [{ path: '/system_stats', kind: 'hang' }] })
  const own = await startProxy(sim.url, { drainMs: 50 })
  const busy = await rawClient(own.port, get('/system_stats'))
  while (!sim.requests.some(({ target }) => target === '/system_stats'))
    await new Promise((resolve) => setImmediate(resolve))
  await own.close()
  expect(await busy.ended()).toBe('')
  sim.setFaults({})
})

test('times longer than a timer can hold are long all the same', async () => {
  const monthMs = 30 * 86_400_000
  sim.clearRequests()
  sim.setFaults({ http: [{ path: '/system_stats', kind: 'delay', ms: 300 }] })
  const own = await startProxy(sim.url, { drainMs: monthMs, idleMs: monthMs })
  const busy = await rawClient(own.port, get('/system_stats'))
  while (!sim.requests.some(({ target }) => target === '/system_stats'))
    await new Promise((resolve) => setImmediate(resolve))
  const closed = own.close()
  expect(await busy.ended()).toMatch(/^HTTP\/1.1 200 [\s\S]*comfyui_version/)
  await closed
  sim.setFaults({})
})

test('without a key in the options, everybody may do everything', async () => {
  const open = closing(await startProxy(sim.url, { keys: undefined }))
  const response = await fetch(`${open.url}/queue`)
  expect(response.status).toBe(200)
})

test('a fault of our own is a 500 and a line for the owner, never the end of the process', async () => {
  const keys = {
    ...testKeys(),
    find: () => {
      throw new Error('the map burned down')
    },
  }
  const own = closing(await startProxy(sim.url, { keys }))
  const response = await fetch(`${own.url}/queue`, { headers: { authorization: `Bearer ${ADMIN}` } })
  expect(response.status).toBe(500)
  expect(own.lines.join('\n')).toContain('the map burned down')
  const socket = await rawClient(
    own.port,
    get(
      '/ws',
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n',
    ),
  )
  await socket.ended()
  expect((await fetch(`${own.url}/health`)).status).toBe(200)
})

test.each([
  ['a request', ''],
  [
    'an Upgrade',
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n',
  ],
])('%s behind a head whose framing is in doubt may be the inside of its body: nobody serves it', async (_, more) => {
  await exchange(proxy.port, get('/queue', 'Connection: close\r\n')) // a connection upstream stands ready
  sim.clearRequests()
  const doubtful = 'POST /prompt HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n'
  const text = await exchange(proxy.port, `${doubtful}${get('/ws', more)}`)
  expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 400'])
  expect(sim.requests).toEqual([])
})
