import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { RELAY_LIMITS, type Relay, type RelayEnd, type RelayLimits, Relays } from '../../../src/proxy/wire/relay.ts'
import { closers } from '../../support/closers.ts'
import { portOf } from '../../support/ports.ts'

/** Two ends of one TCP connection: what a server accepted, and who dialled it. */
async function pair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true })
  const dialled = connect({ port: await portOf(server), host: '127.0.0.1', allowHalfOpen: true })
  const [accepted] = (await once(server, 'connection')) as [Socket]
  server.close()
  for (const socket of [accepted, dialled]) {
    socket.on('error', () => {})
    closers.push(() => socket.destroy())
  }
  return [accepted, dialled]
}

interface Joined {
  readonly relay: Relay
  readonly relays: Relays
  /** The far ends: a WebSocket client, and a ComfyUI. */
  readonly client: Socket
  readonly upstream: Socket
  readonly end: Promise<RelayEnd>
}

const PAYLOAD = Buffer.from('pingpong')

async function join(limits: Partial<RelayLimits> = {}): Promise<Joined> {
  const relays = new Relays({ ...RELAY_LIMITS, ...limits }, Date.now, PAYLOAD)
  const [clientNear, client] = await pair()
  const [upstream, upstreamNear] = await pair()
  let relay!: Relay
  const end = new Promise<RelayEnd>((resolve) => {
    relay = relays.join(clientNear, upstreamNear, resolve)
  })
  relay.start(Buffer.alloc(0), Buffer.alloc(0))
  return { relay, relays, client, upstream, end }
}

const MIB = 1024 * 1024

/** A client that takes nothing, with about so many bytes waiting for it. */
async function deaf(
  relays: Relays,
  bytes: number,
): Promise<{ client: Duplex; upstream: Duplex; end: Promise<RelayEnd> }> {
  const client = new Duplex({ read() {}, write() {} })
  const upstream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  const end = new Promise<RelayEnd>((resolve) => {
    relays.join(client, upstream, resolve).start(Buffer.alloc(0), Buffer.alloc(0))
  })
  closers.push(() => void client.destroy())
  const piece = frame(Buffer.alloc(60_000))
  for (let sent = 0; sent < bytes && !client.destroyed; sent += piece.length) {
    upstream.push(piece)
    await new Promise(setImmediate)
  }
  return { client, upstream, end }
}

/** Reads `length` bytes off a socket, and leaves the rest where it is. */
async function take(socket: Socket, length: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let taken = 0
  while (taken < length) {
    const chunk = socket.read() as Buffer | null
    if (chunk === null) await once(socket, 'readable')
    else {
      chunks.push(chunk)
      taken += chunk.length
    }
  }
  const all = Buffer.concat(chunks)
  if (taken > length) socket.unshift(all.subarray(length))
  return all.subarray(0, length)
}

function ended(socket: Socket): Promise<unknown> {
  return new Promise((resolve) => socket.once('end', resolve).once('close', resolve).resume())
}

const frame = (payload: Buffer, opcode = 2) =>
  payload.length < 126
    ? Buffer.concat([Buffer.from([0x80 | opcode, payload.length]), payload])
    : Buffer.concat([Buffer.from([0x80 | opcode, 126, payload.length >> 8, payload.length & 0xff]), payload])
const masked = (payload: Buffer, opcode: number) =>
  Buffer.concat([
    Buffer.from([0x80 | opcode, 0x80 | payload.length, 1, 2, 3, 4]),
    payload.map((byte, i) => byte ^ ((i & 3) + 1)),
  ])
const CLOSE_4401 = Buffer.concat([Buffer.from([0x88, 5, 0x11, 0x31]), Buffer.from('bye')])
const PING = Buffer.concat([Buffer.from([0x89, 8]), PAYLOAD])

