import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { LEASE_MS, type Worker } from '../../src/queue/lease.ts'
import type { Store } from '../../src/queue/store.ts'
import { closing } from '../support/closers.ts'
import { newJob, SERVER } from './new-job.ts'

/** A worker that others call dead once `dead` holds its id. */
export function worker(id: string, dead: ReadonlySet<string> = new Set()): Worker {
  return { id, isAlive: (other) => !dead.has(other) }
}

/** What every store must do. `open` gives the same queue again each time within one test. */
export function storeSuite(name: string, place: () => Promise<() => Promise<Store>>): void {
  async function setup(): Promise<{ store: Store; another: () => Promise<Store> }> {
    const open = await place()
    const another = async (): Promise<Store> => closing(await open())
    return { store: await another(), another }
  }
  const at = (nowMs: number) => ({ nowMs, server: SERVER })

  describe(name, () => {
    test('a job comes back as it was added, its numbers digit for digit', async () => {
      const { store, another } = await setup()
      const job = newJob({
        extraData: '{"extra_pnginfo":{"seed":1.50}}',
        notBeforeMs: 5_000,
        priority: -3,
        retryOf: 'x',
      })
      await store.add([job])
      const other = await another()
      const fresh = { status: { state: 'queued' }, changedMs: 1_000, cancelRequested: false }
      expect(await other.get(job.id)).toStrictEqual({ ...job, ...fresh })
      const plain = newJob()
      await store.add([plain])
      expect(await other.get(plain.id)).toStrictEqual({ ...plain, ...fresh })
    })

    test('adding is all or nothing: one id that is there already, and none of the batch is in', async () => {
      const { store } = await setup()
      const there = newJob()
      await store.add([there])
      await expect(store.add([newJob(), { ...newJob(), id: there.id }, newJob()])).rejects.toMatchObject({
        kind: 'usage',
      })
      expect(await store.list({})).toHaveLength(1)
    })

    test('jobs are claimed by priority, then by age', async () => {
      const { store } = await setup()
      const [low, first, second, high] = [-1, 0, 0, 7].map((priority) => newJob({ priority }))
      await store.add([low!, first!, second!, high!])
      const order = []
      for (let i = 0; i < 5; i += 1) order.push((await store.claim(worker('w'), at(2_000)))?.id)
      expect(order).toEqual([high!.id, first!.id, second!.id, low!.id, undefined])
    })

    test('a job with a time is not claimed before it', async () => {
      const { store } = await setup()
      const job = newJob({ notBeforeMs: 9_000, priority: 5 })
      await store.add([job])
      expect(await store.claim(worker('w'), at(8_999))).toBeUndefined()
      expect((await store.claim(worker('w'), at(9_000)))?.id).toBe(job.id)
    })

    test('what a worker holds no other worker gets, until the lease has run out or the worker is known to be dead', async () => {
      const { store, another } = await setup()
      const job = newJob()
      await store.add([job])
      expect((await store.claim(worker('a'), at(2_000)))?.id).toBe(job.id)
      const other = await another()
      expect(await other.claim(worker('b'), at(2_000 + LEASE_MS - 1))).toBeUndefined()
      await store.renew(worker('a'), 2_000 + LEASE_MS - 1)
      expect(await other.claim(worker('b'), at(2_000 + LEASE_MS))).toBeUndefined()
      expect((await other.claim(worker('b', new Set(['a'])), at(2_000 + LEASE_MS)))?.id).toBe(job.id)
      expect((await other.claim(worker('c'), at(2_000 + 2 * LEASE_MS)))?.id).toBe(job.id)
    })

    test('a worker that lost its lease can write nothing any more', async () => {
      const { store } = await setup()
      const job = newJob()
      await store.add([job])
      await store.claim(worker('slow'), at(2_000))
      const later = 2_000 + LEASE_MS
      await store.claim(worker('b'), at(later))
      const move = { id: job.id, from: 'queued', to: { state: 'sending', server: SERVER }, nowMs: later } as const
      expect(await store.move({ ...move, worker: worker('slow') })).toBe(false)
      expect((await store.get(job.id))?.status.state).toBe('queued')
      expect(await store.move({ ...move, worker: worker('b') })).toBe(true)
    })

    test('a released job can be claimed at once', async () => {
      const { store } = await setup()
      const job = newJob()
      await store.add([job])
      await store.claim(worker('a'), at(2_000))
      await store.release(worker('b'), job.id)
      expect(await store.claim(worker('b'), at(2_000))).toBeUndefined()
      await store.release(worker('a'), job.id)
      expect((await store.claim(worker('b'), at(2_000)))?.id).toBe(job.id)
    })

    test('jobs in flight are claimed before queued ones, and only for the server they went to', async () => {
      const { store } = await setup()
      const [sent, waiting] = [newJob(), newJob({ priority: 9 })]
      await store.add([sent, waiting])
      await store.claim(worker('a'), { ...at(2_000), id: sent.id })
      await store.move({ id: sent.id, from: 'queued', to: { state: 'sending', server: SERVER }, nowMs: 2_000 })
      await store.release(worker('a'), sent.id)
      const elsewhere = await store.claim(worker('b'), { nowMs: 3_000, server: 'http://other:8188' })
      expect(elsewhere?.id).toBe(waiting.id)
      await store.release(worker('b'), waiting.id)
      expect(await store.claim(worker('b'), { nowMs: 3_000, server: 'http://other:8188', id: sent.id })).toBeUndefined()
      expect((await store.claim(worker('b'), at(3_000)))?.status).toEqual({ state: 'sending', server: SERVER })
    })

    test('a state is written only over the state it was meant to follow', async () => {
      const { store } = await setup()
      const job = newJob()
      await store.add([job])
      const sending = { id: job.id, from: 'queued', to: { state: 'sending', server: SERVER }, nowMs: 2_000 } as const
      expect(await store.move(sending)).toBe(true)
      expect(await store.move(sending)).toBe(false)
      expect(await store.move({ ...sending, id: randomUUID() })).toBe(false)
      expect((await store.get(job.id))?.changedMs).toBe(2_000)
      const back = { id: job.id, from: 'done', to: { state: 'queued' }, nowMs: 3_000 } as const
      await expect(store.move(back)).rejects.toThrow('cannot go from done to queued')
    })

    test('each final state keeps what it has to say, and ends the lease', async () => {
      const { store } = await setup()
      const finals = [
        { state: 'done', server: SERVER, outputs: ['/tmp/out/a.png'] },
        { state: 'failed', server: SERVER, reason: 'out of memory' },
        { state: 'refused', server: SERVER, reason: 'width: too small' },
        { state: 'unknown', server: SERVER, reason: 'gone' },
        { state: 'cancelled' },
        { state: 'queued', reason: 'no connection' },
      ] as const
      for (const to of finals) {
        const job = newJob({ notBeforeMs: 2_000 })
        await store.add([job])
        await store.claim(worker('a'), { ...at(2_000), id: job.id })
        await store.move({ id: job.id, from: 'queued', to: { state: 'sending', server: SERVER }, nowMs: 2_000 })
        expect(await store.move({ id: job.id, from: 'sending', to, nowMs: 2_500, worker: worker('a') })).toBe(true)
        expect((await store.get(job.id))?.status).toStrictEqual(to)
        expect((await store.claim(worker('b'), { ...at(2_600), id: job.id }))?.id).toBe(job.id)
      }
      expect(await store.counts()).toEqual({
        ...NONE,
        queued: 1,
        done: 1,
        failed: 1,
        refused: 1,
        unknown: 1,
        cancelled: 1,
      })
    })

    test('the list keeps the order of adding, chooses by state, and with a limit gives the last', async () => {
      const { store } = await setup()
      const jobs = [newJob(), newJob(), newJob()]
      await store.add(jobs)
      await store.move({ id: jobs[1]!.id, from: 'queued', to: { state: 'cancelled' }, nowMs: 2_000 })
      const ids = async (query: Parameters<Store['list']>[0]) => (await store.list(query)).map(({ id }) => id)
      expect(await ids({})).toEqual(jobs.map(({ id }) => id))
      expect(await ids({ limit: 2 })).toEqual([jobs[1]!.id, jobs[2]!.id])
      expect(await ids({ states: ['queued'] })).toEqual([jobs[0]!.id, jobs[2]!.id])
    })

    test('a job is found by the beginning of its id', async () => {
      const { store } = await setup()
      const ids = ['aaaa0000', 'aaaa1111', 'ffff0000'].map((start) => `${start}-0000-4000-8000-000000000000`)
      await store.add(ids.map((id) => newJob({ id })))
      const found = async (prefix: string) => (await store.find(prefix, 9)).map(({ id }) => id)
      expect(await found('aaaa')).toEqual(ids.slice(0, 2))
      expect(await found('aaaa1')).toEqual([ids[1]])
      expect(await found('ff')).toEqual([ids[2]])
      expect(await found('%')).toEqual([])
    })

    test('a wish to cancel is kept while the job goes on, and comes too late for one that has ended', async () => {
      const { store } = await setup()
      const job = newJob()
      await store.add([job])
      expect(await store.requestCancel(job.id, 2_000)).toBe(true)
      await store.move({ id: job.id, from: 'queued', to: { state: 'sending', server: SERVER }, nowMs: 3_000 })
      expect(await store.get(job.id)).toMatchObject({ cancelRequested: true, status: { state: 'sending' } })
      await store.move({ id: job.id, from: 'sending', to: { state: 'cancelled' }, nowMs: 3_000 })
      expect(await store.requestCancel(job.id, 4_000)).toBe(false)
    })

    test('a retry adds the second attempt and marks the first, or does neither', async () => {
      const { store } = await setup()
      const [first, second] = [newJob(), newJob()]
      await store.add([first])
      await store.move({ id: first.id, from: 'queued', to: { state: 'cancelled' }, nowMs: 2_000 })
      const to = { state: 'cancelled', retriedAs: second.id } as const
      const change = { id: first.id, from: 'cancelled', to, nowMs: 3_000 } as const
      expect(await store.retry({ ...change, from: 'failed', to: { ...to, state: 'failed', reason: '' } }, second)).toBe(
        false,
      )
      expect(await store.get(second.id)).toBeUndefined()
      await expect(store.retry(change, { ...second, id: first.id })).rejects.toMatchObject({ kind: 'usage' })
      expect((await store.get(first.id))?.status).toEqual({ state: 'cancelled' })
      expect(await store.retry(change, second)).toBe(true)
      expect((await store.get(first.id))?.status).toEqual(to)
      expect((await store.get(second.id))?.status).toEqual({ state: 'queued' })
    })

    test('two workers that claim at once never get the same job', async () => {
      const { store, another } = await setup()
      const other = await another()
      const jobs = Array.from({ length: 40 }, () => newJob())
      await store.add(jobs)
      const drain = async (from: Store, name: string): Promise<string[]> => {
        const got: string[] = []
        for (;;) {
          const job = await from.claim(worker(name), at(2_000))
          if (!job) return got
          got.push(job.id)
        }
      }
      const got = (await Promise.all([drain(store, 'a'), drain(other, 'b'), drain(other, 'c')])).flat()
      expect(got.sort()).toEqual(jobs.map(({ id }) => id).sort())
    })
  })
}

const NONE = {
  queued: 0,
  sending: 0,
  submitted: 0,
  running: 0,
  done: 0,
  failed: 0,
  refused: 0,
  cancelled: 0,
  unknown: 0,
}
