import { once } from 'node:events'
import { connect } from 'node:net'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ask1, ask2, open2, type Question, type Seen } from './client.ts'
import { rowsOf } from './doc.ts'
import { HTTP_FAULTS } from './http.ts'
import { type Served, serve } from './process.ts'
import { answerWell, misbehaving, type Upstream } from './upstream.ts'

const ROWS = rowsOf('When ComfyUI fails')
/** Bytes of an upstream that no client may get. */
const NEVER = /evil/i

const SLACK_MB = 80

let upstream: Upstream
/** HTTP/1.1, and HTTP/2 over TLS. */
let served: readonly [Served, Served]
let descriptors: readonly [number, number]
/** Takes as long as a connection may: the others go on meanwhile. */
let unreachable: Promise<readonly string[]>

beforeAll(async () => {
  unreachable = askTheDeaf()
  upstream = await misbehaving()
  served = await Promise.all([
    serve(upstream.url, ['--idle-timeout', '1s']),
    serve(upstream.url, ['--idle-timeout', '1s', '--tls-self-signed']),
  ])
  await good()
  await letGo()
  descriptors = [served[0].fds(), served[1].fds()]
})

afterAll(async () => {
  await Promise.all(served.map((one) => one.close()))
  await upstream.close()
})

async function both(question: Question): Promise<readonly [Seen, Seen]> {
  const session = await open2(served[1].port)
  const seen = await Promise.all([ask1(served[0].port, question), ask2(session, question)])
  session.destroy()
  return seen
}

let marker = 0

/** The next good request: on either protocol it gets its own answer. */
async function good(): Promise<void> {
  const path = `/queue?marker=${++marker}`
  for (const seen of await both({ path })) expect(seen).toMatchObject({ outcome: '200', body: `good ${marker}` })
}

/** Ends the upstream's side of every connection, those that wait in the pool too. */
async function letGo(): Promise<void> {
  for (const socket of upstream.open) socket.destroy()
  await upstream.quiet()
}

/** Nothing more is open in either process than before the first fault. */
async function nothingLeft(): Promise<void> {
  await letGo()
  await Promise.all(served.map((one, i) => one.fdsWithin(descriptors[i]!)))
}

test('docs/faults.md has a row for each fault of this file, and no other', () => {
  expect([...ROWS.keys()].sort()).toEqual([...Object.keys(HTTP_FAULTS), 'cannot be reached', 'is not there'].sort())
})

describe('an upstream that', () => {
  test.each(Object.entries(HTTP_FAULTS))('%s', async (name, { answer, question = {}, body }) => {
    upstream.answer = (asked) => (asked.query('fault') === '' ? answerWell : answer)(asked)
    const memory = served.map((one) => one.rssMb())
    const seen = await both({ ...question, path: `${question.path ?? '/queue'}?fault=1` })
    for (const [i, { outcome }] of seen.entries()) expect(ROWS.get(name)![i]!.split(' or ')).toContain(outcome)
    // However long an answer is, what is kept of it is not.
    if (question.leavesAfterBytes) {
      for (const [i, one] of served.entries()) expect(one.rssMb() - memory[i]!).toBeLessThan(SLACK_MB)
    }
    for (const one of seen) {
      expect(one.head + one.body).not.toMatch(NEVER)
      if (body !== undefined && one.outcome !== '502') expect(one.body).toBe(body)
    }
    await good()
    await nothingLeft()
  })

  test('is not there', async () => {
    await upstream.stop()
    const seen = await both({})
    expect(seen.map(({ outcome }) => outcome)).toEqual(ROWS.get('is not there'))
    await upstream.start()
    await good()
    await nothingLeft()
  })
})

test('an upstream that cannot be reached', async () => {
  expect(await unreachable).toEqual(['503', 'good'])
  expect(ROWS.get('cannot be reached')).toEqual(['503', '503'])
})

/** What two requests get of an upstream that cannot be reached, and then can. */
async function askTheDeaf(): Promise<readonly string[]> {
  // A listener that accepts nobody: once its queue is full, the kernel drops who comes.
  const flag = new SharedArrayBuffer(4)
  const worker = new Worker(DEAF, { eval: true, workerData: flag })
  const [port] = (await once(worker, 'message')) as [number]
  const waiting = [0, 1, 2].map(() => connect(port, '127.0.0.1').on('error', () => {}))
  await Promise.all(waiting.slice(0, 2).map((socket) => once(socket, 'connect')))
  const one = await serve(`http://127.0.0.1:${port}`)
  try {
    const before = one.fds()
    const { outcome } = await ask1(one.port)
    for (const socket of waiting) socket.destroy()
    Atomics.store(new Int32Array(flag), 0, 1)
    Atomics.notify(new Int32Array(flag), 0)
    const { body } = await ask1(one.port)
    await worker.terminate()
    await one.fdsWithin(before)
    return [outcome, body]
  } finally {
    await one.close()
  }
}

const DEAF = `
const { parentPort, workerData } = require('node:worker_threads')
const server = require('node:net').createServer((socket) => {
  socket.on('error', () => {})
  socket.once('data', () => socket.end('HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\ngood'))
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
  parentPort.postMessage(server.address().port)
  setImmediate(() => Atomics.wait(new Int32Array(workerData), 0, 0))
})
`
