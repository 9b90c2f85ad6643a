import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { createKey } from '../../src/keys/lifecycle.ts'
import { temporaryFolder } from '../support/cli.ts'
import { type Door, openDoor } from '../support/door.ts'
import { misbehaving, type Upstream } from './upstream.ts'
import { switching, textFrame } from './websocket.ts'

const HOUR = 3_600_000
const trueNow = Date.now.bind(Date)

let shiftMs = 0
let door: Door
let upstream: Upstream
let folder: string

beforeEach(async () => {
  shiftMs = 0
  vi.spyOn(Date, 'now').mockImplementation(() => trueNow() + shiftMs)
  folder = temporaryFolder()
  upstream = await misbehaving()
  door = await openDoor({ upstream: upstream.url, auditLog: join(folder, 'audit.log'), throttle: { limit: 3 } })
})

afterEach(async () => {
  await door.close()
  await upstream.close()
  vi.restoreAllMocks()
})

/** A WebSocket that stays open, with what it heard. */
async function open(headers: Record<string, string>, clientId: string) {
  const socket = new WebSocket(`ws://127.0.0.1:${door.port}/ws?clientId=${clientId}`, { headers })
  await once(socket, 'open')
  return { socket, closed: once(socket, 'close').then(([code]) => code as number) }
}

const bearer = (key: string) => ({ Authorization: `Bearer ${key}` })
const plain = { 'Sec-Fetch-Site': 'same-origin' }

test('a clock that jumps forwards ends what has run out, with its sockets, and nothing else', async () => {
  const { key: short } = await createKey({
    label: 'short',
    role: 'user',
    keyring: door.keyring,
    expires: new Date(trueNow() + HOUR),
  })
  await door.keys.live.reload()
  const cookie = await door.logIn(door.keys.user)
  upstream.answer = (asked) =>
    /\r\nupgrade:/i.test(asked.head)
      ? asked.socket.write(switching(asked))
      : asked.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  const ofSession = await open({ Cookie: cookie, Origin: `http://127.0.0.1:${door.port}` }, 'session')
  const ofShort = await open(bearer(short), 'short')
  const ofAdmin = await open(bearer(door.keys.admin), 'admin')
  shiftMs = 13 * HOUR
  expect((await door.ask('GET', '/queue', { headers: bearer(short) })).status).toBe(401)
  expect(await ofShort.closed).toBe(4401)
  expect(await ofSession.closed).toBe(4401)
  expect((await door.ask('GET', '/queue', { headers: { ...plain, Cookie: cookie } })).status).toBe(401)
  expect(ofAdmin.socket.readyState).toBe(WebSocket.OPEN)
  expect((await door.ask('GET', '/queue', { headers: bearer(door.keys.admin) })).body).toBe('ok')
  // It goes back again: what was ended stays so; the key that only seemed to have run out lives.
  shiftMs = 0
  expect((await door.ask('GET', '/queue', { headers: { ...plain, Cookie: cookie } })).status).toBe(401)
  expect((await door.ask('GET', '/queue', { headers: bearer(short) })).body).toBe('ok')
  ofAdmin.socket.terminate()
})

test('a clock that jumps backwards under way: no wait is negative or longer than the longest, no time in the log either', async () => {
  const cookie = await door.logIn(door.keys.user)
  upstream.answer = (asked) => {
    shiftMs = -24 * HOUR
    asked.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  }
  for (let i = 0; i < 3; i++) await door.ask('GET', '/queue', { headers: bearer(`wrong key number ${i}, long enough`) })
  const guess = () => door.ask('GET', '/queue', { headers: bearer('wrong key number 9, long enough') })
  expect((await guess()).status).toBe(429)
  const post = { headers: bearer(door.keys.admin), body: '{}' }
  expect((await door.ask('POST', '/upload/image', post)).body).toBe('ok')
  const { status, headers } = await guess()
  expect(status).toBe(429)
  expect(Number(headers['retry-after'])).toBeGreaterThan(0)
  expect(Number(headers['retry-after'])).toBeLessThanOrEqual(900)
  // The session that began "tomorrow" goes on.
  expect((await door.ask('GET', '/queue', { headers: { ...plain, Cookie: cookie } })).body).toBe('ok')
  const audited = () => readFileSync(join(folder, 'audit.log'), 'utf8')
  while (!audited().includes('/upload/image')) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(audited()).not.toMatch(/"ms":-/)
})

test('a reader that is slow for a moment is not cut as stalled because the clock was set', async () => {
  const payload = Buffer.alloc(80 * 2 ** 20) // more than any kernel keeps, less than may wait for one socket
  const { promise: allTaken, resolve } = Promise.withResolvers<void>()
  upstream.answer = (asked) => {
    asked.socket.write(`${switching(asked)}${textFrame('hello')}`, 'latin1')
    asked.socket.write(payload, () => resolve())
  }
  const socket = connect(door.port, '127.0.0.1')
  socket.write(
    `GET /ws?clientId=slow HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${door.keys.admin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  )
  await once(socket, 'readable')
  await allTaken // what the kernel has no room for waits in the relay
  shiftMs = HOUR
  // Relays are looked at every second: it takes two looks to be sure that one came after the jump.
  await new Promise((resolve) => setTimeout(resolve, 2_100))
  let taken = 0
  await new Promise<void>((resolve) => {
    socket.once('close', () => resolve())
    socket.on('data', (chunk: Buffer) => {
      taken += chunk.length
      if (taken > payload.length) resolve()
    })
  })
  expect(taken).toBeGreaterThan(payload.length)
  socket.destroy()
})
