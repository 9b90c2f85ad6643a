import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { placesWithin } from '../../src/proxy/descriptors.ts'
import { closing } from '../support/closers.ts'
import { ask1, request, type Seen, UPGRADE } from './client.ts'
import { rowsOf } from './doc.ts'
import { auditLines, KEY, type Served, serve } from './process.ts'
import { type Asked, answerWell, misbehaving, type Upstream } from './upstream.ts'
import { switching } from './websocket.ts'

async function stage(
  args: readonly string[] = [],
  under: readonly string[] = [],
  uid?: number,
): Promise<[Upstream, Served]> {
  const upstream = closing(await misbehaving())
  return [upstream, closing(await serve(upstream.url, args, under, uid))]
}

let marker = 0
const good = async (port: number): Promise<void> => {
  const path = `/queue?marker=${++marker}`
  expect(await ask1(port, { path })).toMatchObject({ outcome: '200', body: `good ${marker}` })
}

const login = (port: number): Promise<Seen> =>
  ask1(port, {
    method: 'POST',
    path: '/auth_login.html',
    headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ api_key: KEY }).toString(),
  })

/** Answers on one connection after another request. */
async function askOn(socket: Socket, path: string): Promise<string> {
  socket.write(request({ path }))
  const [chunk] = (await once(socket, 'data')) as [Buffer]
  return chunk.toString('latin1')
}

test.each([256, 1_024])(
  'a process that may open %i files serves on while idle clients take all they get',
  async (most) => {
    const [upstream, served] = await stage([], ['prlimit', `--nofile=${most}`])
    await upstream.letGo()
    const before = served.fds()
    // Some are in, and have not yet said all that they want.
    const asking = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const socket = connect(served.port, '127.0.0.1')
        await once(socket, 'connect')
        const text = request({ path: `/queue?marker=m${i}` })
        socket.write(text.slice(0, 30))
        return { socket, rest: text.slice(30), answer: once(socket, 'data') }
      }),
    )
    const open = new Set<Socket>()
    for (let i = 0; i < most; i++) {
      const socket = connect(served.port, '127.0.0.1').on('error', () => {})
      open.add(socket)
      socket.on('close', () => open.delete(socket))
    }
    // Those beyond its cap are told at once.
    while (open.size > placesWithin(20_000, most).connections) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(served.fds()).toBeLessThan(most)
    // Who is in is served, by connections to ComfyUI that are dialled only now.
    for (const { socket, rest } of asking) socket.write(rest)
    for (const [i, { socket, answer }] of asking.entries()) {
      expect(String(((await answer) as [Buffer])[0])).toMatch(new RegExp(`good m${i}$`))
      socket.destroy()
    }
    for (const socket of open) socket.destroy()
    for (const pooled of upstream.open) pooled.destroy()
    await served.fdsWithin(before)
    await good(served.port)
  },
)

test("where few files may be open one key's WebSockets end at a 503, and who is in is served", async () => {
  const most = 1_024
  const [upstream, served] = await stage([], ['prlimit', `--nofile=${most}`])
  upstream.answer = (asked) => {
    if (/^Upgrade: /im.test(asked.head)) asked.socket.write(switching(asked))
    else answerWell(asked)
  }
  const [mine, ...sockets] = await Promise.all(
    Array.from({ length: 151 }, async () => {
      const socket = connect(served.port, '127.0.0.1').on('error', () => {})
      await once(socket, 'connect')
      return socket
    }),
  )
  const handshake = request({ path: '/ws', headers: UPGRADE })
  const statuses = await Promise.all(
    sockets.map(async (socket) => {
      socket.write(handshake)
      const [chunk] = (await once(socket, 'data')) as [Buffer]
      return chunk.toString('latin1', 9, 12)
    }),
  )
  const half = placesWithin(20_000, most).sockets / 2
  expect(statuses.filter((status) => status === '101')).toHaveLength(half)
  expect(statuses.filter((status) => status === '503')).toHaveLength(sockets.length - half)
  const idle = Array.from({ length: most }, () => connect(served.port, '127.0.0.1').on('error', () => {}))
  expect(await askOn(mine!, '/queue?marker=a')).toMatch(/good a$/)
  expect(served.fds()).toBeLessThan(most)
  for (const socket of [mine!, ...sockets, ...idle]) socket.destroy()
})

