import { describe, expect, test } from 'vitest'
import { type Canceller, cancelJob } from '../../src/queue/cancel.ts'
import { findJob } from '../../src/queue/describe.ts'
import { JOB_STATES, type JobState, type JobStatus } from '../../src/queue/job.ts'
import { retryJob } from '../../src/queue/retry.ts'
import type { Sight } from '../../src/queue/server.ts'
import type { Store } from '../../src/queue/store.ts'
import { newJob, SERVER } from './new-job.ts'
import { queueOf } from './worker-kit.ts'

async function jobIn(state: JobState) {
  const job = newJob({ notBeforeMs: 99, priority: 4, extraData: '{}' })
  const store = await queueOf(job)
  const path: JobState[] = state === 'queued' ? [] : state === 'sending' ? ['sending'] : ['sending', state]
  let from: JobState = 'queued'
  for (const to of path) {
    const status = { state: to, server: SERVER, reason: 'why', outputs: [] } as unknown as JobStatus
    await store.move({ id: job.id, from, to: status, nowMs: 2_000 })
    from = to
  }
  return { store, job: (await store.get(job.id))! }
}

const stateOf = async (store: Store, id: string) => (await store.get(id))?.status.state

describe('cancel', () => {
  function canceller(sight: Sight['state'], url = SERVER): Canceller & { readonly told: string[] } {
    const told: string[] = []
    return { url, told, cancel: async (id) => told.push(id), look: async () => ({ state: sight }) as Sight }
  }
  const never = async (): Promise<Canceller> => {
    throw new Error('the server is not to be asked')
  }

  test.each(['queued', 'unknown'] as const)(
    'a job that is %s is cancelled without asking the server',
    async (state) => {
      const { store, job } = await jobIn(state)
      expect(await cancelJob({ store, job, nowMs: 3_000, connect: never })).toBe('cancelled')
      expect(await stateOf(store, job.id)).toBe('cancelled')
    },
  )

  test.each([
    ['submitted', 'absent', 'cancelled', 'cancelled'],
    ['submitted', 'running', 'cancelling', 'submitted'],
    ['running', 'running', 'cancelling', 'running'],
    ['running', 'cancelled', 'cancelled', 'cancelled'],
    ['running', 'done', 'done', 'running'],
    ['sending', 'absent', 'cancelling', 'sending'],
  ] as const)('a job that is %s, and on the server %s: %s', async (state, sight, result, after) => {
    const { store, job } = await jobIn(state)
    const server = canceller(sight)
    expect(await cancelJob({ store, job, nowMs: 3_000, connect: async () => server })).toBe(result)
    expect(server.told).toEqual([job.id])
    expect(await store.get(job.id)).toMatchObject({ cancelRequested: true, status: { state: after } })
  })

  test('the wish is on disk before the server is told', async () => {
    const { store, job } = await jobIn('running')
    const server = canceller('running')
    const connect = async () => {
      expect((await store.get(job.id))?.cancelRequested).toBe(true)
      return server
    }
    await cancelJob({ store, job, nowMs: 3_000, connect })
    expect.assertions(1)
  })

  test('another server than the one it went to is not told', async () => {
    const { store, job } = await jobIn('running')
    const server = canceller('absent', 'http://other:1')
    const cancelling = cancelJob({ store, job, nowMs: 3_000, connect: async () => server })
    await expect(cancelling).rejects.toMatchObject({ kind: 'usage', message: expect.stringContaining(SERVER) })
    expect(server.told).toEqual([])
    expect(await stateOf(store, job.id)).toBe('running')
  })

  test.each(['done', 'failed', 'refused', 'cancelled'] as const)(
    'a job that is %s has nothing to cancel',
    async (state) => {
      const { store, job } = await jobIn(state)
      const cancelling = cancelJob({ store, job, nowMs: 3_000, connect: never })
      await expect(cancelling).rejects.toMatchObject({ kind: 'usage' })
    },
  )
})

describe('retry', () => {
  const again = { id: '0f0e2d3c-4b5a-4697-8877-665544332211', nowMs: 5_000 }

  test.each(['failed', 'refused', 'cancelled', 'unknown'] as const)(
    'a job that is %s gets a second attempt with an id of its own, to go at once',
    async (state) => {
      const { store, job } = await jobIn(state)
      await retryJob(store, job, again)
      const { id: _id, notBeforeMs: _notBeforeMs, status: _status, ...same } = job
      const second = await store.get(again.id)
      expect(second).toStrictEqual({ ...same, ...FRESH, id: again.id, retryOf: job.id })
      expect((await store.get(job.id))?.status).toMatchObject({ retriedAs: again.id })
      const first = (await store.get(job.id))!
      await expect(retryJob(store, first, { ...again, id: 'x' })).rejects.toMatchObject({
        message: expect.stringContaining('again'),
      })
    },
  )
  const FRESH = { addedMs: 5_000, changedMs: 5_000, status: { state: 'queued' }, cancelRequested: false }

  test.each(JOB_STATES.filter((state) => !['failed', 'refused', 'cancelled', 'unknown'].includes(state)))(
    'a job that is %s is not tried again',
    async (state) => {
      const { store, job } = await jobIn(state)
      await expect(retryJob(store, job, again)).rejects.toMatchObject({ kind: 'usage' })
      expect(await store.get(again.id)).toBeUndefined()
    },
  )
})

test('a job is found by its id or the beginning of it, and errors repeat nothing of it', async () => {
  const ids = ['aaaa0000', 'aaaa1111'].map((start) => `${start}-0000-4000-8000-000000000000`)
  const store = await queueOf(...ids.map((id) => newJob({ id })))
  expect((await findJob(store, 'AAAA0')).id).toBe(ids[0])
  expect((await findJob(store, ids[1]!)).id).toBe(ids[1])
  for (const text of ['aaaa', 'bbbb', 'aaa', 'comfy_secret', '']) {
    const error = (await findJob(store, text).catch((thrown: unknown) => thrown)) as Error
    expect(error).toMatchObject({ kind: 'usage' })
    if (text) expect(error.message).not.toContain(text)
  }
})
