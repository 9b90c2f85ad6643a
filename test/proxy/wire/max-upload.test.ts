import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { createSim } from '../../../src/sim/sim.ts'
import { closing } from '../../support/closers.ts'
import { ADMIN, exchange, proxied, rawClient, startProxy } from './support.ts'

const LIMIT = 64 * 1024

const limited = (answer?: Parameters<typeof proxied>[0]) => proxied(answer, { maxUploadBytes: LIMIT })

const post = (headers: string, key = ADMIN) =>
  `POST /upload/image HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${key}\r\n${headers}\r\n`

describe('--max-upload-size', () => {
  test('a longer Content-Length is our own 413, and ComfyUI hears nothing of it', async () => {
    const { upstream, proxy } = await limited()
    const client = await rawClient(proxy.port, post(`Content-Length: ${LIMIT + 1}\r\n`))
    const text = await client.until(/allows\."}/)
    expect(text).toMatch(/^HTTP\/1\.1 413 /)
    expect(text).toContain('0.063 MB that --max-upload-size allows')
    client.socket.destroy()
    expect(upstream.connections()).toBe(0)
  })

  test('whoever asks with Expect is told before it sends, and the connection ends', async () => {
    const { proxy } = await limited()
    const text = await exchange(proxy.port, post(`Content-Length: ${LIMIT + 1}\r\nExpect: 100-continue\r\n`))
    expect(text).toMatch(/^HTTP\/1\.1 413 /)
    expect(text).not.toContain('100 Continue')
  })

  test('the key is asked for first', async () => {
    const { proxy } = await limited()
    const client = await rawClient(proxy.port, post(`Content-Length: ${LIMIT + 1}\r\n`, 'wrong'))
    expect(await client.until(/\r\n\r\n/)).toMatch(/^HTTP\/1\.1 401 /)
    client.socket.destroy()
  })

  test('a chunked body is cut as it passes the limit: 413 to the client, no whole body to ComfyUI', async () => {
    const { upstream, proxy } = await limited()
    const client = await rawClient(proxy.port, post('Transfer-Encoding: chunked\r\n'))
    const chunk = `4000\r\n${'a'.repeat(0x4000)}\r\n`
    client.socket.write(chunk.repeat(4))
    const { socket, body } = await upstream.request(0)
    client.socket.write('1\r\na\r\n')
    expect(await client.until(/allows\."}/)).toMatch(/^HTTP\/1\.1 413 /)
    if (!socket.destroyed) await once(socket, 'close')
    expect(body()).not.toContain('\r\n0\r\n')
    // The rest is dropped, and the connection serves the next.
    client.socket.write('0\r\n\r\nHEAD /auth_login.html HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await client.until(/HTTP\/1\.1 200 /)
    client.socket.destroy()
  })

  test('a body of just that length goes up, by either framing', async () => {
    const sim = closing(await createSim())
    const proxy = closing(await startProxy(sim.url, { maxUploadBytes: LIMIT }))
    const body = new Uint8Array(LIMIT)
    const streamed = () => new Blob([body]).stream()
    for (const init of [{ body }, { body: streamed(), duplex: 'half' as const }]) {
      const headers = { Authorization: `Bearer ${ADMIN}` }
      const answer = await fetch(`${proxy.url}/userdata/a.bin`, { method: 'POST', headers, ...init })
      expect(answer.status).toBe(200)
    }
    expect(sim.requests.map((request) => request.body.bytes)).toEqual([LIMIT, LIMIT])
  })
})
