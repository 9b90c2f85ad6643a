import { once } from 'node:events'
import type { OutgoingHttpHeaders } from 'node:http2'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { ADMIN, proxied } from '../proxy/wire/support.ts'
import { certificateFiles } from '../support/certificate.ts'
import { closers, closing } from '../support/closers.ts'
import { type Door, openDoor } from '../support/door.ts'
import {
  type Client2,
  CODES,
  client2,
  END_HEADERS,
  END_STREAM,
  FRAME,
  headerBlock,
  pseudo,
  raw2,
} from '../support/http2.ts'

let tls: ReturnType<typeof certificateFiles>
let door: Door
let client: Client2
let own: string

const PROMPT = {
  '1': { class_type: 'EmptyImage', inputs: { width: 16, height: 16, batch_size: 1, color: 0 } },
  '2': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
}

const as = (key: string): OutgoingHttpHeaders => ({
  authorization: `Bearer ${key}`,
  'content-type': 'application/json',
})

beforeAll(async () => {
  tls = certificateFiles()
  door = await openDoor({ tls })
  client = await client2(door.port)
  const { body } = await client.ask('POST', '/prompt', as(door.keys.user), JSON.stringify({ prompt: PROMPT }))
  own = (JSON.parse(body) as { prompt_id: string }).prompt_id
})

afterAll(async () => {
  client.close()
  await door.close()
})

beforeEach(() => door.sim.clearRequests())

const STRANGE = '00000000-0000-4000-8000-000000000000'

describe('where the role hangs on the body, over HTTP/2 too', () => {
  test('a user stops its own prompt, whose body comes in pieces and goes up made anew', async () => {
    const raw = closing(await raw2(door.port))
    const fields = [...pseudo('POST', '/interrupt'), ['authorization', `Bearer ${door.keys.user}`]] as const
    raw.send(FRAME.headers, END_HEADERS, 1, headerBlock(fields))
    const text = JSON.stringify({ prompt_id: own, more: 1 })
    for (const char of text) raw.send(FRAME.data, 0, 1, Buffer.from(char))
    raw.send(FRAME.headers, END_HEADERS | END_STREAM, 1, headerBlock([['x-trailer', '1']]))
    await raw.until(({ type, stream }) => type === FRAME.headers && stream === 1)
    expect(door.sim.requests.map(({ target, body }) => [target, body.bytes])).toEqual([
      ['/interrupt', JSON.stringify({ prompt_id: own }).length],
    ])
  })

  test.each<[string, string, OutgoingHttpHeaders, string | Buffer]>([
    ['of a strange id', '/interrupt', {}, JSON.stringify({ prompt_id: STRANGE })],
    ['of no id', '/interrupt', {}, '{}'],
    ['of nothing', '/interrupt', {}, ''],
    ['of two ids', '/interrupt', {}, `{"prompt_id":"OWN","prompt_id":"${STRANGE}"}`],
    ['in gzip', '/interrupt', { 'content-encoding': 'gzip' }, gzipSync(JSON.stringify({ prompt_id: STRANGE }))],
    ['in UTF-16', '/interrupt', {}, Buffer.from('\ufeff{"prompt_id":"OWN"}', 'utf16le')],
    ['in another charset', '/interrupt', { 'content-type': 'application/json; charset=utf-7' }, '{"prompt_id":"OWN"}'],
    ['of more than 64 KiB', '/interrupt', {}, `{"prompt_id":"OWN","x":"${'a'.repeat(70_000)}"}`],
    ['that clears', '/queue', {}, '{"clear":true}'],
    ['that deletes and clears', '/queue', {}, '{"delete":["OWN"],"clear":true}'],
    ['by the twin', '/api/interrupt', {}, '{}'],
  ])('a body %s stops nothing', async (_what, path, headers, body) => {
    const sent = typeof body === 'string' ? body.replaceAll('OWN', own) : body
    const { status } = await client.ask('POST', path, { ...as(door.keys.user), ...headers }, sent)
    expect(status).toBeGreaterThanOrEqual(400)
    expect(door.sim.requests).toEqual([])
  })

  test.each([
    ['reset', (raw: Awaited<ReturnType<typeof raw2>>) => raw.send(FRAME.reset, 0, 1, Buffer.alloc(4))],
    ['shorter than its content-length', (raw: Awaited<ReturnType<typeof raw2>>) => raw.send(FRAME.data, END_STREAM, 1)],
    ['cut with its connection', (raw: Awaited<ReturnType<typeof raw2>>) => raw.socket.destroy()],
  ])('a body that is %s stops nothing', async (_what, end) => {
    const raw = closing(await raw2(door.port))
    const text = JSON.stringify({ prompt_id: own })
    const fields = [
      ...pseudo('POST', '/interrupt'),
      ['authorization', `Bearer ${door.keys.user}`],
      ['content-length', String(text.length + 1)],
    ] as const
    raw.send(FRAME.headers, END_HEADERS, 1, headerBlock(fields))
    raw.send(FRAME.data, 0, 1, Buffer.from(text))
    end(raw)
    expect((await client.ask('GET', '/queue', as(door.keys.user))).status).toBe(200)
    expect(door.sim.requests.map(({ target }) => target)).toEqual(['/queue'])
  })
})

