import { once } from 'node:events'
import type { Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { createSim } from '../../../src/sim/sim.ts'
import { closers, closing } from '../../support/closers.ts'
import { ADMIN, exchange, get, proxied, type RawRequest, rawClient, startProxy } from './support.ts'

const MB = 1024 * 1024
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const post = (length: number, key = ADMIN, more = '') =>
  `POST /upload/image HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${key}\r\nContent-Length: ${length}\r\n${more}\r\n`

/** Writes zeros until `total` are written or the socket is gone; resolves with what was taken. */
async function pour(socket: Socket, total: number): Promise<number> {
  const chunk = Buffer.alloc(64 * 1024)
  let poured = 0
  while (poured < total && !socket.destroyed && socket.writable) {
    poured += chunk.length
    if (!socket.write(chunk)) {
      await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => {})
    }
  }
  return poured
}

describe('an answer before the upload has ended', () => {
  const early: [string, (request: RawRequest) => void][] = [
    [
      '413 of the upstream, which then reads on',
      ({ socket }) => socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig'),
    ],
    [
      '413 of the upstream, which then closes',
      ({ socket }) => socket.end('HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig'),
    ],
  ]
  for (const [name, answer] of early) {
    test(`${name}: passes at once, and the connection serves the next request where the rest is short`, async () => {
      let first = true
      const { proxy } = await proxied((request) => {
        if (first) answer(request)
        else request.socket.write(OK)
        first = false
      })
      const client = await rawClient(proxy.port, `${post(500_000)}start`)
      await client.until(/^HTTP\/1.1 413 [\s\S]*big$/)
      client.socket.write(Buffer.alloc(499_995))
      client.socket.write(get('/queue', 'Connection: close\r\n'))
      expect(await client.ended()).toMatch(/HTTP\/1.1 200 [\s\S]*ok$/)
    })
  }

  test('a rest that is longer than 1 MiB ends the connection, after the answer was read', async () => {
    const { proxy } = await proxied(({ socket }) =>
      socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig'),
    )
    const client = await rawClient(proxy.port, post(1024 * MB))
    const poured = await pour(client.socket, 1024 * MB)
    expect(await client.ended()).toMatch(/^HTTP\/1.1 413 [\s\S]*big$/)
    expect(poured).toBeLessThan(64 * MB) // what the kernel's buffers took, and a little more
  })

  test('a rest that does not come within 2 s ends the connection', async () => {
    const { proxy } = await proxied(({ socket }) => socket.write('HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n'))
    const client = await rawClient(proxy.port, `${post(100)}x`)
    expect(await client.ended()).toMatch(/^HTTP\/1.1 405 /)
  })

  test('our own refusal of an upload passes at once too, and nothing of it goes up', async () => {
    const { upstream, proxy } = await proxied(({ socket }) => socket.write(OK))
    const client = await rawClient(proxy.port, `${post(500_000, 'no-such-key')}start`)
    await client.until(/^HTTP\/1.1 401 [\s\S]*\}\n$/)
    client.socket.write(Buffer.alloc(499_995))
    client.socket.write(get('/queue', 'Connection: close\r\n'))
    expect(await client.ended()).toMatch(/HTTP\/1.1 200 [\s\S]*ok$/)
    expect(upstream.requests).toHaveLength(1)
  })

  test("ComfyUI's 413 in the middle of an upload reaches the client", async () => {
    const sim = closing(await createSim({ flags: { maxUploadSizeMb: 1 } }))
    const proxy = closing(await startProxy(sim.url))
    const form = new FormData()
    form.append('image', new Blob([Buffer.alloc(1.5 * MB)]), 'a.png')
    const headers = { authorization: `Bearer ${ADMIN}` }
    const response = await fetch(`${proxy.url}/upload/image`, { method: 'POST', body: form, headers })
    expect(response.status).toBe(413)
  })
})