test('no descriptor left to dial with: 503, its owner is told why, and it goes on once there are some', async () => {
  const [upstream, served] = await stage()
  const socket = connect(served.port, '127.0.0.1')
  await once(socket, 'connect')
  expect(await askOn(socket, '/queue?marker=a')).toMatch(/good a$/)
  await upstream.letGo()
  const limit = (files: number) => execFileSync('prlimit', ['--pid', String(served.pid), `--nofile=${files}:`])
  limit(3) // what is open stays open, and nothing new can be
  expect(await askOn(socket, '/queue')).toMatch(/^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: /)
  await served.says(/has no file descriptor left/)
  limit(1_000)
  expect(await askOn(socket, '/queue?marker=b')).toMatch(/good b$/)
  socket.destroy()
})

test('a disk that takes nothing more: served and logged in all the same, told once, and made up for', async () => {
  const [, served] = await stage(['--idle-timeout', '1s'])
  await login(served.port)
  while (auditLines(served).length < 1) await new Promise((resolve) => setTimeout(resolve, 5))
  const room = (bytes: string) => execFileSync('prlimit', ['--pid', String(served.pid), `--fsize=${bytes}:`])
  room('1')
  const { outcome, head } = await login(served.port)
  expect(outcome).toBe('303')
  const cookie = /\r\nSet-Cookie: ([^;]*)/.exec(head)![1]!
  await served.says(/The audit log cannot be written/)
  const told = await served.says(/Sessions cannot be written/)
  expect(told).not.toMatch(/fault of comfy-auth/)
  await good(served.port)
  // The session lives in memory, and is written down as soon as there is room.
  const path = '/queue?marker=session'
  const headers = { Cookie: cookie, Authorization: '' }
  expect(await ask1(served.port, { path, headers })).toMatchObject({ body: 'good session' })
  room('unlimited')
  while (!/"lost"|lost/.test(JSON.stringify(auditLines(served)))) {
    await login(served.port)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  expect(served.output().match(/The audit log cannot be written/g)).toHaveLength(1)
})

test('a state folder that becomes read-only under it: served and logged in all the same', async () => {
  // Root may write anywhere: then it runs as somebody else.
  const [, served] = await stage([], [], process.getuid!() === 0 ? 65_534 : undefined)
  chmodSync(served.home, 0o500)
  for (let i = 0; i < 2; i++) {
    const { outcome, head } = await login(served.port)
    expect(outcome).toBe('303')
    const headers = { Cookie: /\r\nSet-Cookie: ([^;]*)/.exec(head)![1]!, Authorization: '' }
    expect(await ask1(served.port, { path: '/queue?marker=s', headers })).toMatchObject({ body: 'good s' })
  }
  served.kill('SIGHUP')
  await served.says(/[Kk]eys were read again/)
  await good(served.port)
  expect(served.output()).not.toMatch(/fault of comfy-auth/)
  served.kill('SIGTERM')
  expect(await served.ended()).toBe(0)
})

test('SIGTERM under load: what runs is finished whole, nothing is cut, and it ends with 0', async () => {
  const [upstream, served] = await stage()
  const waiting: Asked[] = []
  upstream.answer = (asked) => {
    if (asked.query('held') === '') answerWell(asked)
    else waiting.push(asked)
  }
  const held = Array.from({ length: 20 }, (_, i) => ask1(served.port, { path: `/queue?held=1&marker=h${i}` }))
  while (waiting.length < 20) await new Promise((resolve) => setTimeout(resolve, 5))
  let running = true
  const outcomes: Seen[] = []
  const clients = Array.from({ length: 8 }, async () => {
    while (running) outcomes.push(await ask1(served.port, { path: '/queue?marker=x' }))
  })
  while (outcomes.length < 50) await new Promise((resolve) => setTimeout(resolve, 5))
  served.kill('SIGTERM')
  await served.says(/Stopping/)
  for (const asked of waiting) answerWell(asked)
  for (const [i, seen] of (await Promise.all(held)).entries()) expect(seen).toMatchObject({ body: `good h${i}` })
  expect(await served.ended()).toBe(0)
  running = false
  await Promise.all(clients)
  // Whole, or refused before a byte of it was answered.
  for (const { outcome, head } of outcomes)
    expect([outcome, head !== '']).toEqual(outcome === 'cut' ? ['cut', false] : ['200', true])
})

test('the table of docs/faults.md names only tests that are there', () => {
  const rows = [...rowsOf('When this machine fails').values()]
  for (const [, held] of rows) {
    for (const [, path] of held!.matchAll(/`([^`]+)`/g)) {
      expect([path, existsSync(join(import.meta.dirname, '..', path!))]).toEqual([path, true])
    }
  }
})