describe('a body and its answer, over HTTP/2', () => {
  async function asking(answer: Parameters<typeof proxied>[0], options: Parameters<typeof proxied>[1] = {}) {
    const { upstream, proxy } = await proxied(answer, { tls, ...options })
    const raw = closing(await raw2(proxy.port))
    const head = (more: readonly (readonly [string, string])[] = [], key = ADMIN) =>
      headerBlock([...pseudo('POST', '/upload/image'), ['x-api-key', key], ...more])
    return { upstream, raw, head }
  }

  const EARLY = 'HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig'

  test('Expect: 100-continue is answered once the request has passed, and not forwarded', async () => {
    const { upstream, raw, head } = await asking(({ socket }) => socket.write(EARLY))
    raw.send(FRAME.headers, END_HEADERS, 1, head([['expect', '100-continue']]))
    await raw.until(({ type, flags, stream }) => type === FRAME.headers && stream === 1 && (flags & END_STREAM) === 0)
    raw.send(FRAME.data, END_STREAM, 1, Buffer.from('x'))
    expect((await upstream.request(0)).head.toLowerCase()).not.toContain('expect')
  })

  test('who may not send it gets its refusal in place of a 100, and nothing goes up', async () => {
    const { upstream, raw, head } = await asking(() => {})
    raw.send(FRAME.headers, END_HEADERS, 1, head([['expect', '100-continue']], 'wrong'))
    await raw.until(({ stream, flags, type }) => type === FRAME.data && stream === 1 && (flags & END_STREAM) !== 0)
    expect(raw.frames.filter(({ type }) => type === FRAME.headers)).toHaveLength(1)
    expect(upstream.requests).toEqual([])
  })

  test("ComfyUI's answer before the body has ended passes at once, and its rest hinders no other stream", async () => {
    const { raw, head } = await asking(({ socket }) => socket.write(EARLY))
    raw.send(FRAME.headers, END_HEADERS, 1, head())
    raw.send(FRAME.data, 0, 1, Buffer.from('start'))
    await raw.until(({ stream, type, flags }) => type === FRAME.data && stream === 1 && (flags & END_STREAM) !== 0)
    for (let i = 0; i < 100; i++) raw.send(FRAME.data, 0, 1, Buffer.alloc(16_384)) // beyond 1 MiB of rest
    raw.send(FRAME.headers, END_HEADERS, 3, head())
    raw.send(FRAME.data, 0, 3, Buffer.from('start'))
    await raw.until(({ stream, type }) => type === FRAME.headers && stream === 3)
    const reset = await raw.until(({ stream, type }) => type === FRAME.reset && stream === 1)
    expect(CODES[reset!.payload.readUInt32BE(0)]).toBe('NO_ERROR')
  })

  test('a body that stops coming is 408 after the idle time, and the connection goes on', async () => {
    const { raw, head } = await asking(({ socket }) => socket.write(EARLY), { idleMs: 300 })
    raw.send(FRAME.headers, END_HEADERS, 1, head())
    await raw.until(({ stream, type }) => type === FRAME.headers && stream === 1)
    raw.send(FRAME.headers, END_HEADERS, 3, head())
    raw.send(FRAME.data, END_STREAM, 3, Buffer.from('x'))
    await raw.until(({ stream, type }) => type === FRAME.headers && stream === 3)
  })
})

describe('a WebSocket beside HTTP/2', () => {
  const url = (path: string) => `wss://127.0.0.1:${door.port}${path}`
  const insecure = { rejectUnauthorized: false }

  test('opens on a connection of HTTP/1.1 of its own, with its key', async () => {
    const socket = new WebSocket(url('/ws?clientId=beside'), {
      ...insecure,
      headers: { authorization: `Bearer ${door.keys.user}` },
    })
    closers.push(() => socket.terminate())
    const [message] = await once(socket, 'message')
    expect(String(message)).toContain('status')
    expect((await client.ask('GET', '/queue', as(door.keys.user))).status).toBe(200)
  })

  test('is refused without one', async () => {
    const socket = new WebSocket(url('/ws'), insecure)
    socket.on('error', () => {})
    const [, answer] = await once(socket, 'unexpected-response')
    expect(answer.statusCode).toBe(401)
    expect(door.sim.requests).toEqual([])
  })

  test('is not offered within HTTP/2 (RFC 8441)', () => {
    expect(client.session.remoteSettings.enableConnectProtocol).toBe(false)
  })
})
