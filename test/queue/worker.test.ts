import { describe, expect, test } from 'vitest'
import type { JobState, NewJob } from '../../src/queue/job.ts'
import type { Ended, Sight } from '../../src/queue/server.ts'
import type { Store } from '../../src/queue/store.ts'
import { type WorkOptions, work } from '../../src/queue/worker.ts'
import { newJob, SERVER } from './new-job.ts'
import { worker } from './store-suite.ts'
import { error, options, queueOf, server } from './worker-kit.ts'

/** A job that a killed worker left in this state. */
async function left(store: Store, job: NewJob, state: Exclude<JobState, 'queued'>): Promise<void> {
  const path: JobState[] = ['queued', 'sending', ...(state === 'sending' ? [] : [state])]
  for (let i = 1; i < path.length; i += 1) {
    const to = { state: path[i], server: SERVER, reason: 'left' } as Parameters<Store['move']>[0]['to']
    await store.move({ id: job.id, from: path[i - 1]!, to, nowMs: 5_000 })
  }
}

test('a job goes queued, sending, submitted, running, done, and each state is on disk before the act it names', async () => {
  const job = newJob()
  const store = await queueOf(job)
  const seen: string[] = []
  const note = async (act: string) => seen.push(`${act}: ${(await store.get(job.id))?.status.state}`)
  const target = server({
    send: async () => {
      await note('send')
      return { kind: 'accepted' }
    },
    follow: async (_job, { onRunning }) => {
      await note('follow')
      onRunning()
      return { state: 'done' }
    },
    collect: async () => {
      await note('collect')
      return ['/tmp/out/a.png']
    },
  })
  const run = options(store, target)
  const result = await work(run)
  expect(seen).toEqual(['send: sending', 'follow: submitted', 'collect: running'])
  expect(result).toEqual({ done: [job.id], failed: [], refused: [], cancelled: [], unknown: [], held: [] })
  expect((await store.get(job.id))?.status).toEqual({ state: 'done', server: SERVER, outputs: ['/tmp/out/a.png'] })
  const states = run.events.map((event) => (event.type === 'state' ? event.status.state : event.type))
  expect(states).toEqual(['sending', 'submitted', 'running', 'done'])
})

test('one refused or failed job does not keep the next from its turn', async () => {
  const jobs = [newJob(), newJob(), newJob()]
  const store = await queueOf(...jobs)
  const target = server({
    send: async ({ id }) => (id === jobs[0]!.id ? { kind: 'refused', reason: 'node 3: bad' } : { kind: 'accepted' }),
    follow: async ({ id }) => (id === jobs[1]!.id ? { state: 'failed', reason: 'out of memory' } : { state: 'done' }),
  })
  const result = await work(options(store, target))
  expect(result).toMatchObject({ refused: [jobs[0]!.id], failed: [jobs[1]!.id], done: [jobs[2]!.id] })
  expect((await store.get(jobs[0]!.id))?.status).toEqual({ state: 'refused', server: SERVER, reason: 'node 3: bad' })
})

describe('sending', () => {
  test('what certainly did not arrive is queued again with the reason, and the run ends with it', async () => {
    const job = newJob()
    const store = await queueOf(job)
    const down = server({ send: async () => ({ kind: 'not-sent', error: error('unreachable', 'refused') }) })
    await expect(work(options(store, down))).rejects.toMatchObject({ kind: 'unreachable' })
    expect((await store.get(job.id))?.status).toEqual({ state: 'queued', reason: 'refused' })
    const up = server()
    expect((await work(options(store, up, { worker: worker('next') }))).done).toEqual([job.id])
  })

  test('after a doubtful answer the server is asked; what it has is followed and not sent again', async () => {
    const job = newJob()
    const store = await queueOf(job)
    const target = server({
      send: async () => ({ kind: 'doubtful', error: error('unreachable', 'cut') }),
      look: async () => ({ state: 'running' }),
    })
    expect((await work(options(store, target))).done).toEqual([job.id])
    expect(target.sent).toEqual([job.id])
  })

  test('after a doubtful answer a server that does not know it leaves it unknown, with what happened', async () => {
    const job = newJob()
    const store = await queueOf(job)
    const target = server({
      send: async () => ({ kind: 'doubtful', error: error('unreachable', 'The line was cut.') }),
    })
    expect((await work(options(store, target))).unknown).toEqual([job.id])
    expect(target.looked).toHaveLength(3)
    const status = (await store.get(job.id))?.status
    expect(status).toMatchObject({ state: 'unknown', reason: expect.stringContaining('The line was cut.') })
  })

  test('a job cancelled between claim and sending is not sent', async () => {
    const job = newJob()
    const store = await queueOf(job)
    const claim = store.claim
    store.claim = async (...args) => {
      const claimed = await claim(...args)
      await store.move({ id: job.id, from: 'queued', to: { state: 'cancelled' }, nowMs: 9_000 })
      return claimed
    }
    const target = server()
    await work(options(store, target))
    expect(target.sent).toEqual([])
  })
})

