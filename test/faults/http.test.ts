import { once } from 'node:events'
import { connect } from 'node:net'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ask1 } from './client.ts'
import { rowsOf } from './doc.ts'
import { HTTP_FAULTS } from './http.ts'
import { openPair, type Pair } from './pair.ts'
import { serve } from './process.ts'
import { answerWell } from './upstream.ts'

const ROWS = rowsOf('When ComfyUI fails')
/** Bytes of an upstream that no client may get. */
const NEVER = /evil/i

const SLACK_MB = 80

let pair: Pair
/** Takes as long as a connection may: the others go on meanwhile. */
let unreachable: Promise<readonly string[]>

beforeAll(async () => {
  unreachable = askTheDeaf()
  pair = await openPair()
  await pair.begin()
})

afterAll(() => pair.close())

test('docs/faults.md has a row for each fault of this file, and no other', () => {
  expect([...ROWS.keys()].sort()).toEqual([...Object.keys(HTTP_FAULTS), 'cannot be reached', 'is not there'].sort())
})

describe('an upstream that', () => {
  test.each(Object.entries(HTTP_FAULTS))('%s', async (name, { answer, question = {}, body }) => {
    const { served, upstream } = pair
    upstream.answer = (asked) => (asked.query('fault') === '' ? answerWell : answer)(asked)
    const memory = served.map((one) => one.rssMb())
    const seen = await pair.both({ ...question, path: `${question.path ?? '/queue'}?fault=1` })
    for (const [i, { outcome }] of seen.entries()) expect(ROWS.get(name)![i]!.split(' or ')).toContain(outcome)
    // However long an answer is, what is kept of it is not.
    if (question.leavesAfterBytes) {
      for (const [i, one] of served.entries()) expect(one.rssMb() - memory[i]!).toBeLessThan(SLACK_MB)
    }
    for (const one of seen) {
      expect(one.head + one.body).not.toMatch(NEVER)
      if (body !== undefined && one.outcome !== '502') expect(one.body).toBe(body)
    }
    await pair.good()
    await pair.nothingLeft()
  })

  test('is not there', async () => {
    await pair.upstream.stop()
    const seen = await pair.both({})
    expect(seen.map(({ outcome }) => outcome)).toEqual(ROWS.get('is not there'))
    await pair.upstream.start()
    await pair.good()
    await pair.nothingLeft()
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
