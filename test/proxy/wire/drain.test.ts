import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSim, type Sim } from '../../../src/sim/sim.ts'
import { temporaryFolder } from '../../support/cli.ts'
import { client2, END_HEADERS, END_STREAM, FRAME, PREFACE } from '../../support/http2.ts'
import { ADMIN, get, rawClient, startProxy } from './support.ts'

let sim: Sim

beforeAll(async () => {
  sim = await createSim()
})

afterAll(() => sim.close())

/** No test waits for it. */
const DRAIN_MS = 3_600_000

const start = () => startProxy(sim.url, { drainMs: DRAIN_MS })
const startTls = () =>
  startProxy(sim.url, { drainMs: DRAIN_MS, tls: { selfSigned: join(temporaryFolder(), 'own.pem') } })

function frame(type: number, flags: number, stream: number, payload = ''): string {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.set([type, flags], 3)
  head.writeUInt32BE(stream, 5)
  return head.toString('latin1') + payload
}

const HELLO = PREFACE + frame(FRAME.settings, 0, 0)
/** GET / of https://localhost, by HPACK's static table. */
const HEAD = '\x82\x84\x87\x41\x09localhost'

/** Resolves once ComfyUI has been asked for this path and has not answered yet. */
async function asked(path: string): Promise<void> {
  while (!sim.requests.some(({ target }) => target === path)) await new Promise((resolve) => setImmediate(resolve))
}

test.each([
  ['that never asked', '', undefined],
  ['with half a head', 'GET /queue HTTP/1.1\r\nHost: loc', undefined],
  ['with half a head behind an answer', `${get('/prompt')}GET /queue HTTP/1.1\r\nHost: loc`, /queue_remaining/],
])('close() cuts a connection %s at once', async (_what, sent, answer) => {
  const proxy = await start()
  const client = await rawClient(proxy.port, sent)
  if (answer) await client.until(answer)
  else await (await rawClient(proxy.port, get('/prompt'))).until(/queue_remaining/) // whatever was sent before was read
  await proxy.close()
  await client.ended()
})

test('close() lets what runs finish: an answer, a pipelined one behind it, and a body that is still coming', async () => {
  const proxy = await start()
  sim.clearRequests()
  sim.setFaults({ http: [{ path: '/system_stats', kind: 'delay', ms: 300 }] })
  const busy = await rawClient(proxy.port, get('/system_stats') + get('/prompt'))
  const upload = await rawClient(
    proxy.port,
    `POST /userdata/a.json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ADMIN}\r\nContent-Length: 10\r\n\r\nhello`,
  )
  await asked('/system_stats')
  await (await rawClient(proxy.port, get('/prompt'))).until(/queue_remaining/)
  const closed = proxy.close()
  await new Promise((resolve) => setTimeout(resolve, 100)) // it looks again and again
  upload.socket.write('world')
  expect(await upload.ended()).toMatch(/^HTTP\/1.1 200 /)
  expect((await busy.ended()).match(/HTTP\/1.1 200 /g)).toHaveLength(2)
  await closed
  sim.setFaults({})
})

test.each([
  ['that has not begun its handshake', undefined, undefined],
  ['of HTTP/1.1 that never asked', 'http/1.1', ''],
  ['of HTTP/1.1 with half a head', 'http/1.1', 'GET /queue HTTP/1.1\r\nHost: loc'],
  ['of HTTP/2 that said nothing', 'h2', ''],
  ['of HTTP/2 without a stream', 'h2', HELLO],
  ['of HTTP/2 with half a head', 'h2', HELLO + frame(FRAME.headers, END_STREAM, 1, HEAD)],
  ['of HTTP/2 that was answered', 'h2', HELLO + frame(FRAME.headers, END_STREAM | END_HEADERS, 1, HEAD)],
])('close() cuts a TLS connection %s at once', async (_what, protocol, sent) => {
  const proxy = await startTls()
  const bare = connectTcp({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true })
  const socket = protocol
    ? connect({ socket: bare, rejectUnauthorized: false, ALPNProtocols: [protocol] }) // half open, too
    : bare
  socket.on('error', () => {}).resume()
  await once(socket, protocol === undefined ? 'connect' : 'secureConnect')
  if (sent) socket.write(Buffer.from(sent, 'latin1'))
  const other = await client2(proxy.port)
  await other.ask('GET', '/health') // whatever was sent before was read
  await proxy.close()
  socket.destroy()
  other.close()
})

test('close() lets a stream of HTTP/2 finish, and waits for no client that leaves its connection open', async () => {
  const proxy = await startTls()
  sim.clearRequests()
  sim.setFaults({ http: [{ path: '/system_stats', kind: 'delay', ms: 300 }] })
  const client = await client2(proxy.port)
  const answer = client.ask('GET', '/system_stats', { authorization: `Bearer ${ADMIN}` })
  await asked('/system_stats')
  const closed = proxy.close()
  expect(await answer).toMatchObject({ status: 200 })
  await closed
  sim.setFaults({})
})