describe('a close code', () => {
  test('goes out at once between frames', async () => {
    const { relay, client, upstream, end } = await join()
    relay.close(4401, 'bye')
    expect(await take(client, CLOSE_4401.length)).toEqual(CLOSE_4401)
    await ended(upstream)
    client.end()
    await end
  })

  test('waits for the end of the frame under way, and nothing follows it', async () => {
    const { relay, client, upstream, end } = await join()
    const whole = frame(Buffer.alloc(1_000, 1))
    upstream.write(whole.subarray(0, 300))
    await take(client, 300)
    relay.close(4401, 'bye')
    upstream.write(Buffer.concat([whole.subarray(300), frame(Buffer.alloc(50, 2))]))
    const rest = await take(client, 704 + CLOSE_4401.length)
    expect(rest.subarray(704)).toEqual(CLOSE_4401)
    await ended(client)
    client.end()
    await end
  })

  test('that finds no boundary within its time destroys both ends', async () => {
    const { relay, client, upstream, end } = await join({ closeMs: 100 })
    upstream.write(frame(Buffer.alloc(1_000)).subarray(0, 300))
    await take(client, 300)
    const started = performance.now()
    relay.close(4401, 'bye')
    await Promise.all([ended(client), ended(upstream), end])
    expect(performance.now() - started).toBeLessThan(1_000)
  })

  test('after it, nothing of the client goes up', async () => {
    const { relay, client, upstream, end } = await join({ closeMs: 200 })
    upstream.write(frame(Buffer.alloc(1_000)).subarray(0, 300))
    await take(client, 300)
    relay.close(4401, 'bye')
    let heard = 0
    upstream.on('data', (chunk) => {
      heard += chunk.length
    })
    client.write(masked(Buffer.from('order'), 1))
    await end
    expect(heard).toBe(0)
  })
})

describe('a client that reads slowly', () => {
  test('never holds the upstream up, and gets everything in order', async () => {
    const { client, upstream, relay } = await join()
    const chunk = frame(Buffer.alloc(60_000, 5))
    let sent = 0
    // The client reads nothing, and yet the upstream's writes all go through.
    for (let i = 0; i < 500; i++) {
      sent += chunk.length
      if (!upstream.write(chunk)) await once(upstream, 'drain')
    }
    const received = await take(client, sent)
    for (let at = 0; at < sent; at += chunk.length) {
      if (!received.subarray(at, at + chunk.length).equals(chunk)) throw new Error(`differs at ${at}`)
    }
    relay.destroy()
  })

  test('is cut when more than its buffer waits', async () => {
    const { client, upstream, relays, end } = await join({ bufferBytes: 1024 * 1024, closeMs: 50 })
    const chunk = frame(Buffer.alloc(60_000))
    client.pause()
    while (!upstream.destroyed && upstream.writable) {
      if (!upstream.write(chunk)) await Promise.race([once(upstream, 'drain'), once(upstream, 'close')]).catch(() => {})
    }
    const { bytesDown } = await end
    expect(bytesDown).toBeLessThan(32 * 1024 * 1024)
    expect(relays.waitingBytes).toBe(0)
  })

  test('is cut when all of them together wait for more than the total', async () => {
    const { client, upstream, end } = await join({ totalBytes: 1024 * 1024, closeMs: 50 })
    client.pause()
    const chunk = frame(Buffer.alloc(60_000))
    while (!upstream.destroyed && upstream.writable) {
      if (!upstream.write(chunk)) await Promise.race([once(upstream, 'drain'), once(upstream, 'close')]).catch(() => {})
    }
    await end
  })

  test('and holds most at the total is cut, not whoever queues next; the others stay', async () => {
    const relays = new Relays({ ...RELAY_LIMITS, bufferBytes: 8 * MIB, totalBytes: 12 * MIB }, Date.now, PAYLOAD)
    const slow = await Promise.all([3 * MIB, 5 * MIB, 3 * MIB].map((bytes) => deaf(relays, bytes)))
    expect(slow.map(({ client }) => client.destroyed)).toEqual([false, false, false])
    const next = await deaf(relays, 2 * MIB)
    expect([...slow, next].map(({ client }) => client.destroyed)).toEqual([false, true, false, false])
    await slow[1]!.end
    expect(relays.waitingBytes).toBeLessThan(9 * MIB)
    await deaf(relays, 5 * MIB) // its own: it holds most by then
    expect([...slow, next].map(({ client }) => client.destroyed)).toEqual([false, true, false, false])
  })

  test('and has most waits for a frame to end: it goes at the next byte too many, and nobody beside it', async () => {
    const relays = new Relays({ ...RELAY_LIMITS, bufferBytes: 8 * MIB, totalBytes: 8 * MIB }, Date.now, PAYLOAD)
    const most = await deaf(relays, 6 * MIB)
    most.upstream.push(frame(Buffer.alloc(60_000)).subarray(0, 300)) // half a frame: no place for a close
    const others = await Promise.all([MIB, MIB, MIB / 2].map((bytes) => deaf(relays, bytes)))
    await most.end
    expect(others.map(({ client }) => client.destroyed)).toEqual([false, false, false])
  })

  test('is cut with 1013 when it takes no byte for its time with data waiting', async () => {
    const { client, upstream, end } = await join({ stallMs: 200, closeMs: 50 })
    client.pause()
    const chunk = frame(Buffer.alloc(60_000))
    for (let i = 0; i < 300; i++) upstream.write(chunk)
    await Promise.all([end, ended(upstream)])
  })

  test('that takes a little now and then is not cut', async () => {
    const { client, upstream, relay } = await join({ stallMs: 300 })
    client.pause()
    const chunk = frame(Buffer.alloc(60_000))
    const total = 200 * chunk.length
    for (let i = 0; i < 200; i++) upstream.write(chunk)
    let received = 0
    const started = performance.now()
    while (performance.now() - started < 1_200) {
      received += (await take(client, 256 * 1024)).length
      await new Promise((resolve) => setTimeout(resolve, 60))
    }
    received += (await take(client, total - received)).length
    expect(received).toBe(total)
    relay.destroy()
  })
})

