import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FRAME, headerBlock, pseudo, raw2 } from '../support/http2.ts'
import { ask1, ask2, open2, request } from './client.ts'
import { rowsOf } from './doc.ts'
import { openPair, type Pair } from './pair.ts'
import { auditLines, KEY, type Served } from './process.ts'
import { type Asked, answerWell } from './upstream.ts'

/** How a client goes wrong: how much it sends, what it waits for, and what it does then. */
interface ClientFault {
  readonly sends: 'half a head' | 'half a body' | 'all'
  readonly waits: 'for nothing' | 'until ComfyUI has its head' | 'for the first bytes of the answer'
  readonly does: 'leaves' | 'resets' | 'half-closes' | 'stops reading' | 'falls silent'
  readonly upstream: (asked: Asked) => void
  readonly path?: string
}

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n'
const silent = () => {}
const half = ({ socket }: Asked) => socket.write(`${HEAD}half`)
const endless = ({ socket }: Asked) => {
  const more = () => {
    while (!socket.destroyed && socket.write(Buffer.alloc(65_536, 1)));
  }
  socket.write(HEAD)
  socket.on('drain', more)
  more()
}

const head = 'until ComfyUI has its head'
const first = 'for the first bytes of the answer'

const FAULTS: Readonly<Record<string, ClientFault>> = {
  'leaves in its head': { sends: 'half a head', waits: 'for nothing', does: 'leaves', upstream: silent },
  'leaves in its body': { sends: 'half a body', waits: head, does: 'leaves', upstream: silent },
  'resets in its body': { sends: 'half a body', waits: head, does: 'resets', upstream: silent },
  'leaves in a form of ours': {
    sends: 'half a body',
    waits: 'for nothing',
    does: 'leaves',
    upstream: silent,
    path: '/auth_login.html',
  },
  'falls silent in its body': { sends: 'half a body', waits: head, does: 'falls silent', upstream: silent },
  'falls silent in a form of ours': {
    sends: 'half a body',
    waits: 'for nothing',
    does: 'falls silent',
    upstream: silent,
    path: '/auth_login.html',
  },
  'leaves before its answer': { sends: 'all', waits: head, does: 'leaves', upstream: silent },
  'resets before its answer': { sends: 'all', waits: head, does: 'resets', upstream: silent },
  'leaves in its answer': { sends: 'all', waits: first, does: 'leaves', upstream: half },
  'resets in its answer': { sends: 'all', waits: first, does: 'resets', upstream: half },
  'never reads its answer': { sends: 'all', waits: first, does: 'stops reading', upstream: endless },
  'closes its side in its body': { sends: 'half a body', waits: head, does: 'half-closes', upstream: silent },
  'closes its side after its request': { sends: 'all', waits: head, does: 'half-closes', upstream: answerWell },
}

const ROWS = rowsOf('When a client fails')
const BODY = 'x'.repeat(1_000)

let pair: Pair

beforeAll(async () => {
  pair = await openPair()
  await pair.begin()
})

afterAll(() => pair.close())

interface Ran {
  /** Resolves with the next request that the upstream gets. */
  readonly reached: Promise<Asked>
  readonly fault: ClientFault
}

/** Over HTTP/1.1, as bytes. Gives what ends the client for good. */
async function run1(port: number, { fault, reached }: Ran): Promise<() => void> {
  const socket: Socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  const path = `${fault.path ?? '/upload/image'}?fault=1`
  const whole = request({ method: 'POST', path, body: BODY })
  const cut = { 'half a head': 60, 'half a body': whole.length - 500, all: whole.length }[fault.sends]
  if (fault.waits === first) socket.once('data', () => socket.pause())
  socket.write(whole.slice(0, cut))
  if (fault.waits === head) await reached
  if (fault.waits === first) await once(socket, 'data')
  if (fault.does === 'leaves') socket.destroy()
  if (fault.does === 'resets') socket.resetAndDestroy()
  if (fault.does === 'half-closes') socket.resume().end()
  if (fault.does === 'falls silent') socket.resume()
  return () => socket.destroy()
}

