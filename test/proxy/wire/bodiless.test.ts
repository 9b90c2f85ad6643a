import { beforeAll, describe, expect, test } from 'vitest'
import { certificateFiles } from '../../support/certificate.ts'
import { closing } from '../../support/closers.ts'
import { client2 } from '../../support/http2.ts'
import { ADMIN, exchange, get, proxied, rawClient, USER } from './support.ts'

const AUTH = { authorization: `Bearer ${ADMIN}` }
let tls: ReturnType<typeof certificateFiles>

beforeAll(() => {
  tls = certificateFiles()
})

const BIG = 'a'.repeat(300_000)

describe('a body where its head allows none gets to nobody, and frees its connection to ComfyUI', () => {
  const ANSWERS: readonly (readonly [string, string, string, string])[] = [
    ['205 with a length', 'GET', '/queue', `205 Reset Content\r\nContent-Length: ${BIG.length}\r\n\r\n${BIG}`],
    ['205 in chunks', 'GET', '/queue', `205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`],
    ['205 whose body does not come', 'GET', '/queue', '205 Reset Content\r\nContent-Length: 5\r\n\r\n'],
    ['HEAD of a page that is not there', 'HEAD', '/', `404 Not Found\r\nContent-Length: ${BIG.length}\r\n\r\n${BIG}`],
  ]

  test.each(ANSWERS)('over HTTP/2: %s', async (_what, method, path, answer) => {
    const { upstream, proxy } = await proxied(({ socket }) => socket.write(`HTTP/1.1 ${answer}`), { tls })
    const client = closing(await client2(proxy.port))
    const heard = await client.ask(method, path, AUTH)
    expect([heard.status, heard.body]).toEqual([Number(answer.slice(0, 3)), ''])
    await expect.poll(() => upstream.connections()).toBe(0)
  })

  test.each(ANSWERS)('over HTTP/1.1: %s', async (_what, method, path, answer) => {
    const { upstream, proxy } = await proxied(({ socket, head }) => {
      socket.write(head.includes('/history') ? 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok' : `HTTP/1.1 ${answer}`)
    })
    const text = await exchange(proxy.port, get(path).replace('GET', method) + get('/history', 'Connection: close\r\n'))
    expect(text).toMatch(/^HTTP\/1\.1 (205|404) [^\r]*\r\n([^\r]+\r\n)+\r\nHTTP\/1\.1 200 [\s\S]*\r\n\r\nok$/)
    if (answer.startsWith('205')) expect(text.split('\r\n\r\n')[0]).toMatch(/\r\nContent-Length: 0(\r\n|$)/)
    await expect.poll(() => upstream.connections()).toBeLessThan(2)
  })

  test('a 205 without one leaves it to the next', async () => {
    const { upstream, proxy } = await proxied(
      ({ socket }) => socket.write('HTTP/1.1 205 X\r\nContent-Length: 0\r\n\r\n'),
      { tls },
    )
    const client = closing(await client2(proxy.port))
    for (const path of ['/queue', '/history']) expect((await client.ask('GET', path, AUTH)).status).toBe(205)
    expect(upstream.requests[1]!.socket).toBe(upstream.requests[0]!.socket)
  })
})

test('headers named as what every object has pass over HTTP/2 as they are', async () => {
  const names = ['constructor', '__proto__', 'toString', 'hasOwnProperty']
  const { proxy } = await proxied(
    ({ socket }) =>
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\n${names.map((name) => `${name}: 1\r\n`).join('')}\r\n`),
    { tls },
  )
  const client = closing(await client2(proxy.port))
  const { headers } = await client.ask('GET', '/queue', AUTH)
  expect(names.map((name) => Object.getOwnPropertyDescriptor(headers, name.toLowerCase())?.value)).toEqual(
    names.map(() => '1'),
  )
})

test('a body that is read before the decision is asked for once', async () => {
  const { proxy } = await proxied(({ socket }) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'))
  const body = '{"delete":[]}'
  const head = `POST /queue HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${USER}\r\nConnection: close\r\nExpect: 100-continue\r\n`
  const client = await rawClient(proxy.port, `${head}Content-Length: ${body.length}\r\n\r\n`)
  await client.until(/100 Continue\r\n\r\n/)
  client.socket.write(body)
  expect((await client.ended()).match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 100', 'HTTP/1.1 200'])
})
