import { fork } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { openStore } from '../../src/queue/store.ts'
import { temporaryFolder } from '../support/cli.ts'
import { closing } from '../support/closers.ts'
import { newJob, SERVER } from './new-job.ts'
import { storeSuite, worker } from './store-suite.ts'

storeSuite('the SQLite store', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  return () => openStore(path)
})

test('the file and its companions are 0600 in a folder of 0700, whatever the umask', async () => {
  const folder = join(temporaryFolder(), 'data')
  const before = process.umask(0)
  onTestFinished(() => void process.umask(before))
  const store = closing(await openStore(join(folder, 'queue.db')))
  await store.add([newJob()])
  const modes = ['.', 'queue.db', 'queue.db-wal', 'queue.db-shm'].map(
    (name) => statSync(join(folder, name)).mode & 0o777,
  )
  expect(modes).toEqual([0o700, 0o600, 0o600, 0o600])
})

test('a file that others could read is closed to them when it is opened', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const first = await openStore(path)
  first.close()
  chmodSync(path, 0o644)
  closing(await openStore(pathToFileURL(path).href))
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test('the journal is a write-ahead log', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  closing(await openStore(path))
  const db = closing(new DatabaseSync(path, { readOnly: true }))
  expect(db.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' })
})

test('a queue of a newer version is refused and left as it was', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const first = await openStore(path)
  await first.add([newJob()])
  first.close()
  const db = new DatabaseSync(path)
  db.exec('PRAGMA user_version = 2')
  db.close()
  await expect(openStore(path)).rejects.toMatchObject({ kind: 'usage', message: expect.stringContaining('newer') })
  const after = new DatabaseSync(path)
  expect(after.prepare('SELECT count(*) AS n FROM jobs').get()).toEqual({ n: 1 })
  after.close()
})

test.each([
  ['text', (path: string) => writeFileSync(path, 'not a database, but long enough to be taken for one'.repeat(30))],
  ['a folder', (path: string) => mkdirSync(path)],
  ['a symbolic link', (path: string) => symlinkSync('/dev/null', path)],
  [
    'a database of somebody else',
    (path: string) => {
      const db = new DatabaseSync(path)
      db.exec('CREATE TABLE jobs (id TEXT)')
      db.close()
    },
  ],
])('%s in the place of the queue is a usage error that does not name the path', async (_what, make) => {
  const path = join(temporaryFolder(), 'comfy_secret.db')
  make(path)
  const error = await openStore(path).then(
    () => undefined,
    (reason: unknown) => reason as Error & { remedy: string },
  )
  expect(error).toMatchObject({ name: 'ComfyAuthError', kind: 'usage', remedy: expect.stringContaining('--queue') })
  expect(`${error?.message} ${error?.remedy}`).not.toContain('comfy_secret')
})

test('a queue on Redis is a usage error that says so', async () => {
  await expect(openStore('redis://localhost')).rejects.toMatchObject({ kind: 'usage', message: /Redis/ })
})

test('processes that open a new queue at once all get their jobs in', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const adders = Array.from({ length: 6 }, () => fork(join(import.meta.dirname, 'processes/add.ts'), [path, '20']))
  const codes = await Promise.all(adders.map(async (adder) => (await once(adder, 'exit'))[0]))
  expect(codes).toEqual([0, 0, 0, 0, 0, 0])
  const store = closing(await openStore(path))
  expect((await store.counts()).queued).toBe(120)
})

test('processes that claim from one queue at once never take the same job', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const store = closing(await openStore(path))
  const jobs = Array.from({ length: 150 }, () => newJob())
  await store.add(jobs)
  const claimers = Array.from({ length: 4 }, () => fork(join(import.meta.dirname, 'processes/claim.ts'), [path]))
  const got: string[] = []
  for (const [ids] of await Promise.all(claimers.map((claimer) => once(claimer, 'message')))) got.push(...ids)
  for (const claimer of claimers) claimer.send('end') // a dead claimer's jobs would be free again
  expect(got.sort()).toEqual(jobs.map(({ id }) => id).sort())
})

test('a worker killed while it holds a job loses it at once to the next', async () => {
  const path = join(temporaryFolder(), 'queue.db')
  const store = closing(await openStore(path))
  const job = newJob()
  await store.add([job])
  const { thisWorker } = await import('../../src/queue/lease.ts')
  const holder = fork(join(import.meta.dirname, 'processes/hold.ts'), [path])
  await once(holder, 'message')
  const query = { nowMs: Date.now(), server: SERVER }
  expect(await store.claim(thisWorker('t'), query)).toBeUndefined()
  holder.kill('SIGKILL')
  await once(holder, 'exit')
  expect((await store.claim(thisWorker('t'), query))?.id).toBe(job.id)
  expect(await store.claim(worker('other'), query)).toBeUndefined()
})
