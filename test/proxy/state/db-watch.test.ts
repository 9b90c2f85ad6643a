import { copyFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { openServeDb } from '../../../src/proxy/state/db.ts'
import { watchServeDb } from '../../../src/proxy/state/db-watch.ts'
import { temporaryFolder } from '../../support/cli.ts'
import { closers, closing } from '../../support/closers.ts'

function watched() {
  const path = join(temporaryFolder(), 'serve.db')
  closing(openServeDb(path))
  const lines: string[] = []
  closers.push(watchServeDb(path, (line) => lines.push(line), 5))
  const said = (count: number) => vi.waitFor(() => expect(lines).toHaveLength(count))
  return { path, lines, said }
}

test('a serve.db that is deleted under a running serve is told, with the remedy', async () => {
  const { path, lines, said } = watched()
  rmSync(path)
  await said(1)
  expect(lines[0]).toBe(
    `${path} was deleted or replaced: what stands there does not say who is logged in here, and a session that it ends goes on. Restart serve; everyone logs in once more.`,
  )
})

test('so is one that is replaced, and one that is put back', async () => {
  const { path, lines, said } = watched()
  copyFileSync(path, `${path}.copy`)
  renameSync(path, `${path}.old`)
  renameSync(`${path}.copy`, path)
  await said(1)
  renameSync(`${path}.old`, path)
  await said(2)
  expect(lines[1]).toBe(`${path} is in its place again.`)
})

test('use of the database is no change, and :memory: has no place', () => {
  vi.useFakeTimers()
  try {
    const path = join(temporaryFolder(), 'serve.db')
    const db = openServeDb(path)
    const log = vi.fn()
    const stops = [watchServeDb(path, log), watchServeDb(':memory:', log)]
    db.exec("CREATE TABLE x (y TEXT) STRICT; INSERT INTO x VALUES ('z'); VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
    vi.advanceTimersByTime(10_000)
    expect(log).not.toHaveBeenCalled()
    for (const stop of stops) stop()
    db.close()
  } finally {
    vi.useRealTimers()
  }
})