describe('after a crash', () => {
  const FOUND: [Sight, JobState][] = [
    [{ state: 'pending' }, 'done'],
    [{ state: 'running' }, 'done'],
    [{ state: 'done' }, 'done'],
    [{ state: 'failed', reason: 'oom' }, 'failed'],
    [{ state: 'cancelled' }, 'cancelled'],
    [{ state: 'absent' }, 'unknown'],
  ]
  const cases = (['sending', 'submitted', 'running', 'unknown'] as const).flatMap((state) =>
    FOUND.map(([sight, end]) => ({ state, sight, end })),
  )
  test.each(cases)(
    '$state and the server says $sight.state: $end, and nothing is sent',
    async ({ state, sight, end }) => {
      const job = newJob()
      const store = await queueOf(job)
      await left(store, job, state)
      const target = server({ look: async () => sight })
      await work(options(store, target))
      expect((await store.get(job.id))?.status.state).toBe(end)
      expect(target.sent).toEqual([])
      expect((await store.claim(worker('next'), { nowMs: 10_000, server: SERVER, id: job.id }))?.id).toBe(job.id)
    },
  )

  test('a prompt that turns up at the second look is not given up', async () => {
    const job = newJob()
    const store = await queueOf(job)
    await left(store, job, 'sending')
    const sights: Sight[] = [{ state: 'absent' }, { state: 'done' }]
    const result = await work(options(store, server({ look: async () => sights.shift()! })))
    expect(result.done).toEqual([job.id])
  })

  test('a job that went to another server is left alone', async () => {
    const job = newJob()
    const store = await queueOf(job)
    await left(store, job, 'submitted')
    const target = { ...server(), url: 'http://other:8188' }
    await work(options(store, target))
    expect((await store.get(job.id))?.status).toEqual({ state: 'submitted', server: SERVER })
  })

  test('a server that cannot be asked changes nothing, and the job is free for the next worker', async () => {
    const job = newJob()
    const store = await queueOf(job, newJob())
    await left(store, job, 'sending')
    const target = server({
      look: async () => {
        throw error('unreachable')
      },
    })
    await expect(work(options(store, target))).rejects.toMatchObject({ kind: 'unreachable' })
    expect(target.sent).toEqual([])
    const claimed = await store.claim(worker('next'), { nowMs: 10_000, server: SERVER })
    expect(claimed).toMatchObject({ id: job.id, status: { state: 'sending' } })
  })

  test('a job that vanished while it was followed and was to be cancelled is cancelled, else unknown', async () => {
    const jobs = [newJob(), newJob()]
    const store = await queueOf(...jobs)
    const target = server({
      follow: async ({ id }): Promise<Ended> => {
        if (id === jobs[0]!.id) await store.requestCancel(id, 9_000)
        return { state: 'absent' }
      },
    })
    const result = await work(options(store, target))
    expect(result).toMatchObject({ cancelled: [jobs[0]!.id], unknown: [jobs[1]!.id] })
  })
})

describe('on unknown', () => {
  async function setup(parts: Partial<WorkOptions>) {
    const job = newJob({ priority: 3, label: 'cat' })
    const store = await queueOf(job)
    await left(store, job, 'unknown')
    const target = server()
    const result = await work(options(store, target, parts))
    return { job, store, target, result }
  }

  test('hold keeps it from run to run and sends nothing', async () => {
    const { job, store, target, result } = await setup({ onUnknown: 'hold' })
    expect((await store.get(job.id))?.status.state).toBe('unknown')
    expect(target.sent).toEqual([])
    expect(result.unknown).toEqual([]) // it was known to be so before
  })

  test('fail gives it up', async () => {
    const { job, store, target, result } = await setup({ onUnknown: 'fail' })
    expect((await store.get(job.id))?.status.state).toBe('failed')
    expect(target.sent).toEqual([])
    expect(result.failed).toEqual([job.id])
  })

  test('retry sends it under a new id, and each job names the other', async () => {
    const { job, store, target, result } = await setup({ onUnknown: 'retry' })
    expect(target.sent).toEqual(['second-id'])
    expect((await store.get(job.id))?.status).toMatchObject({ state: 'failed', retriedAs: 'second-id' })
    expect(await store.get('second-id')).toMatchObject({
      retryOf: job.id,
      workflow: job.workflow,
      priority: 3,
      label: 'cat',
    })
    expect(result).toMatchObject({ done: ['second-id'], failed: [] })
  })
})

describe('outputs', () => {
  test('that cannot be saved leave the job as it is for the next run; the queue goes on', async () => {
    const jobs = [newJob(), newJob()]
    const store = await queueOf(...jobs)
    const target = server({
      collect: async ({ id }) => {
        if (id === jobs[0]!.id) throw error('usage', 'The folder cannot be written.')
        return ['/tmp/out/b.png']
      },
    })
    const run = options(store, target)
    const result = await work(run)
    expect(result).toMatchObject({ held: [jobs[0]!.id], done: [jobs[1]!.id] })
    expect(run.events).toContainEqual(expect.objectContaining({ type: 'held' }))
    const again = server({ look: async () => ({ state: 'done' }) })
    expect((await work(options(store, again))).done).toEqual([jobs[0]!.id])
    expect([...target.sent, ...again.sent]).toEqual(jobs.map(({ id }) => id))
  })
})
