import { connect as connectTls } from 'node:tls'
import { describe, expect, test } from 'vitest'
import { certificateFiles } from '../../support/certificate.ts'
import { closing } from '../../support/closers.ts'
import { ADMIN, exchange, get, proxied, rawClient, startProxy } from './support.ts'

const SOCKET = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
const KEY = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

/** What must not be answered before what stands before it. */
const BEHIND: readonly (readonly [string, string])[] = [
  ['an Upgrade', get('/ws', SOCKET + KEY)],
  ['an Upgrade without a key', `GET /ws HTTP/1.1\r\nHost: localhost\r\n${SOCKET}${KEY}\r\n`],
  ['CONNECT', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['what is no request', '\x00\x01\r\n\r\n'],
]

describe('behind a request that is not answered yet', () => {
  test.each(BEHIND)('%s is not answered in its place', async (_what, behind) => {
    const { upstream, proxy } = await proxied()
    const client = await rawClient(proxy.port, get('/queue') + behind)
    const ended = client.ended()
    await Promise.race([upstream.request(0), ended]) // cut in the same breath, it never asks
    upstream.requests[0]?.socket.write(OK)
    client.socket.end()
    const text = await ended
    expect(text === '' || text.startsWith('HTTP/1.1 200 ')).toBe(true)
  })

  test.each(BEHIND)('%s does not break into an answer that is under way', async (_what, behind) => {
    const { upstream, proxy } = await proxied(({ socket, head }) =>
      socket.write(head.includes('/history') ? 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf' : OK),
    )
    const client = await rawClient(proxy.port, get('/history'))
    await client.until(/half$/)
    client.socket.write(Buffer.from(behind, 'latin1'))
    // Only once it has been read may the rest come: its answer would be the next thing that the client hears.
    for (let i = 0; i < 3; i++) await exchange(proxy.port, get('/queue', 'Connection: close\r\n'))
    upstream.requests[0]!.socket.write('-whole')
    client.socket.end()
    expect(await client.ended()).toMatch(/\r\n\r\nhalf(-whole(HTTP\/1\.1 [2-5][\s\S]*)?)?$/)
  })

  test('an Upgrade is the ordinary request that it is without one, in its turn', async () => {
    const { upstream, proxy } = await proxied()
    const client = await rawClient(proxy.port, get('/queue') + get('/ws', SOCKET + KEY))
    ;(await upstream.request(0)).socket.write(OK)
    const { head, socket } = await upstream.request(1)
    expect(head).toMatch(/^GET \/ws/)
    expect(head.toLowerCase()).not.toContain('upgrade')
    socket.write('HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno')
    expect(await client.until(/no$/)).toMatch(/^HTTP\/1\.1 200 [\s\S]*okHTTP\/1\.1 400 /)
    client.socket.destroy()
  })

  test.each([
    ['h2c', 'Connection: Upgrade\r\nUpgrade: h2c\r\n', ''],
    ['a WebSocket in its turn', SOCKET + KEY, get('/history')],
  ])(
    'bytes behind an Upgrade that is none (%s) are nobody’s request, not even the inside of a body',
    async (_what, upgrade, before) => {
      const { upstream, proxy } = await proxied(({ socket, head }) => {
        if (!head.includes('/history')) socket.write(OK)
      })
      const inside = get('/free')
      const body = `POST /prompt HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${ADMIN}\r\nContent-Length: ${10 + inside.length}\r\n\r\n0123456789`
      const client = await rawClient(proxy.port, before + get('/ws', upgrade) + body)
      const ended = client.ended()
      await upstream.request(0)
      client.socket.write(inside)
      // Only once it has been read may the first be answered
      for (let i = 0; i < 3; i++) await exchange(proxy.port, get('/queue', 'Connection: close\r\n'))
      upstream.requests[0]!.socket.write(OK)
      await ended
      expect(upstream.requests.filter(({ head }) => /^(GET \/free|POST \/prompt)/.test(head))).toEqual([])
    },
  )

  test('h2c that the client only offers is answered as without it, and ends its connection', async () => {
    const { proxy } = await proxied(({ socket }) => socket.write(OK))
    const text = await exchange(
      proxy.port,
      get('/queue', 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n'),
    )
    expect(text).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\nConnection: close\r\n[\s\S]*ok$/i)
  })

  test('no more than two that wait there have bodies: each is kept', async () => {
    const { upstream, proxy } = await proxied()
    const post = `POST /prompt HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${ADMIN}\r\nContent-Length: 3\r\n\r\nabc`
    const three = await rawClient(proxy.port, get('/queue') + post.repeat(3))
    expect(await three.ended()).toBe('')
    const two = await rawClient(proxy.port, get('/queue') + post.repeat(2))
    const { length } = upstream.requests
    for (let i = 0; i < 3; i++) (await upstream.request(length + i)).socket.write(OK)
    await two.until(/(ok[\s\S]*){3}/)
    two.socket.destroy()
  })

  test('an Upgrade on a connection whose answers are all out is one', async () => {
    const { upstream, proxy } = await proxied(({ socket, head }) => socket.write(head.includes('/ws') ? '' : OK))
    const client = await rawClient(proxy.port, get('/queue'))
    await client.until(/ok$/)
    client.socket.write(get('/ws', SOCKET + KEY))
    expect((await upstream.request(1)).head.toLowerCase()).toContain('\r\nupgrade: websocket\r\n')
    client.socket.destroy()
  })

  test('a broken chunk in a body is still told to whoever sends it', async () => {
    const { proxy } = await proxied()
    const head = `POST /prompt HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${ADMIN}\r\nTransfer-Encoding: chunked\r\n\r\n`
    expect(await exchange(proxy.port, `${head}zz\r\n`)).toMatch(/^HTTP\/1\.1 400 /)
  })
})

test('a foreign expectation is refused in its turn, and over TLS with what stands on every answer', async () => {
  const { upstream, proxy } = await proxied()
  const foreign = `POST /prompt HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${ADMIN}\r\nExpect: gold\r\nContent-Length: 2\r\n\r\n{}`
  const client = await rawClient(proxy.port, get('/queue') + foreign + get('/queue'))
  ;(await upstream.request(0)).socket.write(OK)
  expect((await client.ended()).match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 417'])
  expect(upstream.requests).toHaveLength(1)

  const secure = closing(await startProxy(upstream.url, { tls: certificateFiles(), hsts: true }))
  const socket = connectTls({ port: secure.port, host: '127.0.0.1', rejectUnauthorized: false })
  let text = ''
  for await (const chunk of socket.end(foreign)) text += chunk
  expect(text).toMatch(/^HTTP\/1\.1 417 [\s\S]*\r\nStrict-Transport-Security: max-age=/)
})
