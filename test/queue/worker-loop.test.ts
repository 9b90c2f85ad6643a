import { describe, expect, test } from 'vitest'
import type { Sent } from '../../src/queue/server.ts'
import { work } from '../../src/queue/worker.ts'
import { newJob, SERVER } from './new-job.ts'
import { worker } from './store-suite.ts'
import { error, options, queueOf, server } from './worker-kit.ts'

describe('without --once', () => {
  test('a server that is down is waited for, longer and longer, and then gets the job', async () => {
    const job = newJob()
    const store = await queueOf(job)
    const answers: Sent[] = Array.from({ length: 7 }, () => ({ kind: 'not-sent', error: error('unreachable') }))
    const stop = new AbortController()
    const target = server({
      send: async () => answers.shift() ?? { kind: 'accepted' },
      collect: async () => {
        stop.abort()
        return ['/tmp/out/a.png']
      },
    })
    const slept: number[] = []
    const sleep = async (ms: number) => void slept.push(ms)
    const result = await work(options(store, target, { once: false, signal: stop.signal, sleep }))
    expect(result.done).toEqual([job.id])
    expect(slept).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000])
  })

  test('a server that does not know the key ends the run: waiting mends nothing', async () => {
    const store = await queueOf(newJob())
    const target = server({ send: async () => ({ kind: 'not-sent', error: error('unauthorised') }) })
    await expect(work(options(store, target, { once: false }))).rejects.toMatchObject({ kind: 'unauthorised' })
  })

  test('a job added later is taken, and a stop while one runs leaves it running and free', async () => {
    const store = await queueOf()
    const stop = new AbortController()
    const job = newJob()
    const target = server({
      follow: async (_job, { onRunning, signal }) => {
        onRunning()
        stop.abort()
        signal.throwIfAborted()
        return { state: 'done' }
      },
    })
    let slept = 0
    const sleep = async () => {
      slept += 1
      if (slept === 1) await store.add([job])
    }
    const result = await work(options(store, target, { once: false, signal: stop.signal, sleep }))
    expect(result.done).toEqual([])
    const next = await store.claim(worker('next'), { nowMs: 10_000, server: SERVER })
    expect(next).toMatchObject({ id: job.id, status: { state: 'running' } })
  })
})
