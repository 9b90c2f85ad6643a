import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { WebSocket } from 'ws'
import { createSim, type Sim } from '../../src/sim/sim.ts'
import { means, NOT_FOLLOWED } from './not-followed.ts'
import { FIXTURE_NODES } from './support/fixture-nodes.ts'
import { listen, loose, normal, type RecordedFrame, SESSIONS, type Session } from './support/sessions.ts'
import { maskJson } from './support/shape.ts'

interface Played {
  readonly response?: { status: number; body: string }
  readonly others: { status: number; body: string }[]
  readonly frames: readonly RecordedFrame[]
  readonly observer?: readonly RecordedFrame[]
  readonly after?: readonly RecordedFrame[]
  readonly first?: readonly RecordedFrame[]
  readonly closeCode?: number
}

let sim: Sim

async function post(path: string, body: unknown, method = 'POST'): Promise<{ status: number; body: string }> {
  const response = await fetch(sim.url + path, { method, body: JSON.stringify(body) })
  return { status: response.status, body: await response.text() }
}

const has = (part: string) => (frame: RecordedFrame) => frame.text?.includes(part) === true
const ended = (frame: RecordedFrame) => has('"node": null')(frame)
const lastStatus = (frame: RecordedFrame, count: number) => count > 2 && has('"queue_remaining": 0}}}}')(frame)
const binary = (frame: RecordedFrame) => frame.text === undefined

/** Plays one session as it was recorded, with the recorded ids, so that all of it can be compared. */
async function play(session: Session): Promise<Played> {
  const client = session.client_id
  const observer = session.observer_client_id === undefined ? undefined : await listen(sim, session.observer_client_id)
  const own = client !== null || session.prompt === null ? await listen(sim, client) : undefined
  const sockets: WebSocket[] = [own?.socket, observer?.socket].filter((socket) => socket !== undefined)
  try {
    for (const { text, bytes } of session.sent ?? []) {
      own?.socket.send(text ?? Buffer.alloc(bytes ?? 0))
      if (text?.includes('feature_flags') && own?.frames.length === 1) await own.until(has('feature_flags'))
    }
    if (session.close) return { others: [], frames: own?.frames ?? [], closeCode: (await own?.closed) ?? 0 }
    if (session.prompt === null) {
      // Answers to what was sent last would have come before this one.
      await post('/queue', { clear: true })
      await own?.until((frame, count) => count > 2 && has('"status"')(frame))
      return { others: [], frames: own?.frames.slice(0, 2) ?? [] }
    }
    return await playPrompt(session, own, observer)
  } finally {
    for (const socket of sockets) socket.terminate()
  }
}

type Heard = Awaited<ReturnType<typeof listen>>

async function playPrompt(session: Session, own: Heard | undefined, observer: Heard | undefined): Promise<Played> {
  const others: { status: number; body: string }[] = []
  // The recorded server had let go of the older results by then, for want of memory.
  if (session.name.startsWith('log subscription')) await post('/free', { free_memory: true })
  if (session.name.startsWith('log subscription'))
    others.push(await post('/internal/logs/subscribe', { clientId: session.client_id, enabled: true }, 'PATCH'))
  const recorded = (session.response?.json ?? {}) as { prompt_id?: string }
  const body = {
    prompt: session.prompt,
    ...(session.client_id === null ? {} : { client_id: session.client_id }),
    ...(recorded.prompt_id === undefined ? {} : { prompt_id: recorded.prompt_id }),
    ...session.request_extra,
  }
  let heard = own
  let first: Heard | undefined
  if (session.first_socket_frames) {
    first = own
    heard = await listen(sim, session.client_id)
  }
  const response = await post('/prompt', body)
  if (response.status !== 200) return { response, others, frames: heard?.frames ?? [] }

  if (session.second_response) {
    const pending = session.second_response.json.prompt_id
    others.push(await post('/prompt', { ...body, prompt_id: pending }))
    await heard?.until(binary)
    for (const id of [pending, recorded.prompt_id, '00000000-0000-4000-8000-000000000000']) {
      others.push(await post(`/api/jobs/${id}/cancel`, {}))
      if (id === recorded.prompt_id) await heard?.until(ended)
    }
  }
  if (session.name === 'interrupted while running') {
    await heard?.until(has('"executing", "data": {"node": "2"'))
    others.push(await post('/interrupt', { prompt_id: recorded.prompt_id }))
  }
  if (session.name.includes('interrupted by a global')) {
    await observer?.until(binary)
    others.push(await post('/interrupt', {}))
  }
  if (session.frames_after_reconnect) {
    await heard?.until(binary)
    heard?.socket.terminate()
    await heard?.closed
    const again = await listen(sim, session.client_id)
    await again.until(ended)
    again.socket.terminate()
    return { response, others, frames: heard?.frames ?? [], after: again.frames }
  }
  if (first && heard) {
    await heard.until((_, count) => count === 25)
    first.socket.close()
    await first.closed
    const deaf = heard.frames.length
    const watcher = await listen(sim, 'watcher')
    await watcher.until(has('"queue_remaining": 0}}}}'))
    watcher.socket.terminate()
    heard.socket.terminate()
    // What was on its way when the first socket closed may still have come; after it there is silence.
    expect(heard.frames.length - deaf).toBeLessThan(6)
    return { response, others, frames: heard.frames, first: first.frames }
  }
  if (heard) await heard.until(session.name.startsWith('log subscription') ? has('Prompt executed') : ended)
  if (observer) await observer.until(lastStatus)
  return { response, others, frames: heard?.frames ?? [], ...(observer ? { observer: observer.frames } : {}) }
}

const followed = SESSIONS.filter(
  ({ server, name }) => !NOT_FOLLOWED.some((entry) => means(entry, server, `/ws ${name}`)),
)
const played = new Map<string, Played>()

beforeAll(async () => {
  sim = await createSim({ stepMs: 1, nodes: FIXTURE_NODES, faults: { nodeMs: { ImageBlur: 200 } }, indexHtml: '' })
  writeFileSync(join(sim.folders.input, 'broken.png'), 'no image')
  for (const session of followed) played.set(session.name, await play(session))
}, 60_000)

afterAll(() => sim.close())

/** Sessions in which the number of frames hangs on when an order reached the server. */
const TIMED = ['two jobs', 'a prompt without client_id interrupted', 'reconnect with', 'two sockets with']

describe('recorded /ws sessions', () => {
  test.each(followed.map((session) => ({ name: session.name, session })))('$name', ({ name, session }) => {
    const result = played.get(name) as Played
    const timed = TIMED.some((start) => name.startsWith(start))
    const compare = timed ? loose : normal
    expect(compare(result.frames)).toEqual(compare(session.frames))
    if (session.observer_frames) expect(compare(result.observer ?? [])).toEqual(compare(session.observer_frames))
    if (session.frames_after_reconnect) expect(loose(result.after ?? [])).toEqual(loose(session.frames_after_reconnect))
    if (session.first_socket_frames) expect(normal(result.first ?? [])).toEqual(normal(session.first_socket_frames))
    if (session.response && result.response) {
      expect(result.response.status).toBe(session.response.status)
      expect(maskJson(result.response.body)).toEqual(maskJson(JSON.stringify(session.response.json)))
    }
    if (session.close) expect(result.closeCode).toBe(session.close.code)
    const cancels = session.cancel_responses?.map(({ json }) => json)
    if (cancels) expect(result.others.slice(1).map(({ body }) => JSON.parse(body))).toEqual(cancels)
  })
})
