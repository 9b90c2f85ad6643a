import { readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { ComfyAuthError } from '../../../src/errors.ts'
import { openServeDb } from '../../../src/proxy/state/db.ts'
import { temporaryFolder as folder } from '../../support/cli.ts'

function failure(path: string): ComfyAuthError {
  try {
    openServeDb(path).close()
  } catch (error) {
    if (error instanceof ComfyAuthError) return error
    throw error
  }
  throw new Error('it was opened')
}

test('serve.db and its companions are 0600 in a 0700 folder, whatever the umask', () => {
  const before = process.umask(0)
  try {
    const path = join(folder(), 'data', 'serve.db')
    const db = openServeDb(path)
    db.exec("INSERT INTO prompt_owners (prompt_id, key_id, at_ms) VALUES ('p', 'k', 1)")
    const modes = ['', '-wal', '-shm'].map((suffix) => statSync(path + suffix).mode & 0o777)
    expect(modes).toEqual([0o600, 0o600, 0o600])
    expect(statSync(join(path, '..')).mode & 0o777).toBe(0o700)
    db.close()
  } finally {
    process.umask(before)
  }
})

test('what it keeps is there when it is opened again', () => {
  const path = join(folder(), 'serve.db')
  const db = openServeDb(path)
  db.exec("INSERT INTO prompt_owners (prompt_id, key_id, at_ms) VALUES ('p', 'k', 1)")
  db.close()
  const again = openServeDb(path)
  expect(again.prepare('SELECT key_id FROM prompt_owners').all()).toEqual([{ key_id: 'k' }])
  again.close()
})

test('a database of a newer version is refused and left as it is', () => {
  const path = join(folder(), 'serve.db')
  const newer = new DatabaseSync(path)
  newer.exec('CREATE TABLE future (x); PRAGMA user_version = 99')
  newer.close()
  const before = readFileSync(path)
  const error = failure(path)
  expect(error.kind).toBe('usage')
  expect(error.message).toContain('newer comfy-auth (schema 99)')
  expect(error.remedy).toContain('update comfy-auth')
  expect(readFileSync(path).equals(before)).toBe(true)
})

test('a file that is no database, a folder and a symlink are usage errors that say what to do', () => {
  const dir = folder()
  writeFileSync(join(dir, 'text'), 'x'.repeat(5_000))
  symlinkSync(join(dir, 'text'), join(dir, 'link'))
  for (const path of [join(dir, 'text'), join(dir, 'link'), dir]) {
    const error = failure(path)
    expect(error.kind).toBe('usage')
    expect(error.remedy).not.toBe('')
  }
  expect(failure(join(dir, 'text')).remedy).toMatch(/everyone logs in once more.*whose prompt is whose.*last used/)
  expect(readFileSync(join(dir, 'text'), 'utf8')).toBe('x'.repeat(5_000))
})
