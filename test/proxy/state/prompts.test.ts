import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openServeDb } from '../../../src/proxy/state/db.ts'
import { createPrompts } from '../../../src/proxy/state/prompts.ts'
import { temporaryFolder } from '../../support/cli.ts'

const path = () => join(temporaryFolder(), 'serve.db')

test('a prompt is its poster’s, at once and over a restart', () => {
  const file = path()
  const db = openServeDb(file)
  const prompts = createPrompts(db)
  prompts.record('k1', 'p')
  prompts.record('k1', 'p')
  expect([prompts.owns('k1', 'p'), prompts.owns('k2', 'p'), prompts.known('p'), prompts.known('q')]).toEqual([
    true,
    false,
    true,
    false,
  ])
  prompts.close()
  db.close()
  expect(createPrompts(openServeDb(file)).owns('k1', 'p')).toBe(true)
})

test.each([
  ['another key', 'k2'],
  ['a key that cannot be told', undefined],
])('what %s posted too is nobody’s for good, and that is on disk before anything else happens', (_name, second) => {
  const file = path()
  const prompts = createPrompts(openServeDb(file), { flushMs: 60_000 })
  for (const promptId of ['fresh', 'flushed']) {
    prompts.record('k1', promptId)
    if (promptId === 'flushed') prompts.close()
    prompts.record(second, promptId)
    prompts.record('k1', promptId)
    for (const ledger of [prompts, createPrompts(openServeDb(file))]) {
      expect([ledger.owns('k1', promptId), ledger.owns('k2', promptId), ledger.known(promptId)]).toEqual([
        false,
        false,
        true,
      ])
    }
  }
})

test('what two ledgers of one database call their own is nobody’s', () => {
  const file = path()
  const [one, two] = [createPrompts(openServeDb(file)), createPrompts(openServeDb(file))]
  one.record('k1', 'p')
  two.record('k2', 'p')
  one.close()
  two.close()
  expect([one, two].flatMap((ledger) => [ledger.owns('k1', 'p'), ledger.owns('k2', 'p')])).not.toContain(true)
})

test('posting a prompt costs no write of its own: a hundred share one', () => {
  const file = path()
  const prompts = createPrompts(openServeDb(file), { flushMs: 60_000 })
  const other = openServeDb(file)
  const version = () => other.prepare('PRAGMA data_version').get()
  const before = version()
  for (let i = 0; i < 100; i++) prompts.record('k1', `p${i}`)
  expect(version()).toEqual(before)
  prompts.close()
  expect(other.prepare('SELECT count(*) AS n FROM prompt_owners').get()).toEqual({ n: 100 })
})

test('a key keeps its newest prompts, and no other key’s', () => {
  const prompts = createPrompts(openServeDb(':memory:'), { maxPerKey: 3 })
  prompts.record('k2', 'theirs')
  for (let i = 0; i < 10; i++) prompts.record('k1', `p${i}`)
  prompts.close()
  expect(Array.from({ length: 10 }, (_, i) => prompts.owns('k1', `p${i}`))).toEqual([
    ...Array(7).fill(false),
    true,
    true,
    true,
  ])
  expect(prompts.owns('k2', 'theirs')).toBe(true)
})

test('what is older than three months is forgotten at the next start', () => {
  const file = path()
  const db = openServeDb(file)
  const then = createPrompts(db, { nowMs: () => 0 })
  then.record('k1', 'old')
  then.close()
  expect(createPrompts(db, { nowMs: () => 91 * 86_400_000 }).known('old')).toBe(false)
})

test('a database that cannot be written is told of, and ownership holds in memory within bounds', () => {
  const file = path()
  const errors: unknown[] = []
  const prompts = createPrompts(openServeDb(file), { maxPerKey: 2, onError: (error) => errors.push(error) })
  const blocker = openServeDb(file)
  blocker.exec('BEGIN IMMEDIATE')
  for (let i = 0; i < 3; i++) prompts.record('k1', `p${i}`)
  prompts.close()
  expect(errors).toHaveLength(1)
  expect([prompts.owns('k1', 'p0'), prompts.owns('k1', 'p2')]).toEqual([false, true])
  blocker.exec('COMMIT')
  prompts.close()
  expect(blocker.prepare('SELECT prompt_id FROM prompt_owners ORDER BY 1').all()).toEqual([
    { prompt_id: 'p1' },
    { prompt_id: 'p2' },
  ])
})

test('where the database cannot be read no prompt is anybody’s, which is told of once and outlives it', () => {
  const file = path()
  const told: unknown[] = []
  const prompts = createPrompts(openServeDb(file), {
    flushMs: 60_000,
    onError: (error, undone) => told.push([undone, String(error)]),
  })
  prompts.record('k1', 'old')
  prompts.close()
  const other = openServeDb(file)
  other.exec('ALTER TABLE prompt_owners RENAME TO elsewhere')
  const owners = () => ['old', 'new'].flatMap((id) => ['k1', 'k2'].filter((keyId) => prompts.owns(keyId, id)))
  expect([owners(), prompts.known('old'), prompts.known('new')]).toEqual([[], true, true])
  prompts.record('k2', 'old')
  prompts.record('k1', 'new')
  expect(told).toEqual([
    ['read', expect.stringContaining('no such table')],
    ['written', expect.stringContaining('no such table')],
  ])
  other.exec('ALTER TABLE elsewhere RENAME TO prompt_owners')
  prompts.close()
  expect(owners()).toEqual([])
  expect(other.prepare('SELECT prompt_id, key_id FROM prompt_owners ORDER BY 1').all()).toEqual([
    { prompt_id: 'new', key_id: '' },
    { prompt_id: 'old', key_id: '' },
  ])
})

test('a full disk is told of as such', () => {
  const told: unknown[] = []
  const db = openServeDb(':memory:')
  const prompts = createPrompts(db, { onError: (error) => told.push(error) })
  db.exec('PRAGMA max_page_count = 1') // no fewer than there are
  for (let i = 0; i < 1_000; i++) prompts.record('k1', `prompt ${i}`)
  prompts.close()
  prompts.close()
  expect(told).toMatchObject([{ message: 'database or disk is full' }])
  expect(prompts.owns('k1', 'prompt 0')).toBe(true)
})