describe('a silent client', () => {
  test('is pinged between frames only; its pong goes no further, and other bytes do', async () => {
    const { client, upstream, relay } = await join({ pingMs: 100 })
    const whole = frame(Buffer.alloc(1_000, 1))
    upstream.write(whole.subarray(0, 500))
    await take(client, 500)
    await new Promise((resolve) => setTimeout(resolve, 250)) // due by now, and there is no place for it
    expect(client.read()).toBe(null)
    upstream.write(whole.subarray(500))
    await take(client, whole.length - 500)
    expect(await take(client, PING.length)).toEqual(PING)
    const text = masked(Buffer.from('hello'), 1)
    const foreign = masked(Buffer.from('from-up!'), 0xa)
    client.write(Buffer.concat([masked(PAYLOAD, 0xa), text, foreign]))
    expect(await take(upstream, text.length + foreign.length)).toEqual(Buffer.concat([text, foreign]))
    relay.destroy()
  })

  test('one that speaks is not pinged', async () => {
    const { client, upstream, relay } = await join({ pingMs: 300 })
    upstream.resume()
    for (let i = 0; i < 10; i++) {
      client.write(masked(Buffer.from('x'), 1))
      await new Promise((resolve) => setTimeout(resolve, 60))
    }
    expect(client.read()).toBe(null)
    relay.destroy()
  })
})

describe('an end that goes', () => {
  test('an upstream that breaks off in a frame: the client is cut, not told that all is well', async () => {
    const { client, upstream, end } = await join()
    upstream.write(frame(Buffer.alloc(1_000)).subarray(0, 300))
    await take(client, 300)
    upstream.resetAndDestroy()
    await Promise.all([ended(client), end])
  })

  test('what the upstream said before it ended still arrives', async () => {
    const { client, upstream, end } = await join()
    const chunk = frame(Buffer.alloc(60_000, 3))
    for (let i = 0; i < 100; i++) upstream.write(chunk)
    upstream.end()
    expect(await take(client, 100 * chunk.length)).toHaveLength(100 * chunk.length)
    await ended(client)
    client.end()
    await end
  })

  test('a client that is gone takes the upstream connection with it', async () => {
    const { client, upstream, end } = await join()
    client.destroy()
    await ended(upstream)
    upstream.end()
    await end
  })

  test('an upstream that does not read holds the client back, not our memory', async () => {
    const { client, upstream, relay } = await join()
    upstream.pause()
    const chunk = masked(Buffer.alloc(100), 2)
    const big = Buffer.concat(Array.from({ length: 600 }, () => chunk))
    let sent = 0
    for (let still = 0; still < 20; ) {
      if (client.writableLength === 0) {
        client.write(big)
        sent += big.length
        still = 0
      } else still++
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    expect(sent).toBeLessThan(32 * 1024 * 1024)
    relay.destroy()
  })
})
