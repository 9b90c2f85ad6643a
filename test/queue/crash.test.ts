import { type ChildProcess, fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { createClient } from '../../src/comfy/client.ts'
import { comfyServer } from '../../src/queue/comfy-server.ts'
import { thisWorker } from '../../src/queue/lease.ts'
import { openStore, type Store } from '../../src/queue/store.ts'
import { type OnUnknown, type WorkResult, work } from '../../src/queue/worker.ts'
import { type FakeComfy, fakeComfy } from './fake-comfy.ts'
import { newJob } from './new-job.ts'

const folder = mkdtempSync(join(tmpdir(), 'comfy-auth-crash-'))
const stores: Store[] = []
afterAll(() => {
  for (const store of stores) store.close()
  rmSync(folder, { recursive: true, force: true })
})

async function queueWithOneJob(): Promise<{ id: string; path: string; output: string; store: Store }> {
  const place = mkdtempSync(join(folder, 'q-'))
  const [path, output] = [join(place, 'queue.db'), join(place, 'out')]
  const store = await openStore(path)
  stores.push(store)
  const job = newJob({ output })
  await store.add([job])
  return { id: job.id, path, output, store }
}

function workerProcess(path: string, url: string, killAt = 0): ChildProcess {
  return fork(join(import.meta.dirname, 'processes/work.ts'), [path, url, String(killAt)])
}

/** The next worker, as cron would start it. */
async function workHere(store: Store, url: string, onUnknown: OnUnknown = 'hold'): Promise<WorkResult> {
  const client = createClient({ url })
  const run = work({
    store,
    server: comfyServer(client, { pollMs: 20 }),
    worker: thisWorker(randomUUID()),
    once: true,
    onUnknown,
    signal: new AbortController().signal,
    onEvent: () => {},
    nowMs: Date.now,
    newId: randomUUID,
    sleep: () => pause(5),
  })
  return await run.finally(() => client.close())
}

const pictures = (output: string): string[] =>
  readdirSync(output).map((name) => `${name}: ${readFileSync(join(output, name), 'utf8')}`)
const pictureOf = (id: string): string => `${id}.png: picture of ${id}.png`

/** How often the worker of one job can be killed: twice for each call that it makes. A run that counts them checks it. */
const STEPS = 23

describe('a worker killed by SIGKILL', () => {
  let comfy: FakeComfy
  beforeAll(async () => {
    comfy = await fakeComfy()
  })
  afterAll(() => comfy.close())

  test('makes so many calls for one job, and ends with its picture', async () => {
    const { id, path, output, store } = await queueWithOneJob()
    const [steps] = await once(workerProcess(path, comfy.url), 'message')
    expect(steps).toBe(STEPS)
    expect((await store.get(id))?.status.state).toBe('done')
    expect(pictures(output)).toEqual([pictureOf(id)])
  })

  const fates = new Map<string, number>()
  test.concurrent.each(Array.from({ length: STEPS }, (_, index) => index + 1))(
    'at step %i: the job is not lost, not sent twice, and its picture is kept once',
    async (step) => {
      const { id, path, output, store } = await queueWithOneJob()
      const [, signal] = await once(workerProcess(path, comfy.url, step), 'exit')
      expect(signal).toBe('SIGKILL')
      await workHere(store, comfy.url)
      const sent = comfy.accepted.filter((taken) => taken === id).length
      const state = (await store.get(id))!.status.state
      fates.set(state, (fates.get(state) ?? 0) + 1)
      expect([state, sent]).toEqual(state === 'done' ? ['done', 1] : ['unknown', 0])
      if (state === 'done') expect(pictures(output)).toEqual([pictureOf(id)])
      // The owner's word sends what is unknown, under a new id.
      const { done } = await workHere(store, comfy.url, 'retry')
      expect(done).toHaveLength(state === 'done' ? 0 : 1)
      expect(comfy.accepted.filter((taken) => taken === id)).toHaveLength(sent)
    },
  )

  test('is unknown only from the write before sending to the request itself', () => {
    expect(Object.fromEntries(fates)).toEqual({ done: STEPS - 2, unknown: 2 })
  })
})

describe('a worker killed while the server holds its request', () => {
  test.each([
    ['takes it', 'done', 1],
    ['drops it', 'unknown', 0],
  ] as const)('that %s: %s', async (_what, state, times) => {
    let child: ChildProcess | undefined
    const comfy = await fakeComfy((_id, _response, take) => {
      child!.kill('SIGKILL')
      if (times === 1) take()
    })
    onTestFinished(() => comfy.close())
    const { id, path, store } = await queueWithOneJob()
    child = workerProcess(path, comfy.url)
    await once(child, 'exit')
    await workHere(store, comfy.url)
    expect((await store.get(id))?.status.state).toBe(state)
    expect(comfy.accepted).toHaveLength(times)
  })
})

test('a server that restarts under a job leaves it unknown, and it is not sent again', async () => {
  const comfy = await fakeComfy((_id, _response, take) => {
    take()
    comfy.restart()
  })
  onTestFinished(() => comfy.close())
  const { id, store } = await queueWithOneJob()
  expect((await workHere(store, comfy.url)).unknown).toEqual([id])
  await workHere(store, comfy.url)
  expect(comfy.accepted).toEqual([id])
})

test('two workers at once on one queue deliver each job once', async () => {
  const comfy = await fakeComfy()
  onTestFinished(() => comfy.close())
  const { path, store, output } = await queueWithOneJob()
  await store.add(Array.from({ length: 11 }, () => newJob({ output })))
  const workers = [workerProcess(path, comfy.url), workerProcess(path, comfy.url)]
  await Promise.all(workers.map((child) => once(child, 'exit')))
  expect((await store.counts()).done).toBe(12)
  expect(new Set(comfy.accepted).size).toBe(12)
  expect(comfy.accepted).toHaveLength(12)
})
