import { execFileSync } from 'node:child_process'
import { readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { ComfyAuthError } from '../../../src/errors.ts'
import { openServeDb } from '../../../src/proxy/state/db.ts'
import { createSessions, storedSessions } from '../../../src/proxy/state/sessions.ts'
import { temporaryFolder as folder } from '../../support/cli.ts'

const url = pathToFileURL(join(import.meta.dirname, '../../../src/proxy/state/db.ts')).href

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

test.each([
  ['a page of it is overwritten', (path: string) => overwrite(path, 4_096)],
  ['it is cut short', (path: string) => truncateSync(path, 20_000)],
  ['a table is another one', (path: string) => inPlaceOfSessions(path)],
])('a database that can be opened but not read is a usage error too: %s', (_, damage) => {
  const path = join(folder(), 'serve.db')
  const db = openServeDb(path)
  const sessions = createSessions(db)
  for (let i = 0; i < 300; i++) sessions.start({ keyId: `k${i}`, remember: true, client: 'c', nowMs: Date.now() })
  sessions.close()
  db.close()
  damage(path)
  const error = failure(path)
  expect(error.kind).toBe('usage')
  expect(error.message).toContain(path)
  expect(error.remedy).toContain('Move the file away')
})

test('a folder where none can be made is one line, and not tried for ever', () => {
  const error = failure('/proc/none/serve.db')
  expect(error.kind).toBe('usage')
  expect(error.message).toBe('A folder for our files cannot be made: no such file or folder.')
})

test.each([
  ['for what SQLite keeps beside it', 16_384, 'no space left on the device', /^Free some space/],
  ['for what is written', 32_768, 'disk I/O error', /full or broken.*leave the file where it is/],
])('where the disk takes nothing %s, nobody is told to move the file away', (_, bytes, cause, remedy) => {
  const path = join(folder(), 'serve.db')
  const script = `import { openServeDb } from ${JSON.stringify(url)}
    try { openServeDb(process.argv[1]) } catch ({ message, remedy }) { console.log(JSON.stringify({ message, remedy })) }`
  const args = ['--input-type=module', '-e', script, path]
  const said = execFileSync('prlimit', [`--fsize=${bytes}`, process.execPath, ...args], { encoding: 'utf8' })
  expect(JSON.parse(said)).toEqual({
    message: `${path} cannot be used as serve's database (${cause}).`,
    remedy: expect.stringMatching(remedy),
  })
})

function overwrite(path: string, at: number): void {
  const bytes = readFileSync(path)
  bytes.fill(0xa5, at, at + 4_096)
  writeFileSync(path, bytes)
}

function inPlaceOfSessions(path: string): void {
  const db = new DatabaseSync(path)
  db.exec('DROP TABLE sessions; CREATE TABLE sessions (name TEXT)')
  db.close()
}

test('sessions whose times cannot be are dropped, and the others stay', () => {
  const path = join(folder(), 'serve.db')
  const before = openServeDb(path)
  const now = Date.now()
  for (const [id, created, used] of [
    ['good', now, now],
    ['a', '9223372036854775807', now],
    ['b', now, '-9223372036854775808'],
    ['c', '8640000000000001', now],
  ]) {
    before.exec(`INSERT INTO sessions VALUES ('${id}', 'cookie ${id}', 'token', 'k', 1, 'c', ${created}, ${used})`)
  }
  before.exec('CREATE TABLE key_uses (key_id TEXT PRIMARY KEY, used_ms INTEGER NOT NULL) STRICT')
  before.exec(`INSERT INTO key_uses VALUES ('k1', ${now}), ('k2', 9223372036854775807)`)
  before.close()
  const db = openServeDb(path)
  expect(storedSessions(db, now).map(({ id }) => id)).toEqual(['good'])
  const sessions = createSessions(db)
  expect(sessions.list().map(({ id }) => id)).toEqual(['good'])
  sessions.close()
  expect(db.prepare('SELECT key_id FROM key_uses').all()).toEqual([{ key_id: 'k1' }])
  db.close()
})
