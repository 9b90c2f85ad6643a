import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createLastUsed, type LastUsedSink, readLastUsed, sqliteSink } from '../../src/keys/last-used.ts'
import { temporaryFolder } from '../support/cli.ts'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

function recorder(fail: () => boolean = () => false) {
  const writes: [string, number][][] = []
  const sink: LastUsedSink = {
    write(uses) {
      if (fail()) throw new Error('locked')
      writes.push([...uses])
    },
  }
  return { sink, writes }
}

test('a thousand uses a second are one write a minute', () => {
  const { sink, writes } = recorder()
  const lastUsed = createLastUsed(sink)
  lastUsed.touch('a', 0)
  expect(writes).toEqual([]) // never on the request's path
  vi.advanceTimersByTime(1_000)
  expect(writes).toEqual([[['a', 0]]])
  for (let ms = 0; ms < 3 * 60_000; ms += 100) {
    lastUsed.touch('a', ms)
    lastUsed.touch('b', ms)
    vi.advanceTimersByTime(100)
  }
  expect(writes).toHaveLength(4)
  expect(writes.at(-1)).toEqual([
    ['a', 179_900],
    ['b', 179_900],
  ])
})

test('a write that fails is tried again with what came since', () => {
  let failing = true
  const { sink, writes } = recorder(() => failing)
  const lastUsed = createLastUsed(sink)
  lastUsed.touch('a', 1)
  vi.advanceTimersByTime(1_000)
  failing = false
  lastUsed.touch('b', 2)
  vi.advanceTimersByTime(60_000)
  expect(writes).toEqual([
    [
      ['a', 1],
      ['b', 2],
    ],
  ])
})

test('close writes what is waiting, and then nothing more', () => {
  const { sink, writes } = recorder()
  const lastUsed = createLastUsed(sink)
  lastUsed.touch('a', 1)
  lastUsed.close()
  vi.advanceTimersByTime(120_000)
  expect(writes).toEqual([[['a', 1]]])
})

test('serve.db keeps the latest use, beside other tables, and is read while it is open', async () => {
  const path = join(temporaryFolder(), 'serve.db')
  expect(await readLastUsed(path)).toEqual(new Map())
  const db = new DatabaseSync(path)
  db.exec('PRAGMA journal_mode = WAL; CREATE TABLE sessions (id TEXT)')
  expect(await readLastUsed(path)).toEqual(new Map())
  const sink = sqliteSink(db)
  sink.write(
    new Map([
      ['a', 10],
      ['b', 20],
    ]),
  )
  sink.write(new Map([['a', 5]]))
  expect(await readLastUsed(path)).toEqual(
    new Map([
      ['a', 10],
      ['b', 20],
    ]),
  )
  db.close()
})

test('a full disk is thrown as such, and what it kept is written once there is room', () => {
  const db = new DatabaseSync(':memory:')
  const sink = sqliteSink(db)
  db.exec('PRAGMA max_page_count = 1') // no fewer than there are
  const uses = new Map(Array.from({ length: 1_000 }, (_, i) => [`key ${i}`, i]))
  expect(() => sink.write(uses)).toThrow('database or disk is full')
  db.exec('PRAGMA max_page_count = 1000')
  sink.write(uses)
  expect(db.prepare('SELECT count(*) AS n FROM key_uses').get()).toEqual({ n: 1_000 })
  db.close()
})
