import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { TURN_LIMITS, type TurnLimits } from '../../../src/proxy/wire/turn-limits.ts'
import { switching } from '../../faults/websocket.ts'
import { temporaryFolder } from '../../support/cli.ts'
import { closers } from '../../support/closers.ts'
import { get, OTHER, proxied, type RawRequest, rawClient, USER, VIEWER } from './support.ts'

const PIECE = Buffer.alloc(32 * 1024, 0x61)
const BIG_BYTES = 1024 * 1024 * 1024

/** Joins /ws, sends what is big at a pace for ever, and the rest at once. */
function answer({ head, socket }: RawRequest): void {
  if (head.startsWith('GET /ws')) {
    socket.write(switching({ head }))
  } else if (/^GET \S*big/.test(head)) {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${BIG_BYTES}\r\n\r\n`)
    const timer = setInterval(() => socket.writableNeedDrain || socket.write(PIECE), 20)
    socket.on('close', () => clearInterval(timer))
  } else if (!head.includes('unread')) {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  }
}

interface Asker {
  readonly socket: Socket
  /** Of all that came. */
  bytes(): number
  /** The first head, once it is there. */
  head(): Promise<string>
}

async function ask(port: number, request: string, localAddress = '127.0.0.2'): Promise<Asker> {
  const socket = connect({ port, host: '127.0.0.1', localAddress }).on('error', () => {})
  closers.push(() => socket.destroy())
  await once(socket, 'connect')
  let bytes = 0
  let text = ''
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (!text.includes('\r\n\r\n')) text += chunk.toString('latin1')
  })
  socket.write(request)
  return {
    socket,
    bytes: () => bytes,
    async head() {
      while (!text.includes('\r\n\r\n')) {
        if (socket.destroyed) throw new Error('closed before its head')
        await Promise.race([once(socket, 'data'), once(socket, 'close')])
      }
      return text
    },
  }
}

const UPGRADE =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
const open = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`
const withKey = (path: string, key: string, more = '') => open(path, `X-API-Key: ${key}\r\n${more}`)

const FEW: TurnLimits = {
  ...TURN_LIMITS,
  running: 12,
  perKey: 6,
  open: 4,
  perAddress: 2,
  keptOpen: 0,
  patienceMs: 600_000,
  shareMs: 300,
}

test('an Upgrade that is answered with a file takes a turn as any request, and goes once others wait for it', async () => {
  const { proxy, upstream } = await proxied(answer, { turns: { ...FEW, patienceMs: 500 } })
  const big = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${BIG_BYTES}\r\n\r\n${'a'.repeat(32 * 1024 * 1024)}`)
  for (let i = 0; i < 20; i++) {
    const { socket } = await ask(proxy.port, withKey('/view?filename=unread', VIEWER, UPGRADE))
    socket.pause()
  }
  for (let i = 0; i < FEW.perKey; i++) (await upstream.request(i)).socket.write(big)
  expect(upstream.requests.filter(({ head }) => head.startsWith('GET /view'))).toHaveLength(FEW.perKey)
  const polite = await ask(proxy.port, get('/prompt'))
  expect(await polite.head()).toMatch(/^HTTP\/1\.1 200 /)
  await upstream.request(FEW.perKey + 1) // one that waited has its turn
  while (upstream.connections() > FEW.perKey + 1) await new Promise((resolve) => setTimeout(resolve, 5))
})

test('WebSockets of one key are at most half of all, and the next is refused before anything is dialled', async () => {
  const { proxy, upstream } = await proxied(answer, { maxConnections: 16 })
  const first = []
  for (let i = 0; i < 8; i++) first.push(await ask(proxy.port, withKey('/ws', VIEWER, UPGRADE)))
  for (const asker of first) expect(await asker.head()).toMatch(/^HTTP\/1\.1 101 /)
  const refused = await (await ask(proxy.port, withKey('/ws', VIEWER, UPGRADE))).head()
  expect(refused).toMatch(/^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: 5\r\n/)
  expect(refused).toMatch(/\r\nContent-Type: application\/json/)
  expect(upstream.requests).toHaveLength(8)
  expect(await (await ask(proxy.port, withKey('/ws', USER, UPGRADE))).head()).toMatch(/^HTTP\/1\.1 101 /)
  first[0]!.socket.destroy()
  while (upstream.connections() > 8) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(await (await ask(proxy.port, withKey('/ws', VIEWER, UPGRADE))).head()).toMatch(/^HTTP\/1\.1 101 /)
})

test('WebSockets without a key are at most 64 of one address, where --exempt-path lets them in', async () => {
  const { proxy, upstream } = await proxied(answer, { exemptPaths: ['/ws'], maxConnections: 400 })
  const heads = await Promise.all(
    Array.from({ length: 65 }, async () => (await ask(proxy.port, open('/ws', UPGRADE))).head()),
  )
  expect(heads.filter((head) => head.startsWith('HTTP/1.1 101 '))).toHaveLength(64)
  expect(heads.filter((head) => head.startsWith('HTTP/1.1 503 '))).toHaveLength(1)
  expect(upstream.requests).toHaveLength(64)
  expect(await (await ask(proxy.port, open('/ws', UPGRADE), '127.0.0.3')).head()).toMatch(/^HTTP\/1\.1 101 /)
})

test('strangers of two addresses that read fast enough keep no third from the page’s files', async () => {
  const accessLog = join(temporaryFolder(), 'access.log')
  const { proxy, upstream } = await proxied(answer, { turns: FEW, accessLog })
  const readers = []
  for (let i = 0; i < 12; i++) readers.push(await ask(proxy.port, open('/assets/big.js'), `127.0.0.${2 + (i % 2)}`))
  await upstream.request(FEW.open - 1)
  const cut = Promise.race(readers.map(async (reader) => (await once(reader.socket, 'close')) && reader))
  const third = await ask(proxy.port, open('/assets/small.js'), '127.0.0.4')
  expect(await third.head()).toMatch(/^HTTP\/1\.1 200 /)
  const reader = await cut
  expect(await reader.head()).toMatch(new RegExp(`\r\nContent-Length: ${BIG_BYTES}\r\n`))
  expect(reader.bytes()).toBeLessThan(BIG_BYTES)
  while (!readFileSync(accessLog, 'utf8').includes('small.js')) await new Promise((resolve) => setTimeout(resolve, 5))
  const told = readFileSync(accessLog, 'utf8')
    .split('\n')
    .filter((line) => line.includes('gave-way'))
  expect(told).toHaveLength(1)
  expect(JSON.parse(told[0]!)).toMatchObject({ client: '127.0.0.2', path: '/assets/big.js', reason: 'gave-way' })
})

test('two keys whose readers are fast enough keep no third waiting', async () => {
  const { proxy, upstream } = await proxied(answer, { turns: FEW })
  const keys = [VIEWER, OTHER]
  for (let i = 0; i < 24; i++) await ask(proxy.port, withKey('/view?filename=big', keys[i % 2]!))
  await upstream.request(FEW.running - 1)
  const third = await ask(proxy.port, withKey('/prompt', USER))
  expect(await third.head()).toMatch(/^HTTP\/1\.1 200 /)
})

test('strangers of two addresses that fill the waiting room keep no third out of it: their newest is told to come again', async () => {
  const accessLog = join(temporaryFolder(), 'access.log')
  const turns = { ...FEW, perAddress: 1, open: 2, openWaiting: 4, shareMs: 600_000 }
  const { proxy, upstream } = await proxied(answer, { turns, accessLog, exemptPaths: ['/ws'] })
  const askers = []
  for (const [path, more] of [['/assets/unread.js'], ['/assets/b.js'], ['/ws', UPGRADE]] as const) {
    for (const address of ['127.0.0.2', '127.0.0.3']) askers.push(await ask(proxy.port, open(path, more), address))
  }
  await upstream.request(1)
  const third = await ask(proxy.port, open('/assets/c.js'), '127.0.0.4')
  const fourth = await ask(proxy.port, open('/assets/d.js'), '127.0.0.5')
  for (const asker of askers.slice(4)) {
    expect(await asker.head()).toMatch(/^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: 1\r\n/)
  }
  const logged = () =>
    readFileSync(accessLog, 'utf8')
      .split('\n')
      .filter((line) => line.includes('"/ws"'))
  while (logged().length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(logged().map((line) => JSON.parse(line).status)).toEqual([503, 503])
  for (const asker of askers.slice(0, 2)) asker.socket.destroy()
  for (const asker of [...askers.slice(2, 4), third, fourth]) expect(await asker.head()).toMatch(/^HTTP\/1\.1 200 /)
  expect(upstream.requests.some(({ head }) => head.startsWith('GET /ws'))).toBe(false)
})

test('an HTTP/1 request that makes place for another address gets its answer, and its connection goes on', async () => {
  const turns = { ...FEW, perAddress: 1, open: 1, openWaiting: 2, shareMs: 600_000 }
  const { proxy, upstream } = await proxied(answer, { turns })
  await ask(proxy.port, open('/assets/unread.js'))
  await upstream.request(0)
  await ask(proxy.port, open('/assets/b.js'), '127.0.0.1')
  const newest = await rawClient(proxy.port, open('/assets/c.js') + open('/auth_login.html'))
  await ask(proxy.port, open('/assets/d.js'), '127.0.0.3')
  expect(await newest.until(/<\/html>/)).toMatch(/^HTTP\/1\.1 503 [\s\S]*HTTP\/1\.1 200 /)
  expect(upstream.requests).toHaveLength(1)
})