describe('backpressure', () => {
  test('an upstream that does not read holds the client back, and memory stays flat', async () => {
    const { upstream, proxy } = await proxied(({ socket }) => socket.pause())
    const atStart = process.memoryUsage().arrayBuffers
    const client = await rawClient(proxy.port, `${post(512 * MB)}x`)
    const { socket } = await upstream.request(0)
    let poured = 0
    const chunk = Buffer.alloc(64 * 1024)
    // Until the client's own writes have stood still for a while: everything on the way is full.
    for (let still = 0; still < 20; ) {
      if (client.socket.writableLength === 0) {
        client.socket.write(chunk)
        poured += chunk.length
        still = 0
      } else still++
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    expect(poured).toBeLessThan(40 * MB)
    expect(process.memoryUsage().arrayBuffers - atStart).toBeLessThan(40 * MB)
    socket.destroy()
    client.socket.destroy()
  })

  test('a client that does not read holds the upstream back, and memory stays flat', async () => {
    let sent = 0
    const { proxy } = await proxied(({ socket }) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n')
      const chunk = Buffer.alloc(64 * 1024)
      const more = () => {
        while (sent < 512 * MB && socket.write(chunk)) sent += chunk.length
        sent += chunk.length
      }
      socket.on('drain', more)
      more()
    })
    const client = await rawClient(proxy.port, get('/queue'))
    client.socket.pause()
    let last = -1
    while (last !== sent) {
      last = sent
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(sent).toBeLessThan(40 * MB)
    expect(process.memoryUsage().arrayBuffers).toBeLessThan(60 * MB)
    client.socket.destroy()
  })

  test('16 MiB up and down arrive whole', async () => {
    const { proxy } = await proxied((request) => {
      let left = 16 * MB - request.body().length
      request.socket.removeAllListeners('data')
      request.socket.on('data', (chunk) => {
        left -= chunk.length
        if (left > 0) return
        request.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${16 * MB}\r\n\r\n`)
        request.socket.write(Buffer.alloc(16 * MB, 7))
      })
    })
    const headers = { authorization: `Bearer ${ADMIN}` }
    const response = await fetch(`${proxy.url}/upload/image`, { method: 'POST', body: Buffer.alloc(16 * MB), headers })
    const body = Buffer.from(await response.arrayBuffer())
    expect(body.length).toBe(16 * MB)
    expect(body.every((byte) => byte === 7)).toBe(true)
  })
})

describe('silence', () => {
  test('a body that stops coming is 408 after the idle time', async () => {
    const { proxy } = await proxied(() => {}, { idleMs: 300 })
    const client = await rawClient(proxy.port, `${post(100)}x`)
    expect(await client.until(/\r\n\r\n/)).toMatch(/^HTTP\/1.1 408 /)
    client.socket.destroy()
  })

  test('a body that comes slowly, with less than the idle time between its bytes, goes through', async () => {
    const { upstream, proxy } = await proxied(
      (request) => {
        const wait = () => (request.body().length === 6 ? request.socket.write(OK) : setTimeout(wait, 10))
        wait()
      },
      { idleMs: 700 },
    )
    const client = await rawClient(proxy.port, `${post(6, ADMIN, 'Connection: close\r\n')}0`)
    for (let i = 1; i < 6; i++) {
      await new Promise((resolve) => setTimeout(resolve, 200))
      client.socket.write(String(i))
    }
    expect(await client.ended()).toMatch(/ok$/)
    expect(upstream.requests[0]!.body()).toBe('012345')
  })

  test("a client that goes in the middle of its upload ends the upstream's request", async () => {
    const { upstream, proxy } = await proxied(() => {})
    const client = await rawClient(proxy.port, `${post(100)}x`)
    const { socket } = await upstream.request(0)
    const gone = new Promise((resolve) => socket.once('close', resolve).once('end', resolve))
    client.socket.destroy()
    await gone
  })

  test('a broken chunk in an upload is 400, and the upstream never gets the end of it', async () => {
    const { upstream, proxy } = await proxied(() => {})
    const client = await rawClient(
      proxy.port,
      `POST /upload/image HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${ADMIN}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n`,
    )
    await upstream.request(0)
    client.socket.write('zz\r\n')
    expect(await client.ended()).toMatch(/^HTTP\/1.1 400 /)
    expect(upstream.requests[0]!.body()).not.toMatch(/0\r\n\r\n$/)
  })
})

test('a form for our own page that is longer than 16 KiB is 413, unread', async () => {
  const { proxy } = await proxied(() => {})
  const text = await exchange(
    proxy.port,
    `POST /auth_login.html HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 20000\r\n\r\n${'a'.repeat(20_000)}`,
  )
  expect(text).toMatch(/^HTTP\/1.1 413 /)
})

test('clients that leave behind pipelined bodies take nobody along', async () => {
  // Its error is emitted a tick after node:http has looked for listeners, and by then whoever read the body may be gone
  const faults: unknown[] = []
  const note = (error: unknown) => faults.push(error)
  process.on('uncaughtException', note)
  closers.push(async () => void process.off('uncaughtException', note))
  const sim = closing(await createSim())
  const proxy = closing(await startProxy(sim.url))
  const open = 'GET /assets/a.js HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1'
  const leave = async () => {
    const client = await rawClient(proxy.port)
    await new Promise((resolve) => client.socket.write(open.repeat(30), resolve))
    client.socket.destroy()
  }
  await Promise.all(Array.from({ length: 20 }, leave))
  expect(await exchange(proxy.port, get('/queue', 'Connection: close\r\n'))).toMatch(/^HTTP\/1.1 200 /)
  expect(faults).toEqual([])
})
