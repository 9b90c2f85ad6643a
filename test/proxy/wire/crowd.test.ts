import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { TURN_LIMITS, type TurnLimits } from '../../../src/proxy/wire/turn-limits.ts'
import { certificateFiles } from '../../support/certificate.ts'
import { temporaryFolder } from '../../support/cli.ts'
import { closers, closing } from '../../support/closers.ts'
import { client2, END_HEADERS, END_STREAM, FRAME, headerBlock, pseudo, raw2 } from '../../support/http2.ts'
import { exchange, get, proxied, type RawRequest, rawClient, rawUpstream, startProxy, USER, VIEWER } from './support.ts'

const PIECE = Buffer.alloc(64 * 1024, 0x61)
const BIG_BYTES = 1024 * PIECE.length

/** As much as is read, and bodies to their end: what a ComfyUI does. */
function answer({ head, socket }: RawRequest): void {
  if (head.startsWith('POST ')) return
  if (!/^GET \/(?:assets|view)/.test(head)) {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    return
  }
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${BIG_BYTES}\r\n\r\n`)
  const more = () => {
    while (!socket.destroyed && socket.write(PIECE));
  }
  socket.on('drain', more)
  more()
}

const serve = (turns: TurnLimits) => proxied(answer, { turns })

/** Asks from this address of loopback's, and never reads. */
async function deaf(port: number, request: string, localAddress = '127.0.0.2'): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  socket.on('error', () => {})
  closers.push(() => socket.destroy())
  await once(socket, 'connect')
  socket.write(request)
  return socket.pause()
}

const open = 'GET /assets/big.js HTTP/1.1\r\nHost: localhost\r\n\r\n'
const withKey = (line: string, key: string, more = '') =>
  `${line} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${key}\r\n${more}\r\n`
const polite = (port: number) => exchange(port, get('/prompt', 'Connection: close\r\n'))

const FEW: TurnLimits = {
  ...TURN_LIMITS,
  running: 12,
  perKey: 6,
  open: 4,
  perAddress: 3,
  keptOpen: 0,
  waiting: 8,
  openWaiting: 16,
}

test('readers without a key that never read hold nobody with a key up', async () => {
  const { proxy, upstream } = await serve({ ...FEW, patienceMs: 600_000 })
  for (let i = 0; i < 20; i++) await deaf(proxy.port, open, `127.0.0.${2 + (i % 8)}`)
  await upstream.request(FEW.open - 1)
  expect(await polite(proxy.port)).toMatch(/^HTTP\/1\.1 200 /)
  expect(upstream.requests.filter(({ head }) => head.startsWith('GET /assets'))).toHaveLength(FEW.open)
})

test('one connection that pipelines holds one exchange, whatever its number of requests', async () => {
  const { proxy, upstream } = await serve({ ...FEW, patienceMs: 600_000 })
  await deaf(proxy.port, open.repeat(90))
  await upstream.request(0)
  expect(await polite(proxy.port)).toMatch(/^HTTP\/1\.1 200 /)
  expect(upstream.requests.filter(({ head }) => head.startsWith('GET /assets'))).toHaveLength(1)
})

test("one key's readers and uploads that trickle hold no other key up", async () => {
  const { proxy, upstream } = await serve({ ...FEW, patienceMs: 500 })
  for (let i = 0; i < 6; i++) await deaf(proxy.port, withKey('GET /view?filename=a.png', VIEWER))
  for (let i = 0; i < 6; i++)
    await deaf(proxy.port, `${withKey('POST /upload/image', USER, 'Content-Length: 99\r\n')}a`)
  await upstream.request(11)
  // Every connection is taken: the next goes to whoever else waits, as soon as the stillest has been cut
  expect(await polite(proxy.port)).toMatch(/^HTTP\/1\.1 200 /)
})

test('an upload that trickles while others wait is 408, and ComfyUI never sees its end', async () => {
  const { proxy, upstream } = await serve({ ...FEW, perKey: 1, patienceMs: 500 })
  const slow = await deaf(proxy.port, `${withKey('POST /upload/image', USER, 'Content-Length: 99\r\n')}a`)
  const { socket } = await upstream.request(0)
  const next = exchange(proxy.port, withKey('GET /prompt', USER, 'Connection: close\r\n'))
  const cut = once(socket, 'close')
  let text = ''
  slow.on('data', (chunk) => {
    text += chunk
  })
  slow.resume()
  expect(await next).toMatch(/^HTTP\/1\.1 200 /)
  await cut
  while (!text.includes('\r\n\r\n')) await once(slow, 'data')
  expect(text).toMatch(/^HTTP\/1\.1 408 /)
})

test('a reader that stands still while its own key waits is cut, never ended as if it were whole', async () => {
  const { proxy, upstream } = await serve({ ...FEW, perKey: 1, patienceMs: 500 })
  const slow = await deaf(proxy.port, withKey('GET /view?filename=a.png', VIEWER))
  await upstream.request(0)
  expect(await exchange(proxy.port, withKey('GET /prompt', VIEWER, 'Connection: close\r\n'))).toMatch(
    /^HTTP\/1\.1 200 /,
  )
  let bytes = 0
  slow.on('data', (chunk) => {
    bytes += chunk.length
  })
  slow.resume()
  await once(slow, 'close')
  expect(bytes).toBeLessThan(BIG_BYTES)
})

test('too many that wait are told so at once, with a time to come again', async () => {
  const { proxy, upstream } = await serve({ ...FEW, perKey: 1, waiting: 2, patienceMs: 60_000 })
  await deaf(proxy.port, withKey('GET /view?filename=a.png', VIEWER))
  await upstream.request(0)
  const clients = await Promise.all([1, 2, 3].map(() => rawClient(proxy.port, withKey('GET /prompt', VIEWER))))
  const text = await Promise.race(clients.map((client) => client.until(/\r\n\r\n/)))
  for (const { socket } of clients) socket.destroy()
  expect(text).toMatch(/^HTTP\/1\.1 503 /)
  expect(text).toMatch(/\r\nRetry-After: 1\r\n/)
  expect(upstream.requests).toHaveLength(1)
})

test("a stranger's body is refused at once, however full ComfyUI is, and nothing is dialled for it", async () => {
  const accessLog = join(temporaryFolder(), 'access.log')
  const { proxy, upstream } = await proxied(answer, { accessLog, turns: { ...FEW, perAddress: 1, patienceMs: 60_000 } })
  await deaf(proxy.port, open, '127.0.0.1')
  await upstream.request(0)
  const told = await exchange(
    proxy.port,
    open.replace('big.js', 'small.js').replace('\r\n\r\n', '\r\nContent-Length: 9\r\n\r\n123456789'),
  )
  expect(told).toMatch(/^HTTP\/1\.1 413 [\s\S]*\r\nConnection: close\r\n/i)
  expect(upstream.requests).toHaveLength(1)
  while (!readFileSync(accessLog, 'utf8').includes('small.js')) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(JSON.parse(readFileSync(accessLog, 'utf8').trim())).toMatchObject({ path: '/assets/small.js', status: 413 })
})

test('over HTTP/2, where bodies come before their turn, few of one key wait with one', async () => {
  const tls = certificateFiles()
  const { proxy, upstream } = await proxied(() => {}, {
    tls,
    turns: { ...FEW, perKey: 1, waitingBodies: 2, patienceMs: 60_000 },
  })
  const client = closing(await client2(proxy.port))
  const post = (body: Buffer) => client.ask('POST', '/upload/image', { 'x-api-key': USER }, body)
  const body = Buffer.alloc(64 * 1024)
  const first = post(body)
  await upstream.request(0)
  const rest = [post(body), post(body), post(body), post(body)]
  const refused = await Promise.race(rest)
  expect([refused.status, refused.headers['retry-after']]).toEqual([503, '1'])
  const stranger = await client.ask('GET', '/assets/a.js', {}, body)
  expect([stranger.status, upstream.requests.length]).toEqual([413, 1])
  client.close()
  await Promise.allSettled([first, ...rest])
})

test('a key that dies while its requests wait takes them along', async () => {
  const { proxy, upstream } = await serve({ ...FEW, perKey: 1, patienceMs: 60_000 })
  await deaf(proxy.port, withKey('GET /view?filename=a.png', VIEWER))
  await upstream.request(0)
  const page = 'GET /auth_login.html HTTP/1.1\r\nHost: localhost\r\n\r\n'
  const client = await rawClient(proxy.port, page + withKey('GET /system_stats', VIEWER))
  await client.until(/<\/html>/) // whoever answers the first has read the second, which came with it
  proxy.keys.revoke('viewer')
  expect(await client.ended()).toMatch(/<\/html>\s*$/)
  expect(await polite(proxy.port)).toMatch(/^HTTP\/1\.1 200 /)
  expect(upstream.requests.map(({ head }) => head.split(' ')[1])).toEqual(['/view?filename=a.png', '/prompt'])
})

test('a connection that goes with its streams leaves none dialled for those that still waited', async () => {
  const tls = certificateFiles()
  const upstream = await rawUpstream(({ head, socket }) => {
    if (head.startsWith('GET /prompt')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  })
  const proxy = await startProxy(upstream.url, { tls, turns: { ...FEW, perKey: 3 } })
  closers.push(
    () => upstream.close(),
    () => proxy.close(),
  )
  const leaves = await raw2(proxy.port)
  const ask = headerBlock([...pseudo('GET', '/queue'), ['x-api-key', USER]])
  for (let i = 0; i < 11; i++) leaves.send(FRAME.headers, END_HEADERS | END_STREAM, 1 + 2 * i, ask)
  await upstream.request(2)
  const gone = Promise.all(upstream.requests.map(({ socket }) => once(socket, 'close')))
  leaves.socket.destroy()
  await gone
  const next = closing(await client2(proxy.port))
  expect((await next.ask('GET', '/prompt', { 'x-api-key': USER })).status).toBe(200)
  expect(upstream.connections()).toBe(1)
})
