import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as after } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createKey, revokeKey } from '../../src/keys/lifecycle.ts'
import { certificateFiles } from '../support/certificate.ts'
import { type Door, openDoor } from '../support/door.ts'
import { type Client2, client2 } from '../support/http2.ts'

const BODY = JSON.stringify({
  prompt: {
    '1': { class_type: 'EmptyImage', inputs: { width: 16, height: 16, batch_size: 1, color: 0 } },
    '2': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
  },
})

let door: Door
let tlsDoor: Door
let client: Client2
let made = 0

beforeAll(async () => {
  door = await openDoor()
  tlsDoor = await openDoor({ tls: certificateFiles() })
  client = await client2(tlsDoor.port)
})

afterAll(async () => {
  client.close()
  await door.close()
  await tlsDoor.close()
})

beforeEach(() => {
  door.sim.clearRequests()
  tlsDoor.sim.clearRequests()
})

async function newKey(at: Door): Promise<{ key: string; kill: () => Promise<void> }> {
  const label = `dying ${made++}`
  const { key } = await createKey({ label, role: 'user', keyring: at.keyring })
  await at.keys.live.reload()
  return {
    key,
    async kill() {
      await revokeKey(at.keyring, label)
      await at.keys.live.reload()
      const { status } = await fetch(`${at.sim.url}/prompt`) // the simulated ComfyUI lives on
      expect(status).toBe(200)
    },
  }
}

/** Until the head stands before ComfyUI, with its answer still to come. */
async function underWay(at: Door, path: string): Promise<void> {
  while (!at.sim.requests.some(({ target }) => target === path)) await after(5)
}

/** What ComfyUI took: the judge, whatever a client heard. */
const taken = (at: Door) => at.sim.requests.filter(({ method, status }) => method === 'POST' && status === 200).length

function send(headers: Readonly<Record<string, string>>, path = '/prompt'): Socket {
  const socket = connect(door.port, '127.0.0.1')
  const lines = Object.entries({
    Host: `127.0.0.1:${door.port}`,
    Connection: 'close',
    'Content-Type': 'application/json',
    ...headers,
  })
  socket.on('error', () => {})
  socket.write(`POST ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`)
  return socket
}

/** All that the client hears until its connection is closed. */
function heard(socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  return new Promise((resolve) => socket.on('close', () => resolve(text)))
}

const FRAMINGS = {
  'a length': { head: { 'Content-Length': String(BODY.length) }, first: BODY.slice(0, 10), rest: BODY.slice(10) },
  chunks: {
    head: { 'Transfer-Encoding': 'chunked' },
    first: `${BODY.length.toString(16)}\r\n${BODY}\r\n`,
    rest: '0\r\n\r\n',
  },
}

describe('a body under way dies with what let it in', () => {
  test.each(Object.entries(FRAMINGS))('by a key, with %s', async (_name, { head, first, rest }) => {
    const { key, kill } = await newKey(door)
    const socket = send({ ...head, 'X-API-Key': key })
    const text = heard(socket)
    socket.write(first)
    await underWay(door, '/prompt')
    await kill()
    socket.write(rest)
    expect(await text).toBe('')
    expect(taken(door)).toBe(0)
  })

  test('by a session that is ended', async () => {
    const cookie = await door.logIn(door.keys.user)
    const ours = { Cookie: cookie, Origin: `http://127.0.0.1:${door.port}` }
    const socket = send({ ...ours, 'Content-Length': String(BODY.length) })
    const text = heard(socket)
    socket.write(BODY.slice(0, 10))
    await underWay(door, '/prompt')
    await door.ask('POST', '/auth_logout', { headers: ours })
    socket.write(BODY.slice(10))
    expect(await text).toBe('')
    expect(taken(door)).toBe(0)
  })

  test('over HTTP/2, and the other streams of its connection go on', async () => {
    const { key, kill } = await newKey(tlsDoor)
    const stream = client.session.request({
      ':method': 'POST',
      ':path': '/prompt',
      'content-type': 'application/json',
      'x-api-key': key,
    })
    stream.on('error', () => {})
    let status: unknown
    stream.on('response', (head) => {
      status = head[':status']
    })
    stream.resume().write(BODY)
    await underWay(tlsDoor, '/prompt')
    const closed = once(stream, 'close').catch(() => {}) // a reset closes it too
    await kill()
    stream.end()
    await closed
    expect(status).toBeUndefined()
    expect(taken(tlsDoor)).toBe(0)
    expect((await client.ask('GET', '/system_stats', { 'x-api-key': tlsDoor.keys.user })).status).toBe(200)
  })

  test('and no other key’s', async () => {
    const { kill } = await newKey(door)
    const socket = send({ 'X-API-Key': door.keys.user, 'Content-Length': String(BODY.length) })
    const text = heard(socket)
    socket.write(BODY.slice(0, 10))
    await underWay(door, '/prompt')
    await kill()
    socket.write(BODY.slice(10))
    expect(await text).toMatch(/^HTTP\/1\.1 200 /)
    expect(taken(door)).toBe(1)
  })
})

test('a download under way when its key dies runs to its end', async () => {
  const { key, kill } = await newKey(door)
  door.sim.setFaults({ http: [{ path: '/object_info', kind: 'delay', ms: 300 }] })
  const answer = fetch(`http://127.0.0.1:${door.port}/object_info`, { headers: { 'X-API-Key': key } })
  await underWay(door, '/object_info')
  await kill()
  const { status } = await answer
  door.sim.setFaults({})
  expect(status).toBe(200)
})
