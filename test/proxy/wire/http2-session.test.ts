import { once } from 'node:events'
import { createServer, type Server } from 'node:https'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ClientResponse } from '../../../src/proxy/wire/client.ts'
import { createHttp2, type Http2Door } from '../../../src/proxy/wire/http2.ts'
import { divertHttp2, followBareSockets, secureContext } from '../../../src/proxy/wire/tls.ts'
import { UNREAD_BYTES, Unread } from '../../../src/proxy/wire/unread.ts'
import { END_STREAM, FRAME, raw2, testCertificate } from '../../support/http2.ts'
import { portOf } from '../../support/ports.ts'
import { sendGet } from './h2spec/row.ts'

let server: Server
let door: Http2Door
let port: number
let responses: ClientResponse[]

beforeEach(async () => {
  responses = []
  door = createHttp2({
    limits: { headBytes: 32_768, headMs: 10_000, keepAliveMs: 1_000, idleMs: 10_000 },
    always: [],
    unread: new Unread({ ...UNREAD_BYTES, stillMs: 10_000 }, () => performance.now()),
    onRequest: (_request, response) => responses.push(response),
    onRefused: () => {},
  })
  const pem = testCertificate()
  server = createServer({ ...secureContext({ cert: pem, key: pem }), ALPNProtocols: ['h2'] })
  divertHttp2(server, followBareSockets(server), door.accept)
  port = await portOf(server)
})

afterEach(async () => {
  server.close()
  door.cut()
  await once(server, 'close')
})

test('a connection without a stream ends after its time, whatever PINGs come, and one with a stream goes on', async () => {
  const [idle, busy] = [await raw2(port), await raw2(port)]
  for (const raw of [busy, idle]) {
    sendGet(raw)
    await expect.poll(() => responses.length).toBe(raw === busy ? 1 : 2)
  }
  responses[1]!.writeHead(200, []).end()
  await idle.until(({ stream, flags }) => stream === 1 && (flags & END_STREAM) !== 0)
  const pings = setInterval(() => idle.send(FRAME.ping, 0, 0, Buffer.alloc(8)), 50)
  await idle.closed()
  clearInterval(pings)
  responses[0]!.writeHead(200, []).end()
  await busy.until(({ stream, flags }) => stream === 1 && (flags & END_STREAM) !== 0)
  busy.socket.destroy()
})
