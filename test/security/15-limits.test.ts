import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { exchange, get, proxied, rawClient, USER } from '../proxy/wire/support.ts'
import { closers } from '../support/closers.ts'

describe('time', () => {
  test('a head that comes a line at a time is 408 and closed, while others are served', async () => {
    const { proxy } = await proxied(({ socket }) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'), {
      headMs: 1_000,
    })
    const slow = await rawClient(proxy.port, 'GET / HTTP/1.1\r\n')
    const dripping = setInterval(() => slow.socket.write('X-More: 1\r\n'), 100)
    closers.push(() => clearInterval(dripping))
    expect(await exchange(proxy.port, get('/prompt', 'Connection: close\r\n'))).toMatch(/^HTTP\/1\.1 200 /)
    expect(await slow.ended()).toMatch(/^HTTP\/1\.1 408 /)
  })

  test.each([
    ['the login form, by nobody', 'POST /auth_login.html HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n'],
    [
      'an order to stop',
      `POST /interrupt HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${USER}\r\nContent-Length: 999\r\n\r\n`,
    ],
  ])('a body that we read whole has its time for all of it, not for each byte: %s', async (_what, head) => {
    const { proxy, upstream } = await proxied(() => {}, { idleMs: 500 })
    const slow = await rawClient(proxy.port, head)
    const dripping = setInterval(() => slow.socket.write(' '), 50)
    closers.push(() => clearInterval(dripping))
    expect(await slow.until(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 408 /)
    expect([upstream.requests.length, proxy.lines.filter((line) => line.includes('fault'))]).toEqual([0, []])
  })
})

describe('what inflates', () => {
  const BOMB = gzipSync(Buffer.alloc(64 * 1024 * 1024))
  const ask = (port: number, path: string, more = '') => exchange(port, get(path, `Connection: close\r\n${more}`))

  test('a page that comes as gzip although none was asked for goes on as it came', async () => {
    const { proxy, upstream } = await proxied(({ socket }) => {
      const fields = `Content-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Length: ${BOMB.length}`
      socket.write(Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\n${fields}\r\n\r\n`), BOMB]))
    })
    const answer = await ask(proxy.port, '/', 'Accept-Encoding: gzip, br\r\n')
    expect(upstream.requests[0]!.head).toMatch(/\r\naccept-encoding: identity\r\n/i)
    const [head, ...body] = answer.split('\r\n\r\n')
    expect(head).toMatch(/\r\ncontent-encoding: gzip/i)
    expect(Buffer.from(body.join('\r\n\r\n'), 'latin1').equals(BOMB)).toBe(true)
  })

  test('a body in gzip goes up as it came, and is refused where we would have to read it', async () => {
    const { proxy, upstream } = await proxied(() => {})
    const post = (path: string) =>
      Buffer.concat([
        Buffer.from(
          `POST ${path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${USER}\r\nContent-Encoding: gzip\r\nContent-Length: ${BOMB.length}\r\n\r\n`,
        ),
        BOMB,
      ])
    const first = await rawClient(proxy.port)
    first.socket.write(post('/interrupt'))
    expect(await first.until(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 400 /)
    expect(upstream.requests).toHaveLength(0)
    const second = await rawClient(proxy.port)
    second.socket.write(post('/prompt'))
    const request = await upstream.request(0)
    while (request.body().length < BOMB.length) await new Promise((resolve) => request.socket.once('data', resolve))
    expect(request.head).toMatch(/\r\ncontent-encoding: gzip\r\n/i)
    expect(Buffer.from(request.body(), 'latin1').equals(BOMB)).toBe(true)
  })
})
