import { EventEmitter } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createTls } from 'node:https'
import { describe, expect, test } from 'vitest'
import type { ClientResponse } from '../../../src/proxy/wire/client.ts'
import { createHttp2 } from '../../../src/proxy/wire/http2.ts'
import { protocolAnswer, respond } from '../../../src/proxy/wire/respond.ts'
import { divertHttp2, followBareSockets, secureContext } from '../../../src/proxy/wire/tls.ts'
import { Unread } from '../../../src/proxy/wire/unread.ts'
import { closers, closing } from '../../support/closers.ts'
import { client2, FRAME, raw2, testCertificate } from '../../support/http2.ts'
import { portOf } from '../../support/ports.ts'
import { sendGet, setting } from './h2spec/row.ts'
import { rawClient } from './support.ts'

const KB = 1024
const OVERHEAD = 8 * KB

class Answer extends EventEmitter {
  writableLength = 1_000
  writableFinished = false
  destroyed = false
  reader?: { hold(response: ClientResponse, length: number): void }
}

class Carrier {
  destroyed = false
  readonly #answers: Answer[] = []
  destroy() {
    this.destroyed = true
    for (const answer of this.#answers) answer.emit('close')
  }

  /** An answer that costs `bytes`, on this connection. */
  owe(unread: Unread, bytes: number): Answer {
    const answer = new Answer()
    this.#answers.push(answer)
    unread.watch(answer as unknown as ClientResponse, this)
    answer.reader?.hold(answer as unknown as ClientResponse, bytes - OVERHEAD)
    return answer
  }
}

function standing(totalBytes = 1_000 * KB) {
  const clock = { ms: 0 }
  const unread = new Unread({ connectionBytes: 100 * KB, stillMs: 10_000, totalBytes }, () => clock.ms)
  return { clock, unread }
}

describe('answers of our own that nobody takes', () => {
  test('end their connection once they are many and stood for their time, and are counted no more', () => {
    const { clock, unread } = standing()
    const [much, little] = [new Carrier(), new Carrier()]
    for (let i = 0; i < 11; i++) much.owe(unread, 10 * KB)
    little.owe(unread, 90 * KB)
    clock.ms = 9_999
    unread.look()
    expect(much.destroyed).toBe(false)
    clock.ms = 10_000
    unread.look()
    expect([much.destroyed, little.destroyed, unread.bytes]).toEqual([true, false, 90 * KB])
  })

  test.each([
    ['a part of one', (answer: Answer) => (answer.writableLength -= 1)],
    ['a whole one', (answer: Answer) => answer.emit('close')],
  ])('go on where %s is taken now and then', (_what, take) => {
    const { clock, unread } = standing()
    const carrier = new Carrier()
    const answers = Array.from({ length: 20 }, () => carrier.owe(unread, 10 * KB))
    for (const answer of answers.slice(0, 9)) {
      clock.ms += 9_000
      take(answer)
      unread.look()
    }
    expect(carrier.destroyed).toBe(false)
  })

  test('of all connections together: the stillest go first, then whoever holds most, to three quarters', () => {
    const { clock, unread } = standing(400 * KB)
    const [still, big, small] = [new Carrier(), new Carrier(), new Carrier()]
    still.owe(unread, 50 * KB)
    clock.ms = 5_000
    small.owe(unread, 20 * KB)
    big.owe(unread, 300 * KB)
    small.owe(unread, 29 * KB)
    expect([still.destroyed, big.destroyed, small.destroyed]).toEqual([false, false, false])
    small.owe(unread, 10 * KB)
    expect([still.destroyed, big.destroyed, small.destroyed, unread.bytes]).toEqual([true, true, false, 59 * KB])
  })

  test('one that was taken at once is never counted', () => {
    const { unread } = standing()
    const carrier = new Carrier()
    carrier.owe(unread, 10 * KB).emit('close')
    expect(unread.bytes).toBe(0)
  })
})

const REFUSAL = { ...protocolAnswer(400, 'no'), body: 'a'.repeat(16_000) }

test('over HTTP/2 with a window of 0 they end the connection, while another is served', async () => {
  const { clock, unread } = standing()
  const door = createHttp2({
    limits: { headBytes: 32_768, headMs: 10_000, keepAliveMs: 75_000, idleMs: 300_000 },
    always: [],
    unread,
    onRequest: (request, response) => void respond(request, response, REFUSAL),
    onRefused: () => {},
  })
  const pem = testCertificate()
  const server = createTls({ ...secureContext({ cert: pem, key: pem }), ALPNProtocols: ['h2'] })
  divertHttp2(server, followBareSockets(server), door.accept)
  const port = await portOf(server)
  closers.push(
    () => server.close(),
    () => door.cut(),
  )
  const raw = closing(await raw2(port))
  const other = closing(await client2(port))
  raw.send(FRAME.settings, 0, 0, setting(4, 0))
  for (let stream = 1; stream < 20; stream += 2) sendGet(raw, stream)
  await expect.poll(() => unread.bytes).toBe(10 * (16_000 + OVERHEAD))
  expect((await other.ask('GET', '/')).body).toHaveLength(16_000)
  clock.ms = 10_000
  unread.look()
  await raw.closed()
  expect(unread.bytes).toBe(0)
  expect((await other.ask('GET', '/')).body).toHaveLength(16_000)
})

test('over HTTP/1.1 those that stand in a full connection count, until it ends', async () => {
  const { unread } = standing(1_000 * 1024 * KB)
  const big = { ...REFUSAL, body: 'a'.repeat(16 * 1024 * KB) }
  const server = createServer((request, response) => {
    unread.watch(response, request.socket)
    respond(request, response, big)
  })
  const client = await rawClient(await portOf(server))
  closers.push(
    () => server.close(),
    () => client.socket.destroy(),
  )
  client.socket.pause()
  client.socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await expect.poll(() => unread.bytes).toBe(16 * 1024 * KB + OVERHEAD)
  client.socket.destroy()
  await expect.poll(() => unread.bytes).toBe(0)
})