/** Over HTTP/2: whoever leaves closes the connection, whoever resets the stream alone. */
async function run2(port: number, { fault, reached }: Ran): Promise<() => void> {
  if (fault.sends === 'half a head') {
    const raw = await raw2(port)
    raw.send(FRAME.headers, 0, 1, headerBlock(pseudo('POST', '/upload/image')).subarray(0, 20)) // no END_HEADERS
    raw.socket.destroy()
    return () => {}
  }
  const session = await open2(port)
  const stream = session.request({
    ':method': 'POST',
    ':path': `${fault.path ?? '/upload/image'}?fault=1`,
    authorization: `Bearer ${KEY}`,
    'content-length': String(BODY.length),
  })
  stream.on('error', () => {})
  if (fault.sends === 'all') stream.end(BODY)
  else stream.write(BODY.slice(500))
  if (fault.waits === head) await reached
  if (fault.waits === first) {
    await once(stream, 'readable')
    if (fault.does !== 'stops reading') stream.resume()
  }
  if (fault.waits === 'for nothing') await new Promise((resolve) => session.ping(resolve))
  if (fault.does === 'leaves') session.destroy()
  if (fault.does === 'resets') stream.close(8) // CANCEL
  if (fault.does === 'falls silent') stream.resume()
  return () => session.destroy()
}

/** What the upstream saw of the request, and what stands in the audit log about it. */
async function outcomeOf(one: Served, run: typeof run1, fault: ClientFault): Promise<readonly string[]> {
  const known = auditLines(one).length
  let seen = 'nothing'
  const { promise: reached, resolve } = Promise.withResolvers<Asked>()
  const closed: Promise<unknown>[] = []
  pair.upstream.answer = (asked) => {
    seen = 'all'
    if (fault.upstream !== answerWell) {
      closed.push(new Promise((resolve) => asked.socket.once('close', resolve)))
      asked.socket.once('close', () => {
        seen = 'a cut'
      })
    }
    resolve(asked)
    fault.upstream(asked)
  }
  const end = await run(one.port, { fault, reached })
  const told = async () => {
    while (auditLines(one).length === known) await new Promise((resolve) => setTimeout(resolve, 5))
  }
  if (fault.sends !== 'half a head') await told()
  await Promise.all(closed)
  end()
  const [line] = auditLines(one).slice(known)
  const words = [line?.status, line?.reason].filter((word) => word !== undefined)
  return [seen, line === undefined ? 'nothing' : words.join(' ')]
}

test('docs/faults.md has a row for each fault of this file, and no other', () => {
  expect([...ROWS.keys()].sort()).toEqual(Object.keys(FAULTS).sort())
})

describe('a client that', () => {
  test.each(Object.entries(FAULTS))('%s', async (name, fault) => {
    const { served, upstream } = pair
    expect(await outcomeOf(served[0], run1, fault)).toEqual(ROWS.get(name))
    // Who has sent a stream's end has closed that side of it: there is nothing else to close.
    if (fault.does !== 'half-closes') expect(await outcomeOf(served[1], run2, fault)).toEqual(ROWS.get(name))
    upstream.answer = answerWell
    await pair.good()
    await pair.nothingLeft()
    // What a client does wrong is no fault of ours: its owner's log stays quiet.
    for (const one of served) expect(one.output()).not.toMatch(/fault of comfy-auth/)
  })
})

test('a client that takes its answer whole is not logged as one that left', async () => {
  const { served, upstream } = pair
  upstream.answer = answerWell
  const session = await open2(served[1].port)
  const known = served.map((one) => auditLines(one).length)
  const question = { method: 'POST', path: '/upload/image?marker=1', body: BODY }
  const seen = await Promise.all([ask1(served[0].port, question), ask2(session, question)])
  for (const one of seen) expect(one).toMatchObject({ outcome: '200', body: 'good 1' })
  for (const [i, one] of served.entries()) {
    while (auditLines(one).length === known[i]) await new Promise((resolve) => setTimeout(resolve, 5))
    const line = auditLines(one).at(-1)
    expect([line?.status, line?.reason]).toEqual([200, undefined])
  }
  session.destroy()
})
