import { afterAll, beforeAll, expect, test } from 'vitest'
import { ask1, ask2, open2, type Seen } from './client.ts'
import { type Served, serve } from './process.ts'
import { answerWell, misbehaving, type Upstream } from './upstream.ts'

const CLIENTS = 24
const RESTARTS = 3
/** Answers between two restarts, and failures before the upstream is back. */
const EACH = 150
const EVIL = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'

let upstream: Upstream
let served: readonly [Served, Served]
/** Descriptors before anybody came, with one to spare for what is opened when it is first needed. */
let started: readonly number[]

beforeAll(async () => {
  upstream = await misbehaving()
  served = await Promise.all([serve(upstream.url), serve(upstream.url, ['--tls-self-signed'])])
  await upstream.letGo()
  started = served.map((one) => one.fds() + 1)
})

afterAll(async () => {
  await Promise.all(served.map((one) => one.close()))
  await upstream.close()
})

/** Asks without a pause, half of the clients over HTTP/2, until told to stop; `check` gets every answer. */
async function underLoad(until: () => Promise<void>, check: (seen: Seen, marker: string) => void): Promise<void> {
  const session = await open2(served[1].port)
  let running = true
  const clients = Array.from({ length: CLIENTS }, async (_, client) => {
    for (let i = 0; running; i++) {
      const marker = `${client}x${i}`
      const question = { path: `/queue?marker=${marker}` }
      check(await (client % 2 === 0 ? ask1(served[0].port, question) : ask2(session, question)), marker)
    }
  })
  await until()
  running = false
  await Promise.all(clients)
  session.destroy()
}

test('an upstream that restarts under load: no answer is mixed up, and all is well once it is back', async () => {
  const descriptors = await idle()
  upstream.answer = answerWell
  const outcomes = new Map<string, number>()
  const waiting: (() => void)[] = []
  const count = (outcome: string) => outcomes.get(outcome) ?? 0
  const failures = () => [...outcomes].reduce((sum, [outcome, n]) => (outcome === '200' ? sum : sum + n), 0)
  const reaches = async (value: () => number, more: number) => {
    const goal = value() + more
    while (value() < goal) await new Promise<void>((resolve) => waiting.push(resolve))
  }
  await underLoad(
    async () => {
      for (let i = 0; i < RESTARTS; i++) {
        await reaches(() => count('200'), EACH)
        await upstream.stop()
        await reaches(failures, EACH)
        await upstream.start()
      }
      await reaches(() => count('200'), EACH)
    },
    ({ outcome, body }, marker) => {
      outcomes.set(outcome, count(outcome) + 1)
      for (const wake of waiting.splice(0)) wake()
      if (outcome === '200') expect(body).toBe(`good ${marker}`)
      else expect(['502', '503', 'cut']).toContain(outcome)
    },
  )
  await backTo(descriptors)
})

test('an upstream that sends a second answer behind each: under load too nobody ever gets it', async () => {
  const descriptors = await idle()
  let answered = 0
  upstream.answer = (asked) => {
    const body = `good ${asked.query('marker')}`
    asked.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}${EVIL}`)
  }
  const { promise: enough, resolve } = Promise.withResolvers<void>()
  await underLoad(
    () => enough,
    ({ outcome, body }, marker) => {
      expect([outcome, body]).toEqual(['200', `good ${marker}`])
      if (++answered === 500) resolve()
    },
  )
  await backTo(descriptors)
})

test('uploads over HTTP/2 that are refused before they end, by clients that leave then, keep no connection', async () => {
  const descriptors = await idle()
  const refused = { method: 'POST', path: '/upload/image', body: 'x'.repeat(3_000_000), headers: { authorization: '' } }
  for (let i = 0; i < 40; i++) {
    const session = await open2(served[1].port)
    const { outcome } = await ask2(session, refused)
    expect(['401', 'cut']).toContain(outcome) // a reset without an error may come before our client has read it all
    session.destroy()
  }
  await backTo(descriptors)
})

/** Descriptors of both while nothing is asked. */
async function idle(): Promise<readonly number[]> {
  upstream.answer = answerWell
  await underLoad(
    async () => {},
    () => {},
  )
  await upstream.letGo()
  return served.map((one, i) => Math.min(one.fds(), started[i]!))
}

async function backTo(descriptors: readonly number[]): Promise<void> {
  await upstream.letGo()
  await Promise.all(served.map((one, i) => one.fdsWithin(descriptors[i]!)))
}
