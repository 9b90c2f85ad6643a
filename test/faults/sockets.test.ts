import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { request, UPGRADE } from './client.ts'
import { type Served, serve } from './process.ts'
import { type Asked, misbehaving, type Upstream } from './upstream.ts'
import { switching, textFrame } from './websocket.ts'

const ROUND = 5_000
const AT_ONCE = 100
/** A leak of 16 KiB a socket would be more in every round; what is not collected yet is more in some. */
const SLACK_MB = 64
const MOST_ROUNDS = 5
const CLOSE = Buffer.from('888200000000', 'hex')
const FRAME_BYTES = 65_536
const FRAMES = 512

let upstream: Upstream
let served: Served

beforeAll(async () => {
  upstream = await misbehaving()
  served = await serve(upstream.url, ['--socket-buffer', '8MiB'])
  await upstream.letGo() // what it looked with
})

afterAll(async () => {
  await served.close()
  await upstream.close()
})

const HANDSHAKE = request({ path: '/ws?clientId=same', headers: UPGRADE })

/** A WebSocket that is joined: its bytes come from here on, once somebody listens. */
async function join(): Promise<Socket> {
  const socket = connect(served.port, '127.0.0.1').on('error', () => {})
  socket.write(HANDSHAKE)
  let text = ''
  await new Promise<void>((resolve) => {
    const onData = (chunk: Buffer) => {
      text += chunk.toString('latin1')
      if (!text.includes('hello')) return
      socket.off('data', onData).pause()
      resolve()
    }
    socket.on('data', onData)
  })
  expect(text).toMatch(/^HTTP\/1\.1 101 /)
  return socket
}

/** Says hello, and answers a close frame by closing. */
function greet(asked: Asked): void {
  asked.socket.write(Buffer.from(`${switching(asked)}${textFrame('hello')}`, 'latin1'))
  asked.socket.once('data', () => asked.socket.end(Buffer.from('880203e8', 'hex')))
}

/** One connect and one close, each in another way. */
async function comeAndGo(number: number): Promise<void> {
  const socket = await join()
  const closed = once(socket.resume(), 'close')
  if (number % 3 === 0) socket.write(CLOSE)
  if (number % 3 === 1) socket.resetAndDestroy()
  if (number % 3 === 2) socket.destroy()
  await closed
}

async function round(): Promise<number> {
  let next = 0
  const one = async () => {
    while (next < ROUND) await comeAndGo(next++)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, one))
  await upstream.quiet()
  return served.rssMb()
}

test('10,000 WebSockets that come and go leave no descriptor, and no memory that grows', {
  timeout: 60_000,
}, async () => {
  upstream.answer = greet
  await comeAndGo(0)
  await upstream.quiet()
  const descriptors = served.fds()
  const memory = [await round(), await round()]
  const grown = () => memory.at(-1)! - memory.at(-2)!
  while (grown() >= SLACK_MB && memory.length < MOST_ROUNDS) memory.push(await round())
  expect(grown(), `MB after each round: ${memory.map(Math.round).join(', ')}`).toBeLessThan(SLACK_MB)
  await served.fdsWithin(descriptors)
})

test('a client that never reads is cut, and holds up neither ComfyUI nor the one beside it', async () => {
  const sockets: Socket[] = []
  upstream.answer = (asked) => {
    sockets.push(asked.socket)
    asked.socket.write(Buffer.from(`${switching(asked)}${textFrame('hello')}`, 'latin1'))
  }
  const [never, reader] = [await join(), await join()]
  const gone = new Promise((resolve) => sockets[0]!.once('close', resolve))
  let taken = 0
  reader.on('data', (chunk: Buffer) => {
    taken += chunk.length
  })
  reader.resume()
  const frame = Buffer.concat([Buffer.from('827f0000000000010000', 'hex'), Buffer.alloc(FRAME_BYTES)])
  // As ComfyUI sends: to one socket after the other, waiting for each; no faster than somebody reads who does read.
  for (let i = 0; i < FRAMES; i++) {
    while (taken < frame.length * (i - 32)) await once(reader, 'data')
    for (const socket of sockets) {
      if (!socket.destroyed && !socket.write(frame)) {
        await new Promise<void>((resolve) => socket.once('drain', resolve).once('close', resolve))
      }
    }
  }
  await gone
  while (taken < frame.length * FRAMES) await once(reader, 'data')
  expect(sockets[1]!.destroyed).toBe(false)
  never.destroy()
  reader.destroy()
  await upstream.quiet()
})
