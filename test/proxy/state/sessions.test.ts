import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { digestOf } from '../../../src/keys/digest.ts'
import { openServeDb, type ServeDb } from '../../../src/proxy/state/db.ts'
import { createSessions, type Session, type Sessions, type SessionsOptions } from '../../../src/proxy/state/sessions.ts'
import { temporaryFolder } from '../../support/cli.ts'
import { closing } from '../../support/closers.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

function file(): string {
  return join(temporaryFolder(), 'serve.db')
}

function database(path = ':memory:'): ServeDb {
  return closing(openServeDb(path))
}

function sessionsOn(db: ServeDb, options: SessionsOptions = {}): Sessions {
  return closing(createSessions(db, { pollMs: 20, ...options }))
}

const start = (sessions: Sessions, keyId = 'k1', remember = false, nowMs = Date.now()) =>
  sessions.start({ keyId, remember, client: '192.0.2.1', nowMs })

function ended(sessions: Sessions): Promise<Session> {
  return new Promise((resolve) => sessions.onEnd(resolve))
}

test('cookie and token are two secrets of 256 bits, and only their digests are kept', async () => {
  const path = file()
  const sessions = sessionsOn(database(path))
  const { cookie, token, session } = start(sessions)
  expect(cookie).toMatch(/^comfys_[0-9A-Za-z]{43}$/)
  expect(token).toMatch(/^comfyt_[0-9A-Za-z]{43}$/)
  expect(token.slice(7)).not.toBe(cookie.slice(7))
  expect(session).toMatchObject({ cookieDigest: digestOf(cookie), tokenDigest: digestOf(token), keyId: 'k1' })
  expect(session.id).toMatch(/^[0-9A-Za-z]{12}$/)
  await sessions.saved()
  const onDisk = readFileSync(path, 'latin1') + readFileSync(`${path}-wal`, 'latin1')
  expect(onDisk).toContain(session.cookieDigest)
  expect(onDisk).not.toContain(cookie.slice(7))
  expect(onDisk).not.toContain(token.slice(7))
})

test('a session is found by its cookie or its token, each in its place, and each login has secrets of its own', () => {
  const sessions = sessionsOn(database())
  const first = start(sessions)
  const second = start(sessions)
  expect(sessions.findByCookieDigest(digestOf(first.cookie))?.id).toBe(first.session.id)
  expect(sessions.findByCookieDigest(digestOf(first.token))).toBeUndefined()
  expect(sessions.findByTokenDigest(digestOf(first.token))?.id).toBe(first.session.id)
  expect(sessions.findByTokenDigest(digestOf(first.cookie))).toBeUndefined()
  expect(second.cookie).not.toBe(first.cookie)
})

test.each([
  [true, 12 * HOUR],
  [false, 12 * HOUR],
])('unused, a session ends after 12 hours (Remember me: %s)', (remember, idleMs) => {
  const { session } = start(sessionsOn(database()), 'k1', remember, 1_000)
  expect(session.endsMs).toBe(1_000 + idleMs)
})

test.each([
  [true, 30 * DAY],
  [false, 12 * HOUR],
])('however much it is used, it ends in the end (Remember me: %s)', (remember, absoluteMs) => {
  let now = 0
  const sessions = sessionsOn(database(), { nowMs: () => now })
  const { session, cookie } = start(sessions, 'k1', remember, 0)
  for (; now <= absoluteMs - HOUR; now += HOUR) sessions.touch(session.id, now)
  expect(sessions.findByCookieDigest(digestOf(cookie))?.endsMs).toBe(absoluteMs)
})

test('a session whose time is up is gone and told of, without any request', async () => {
  let now = 0
  const sessions = sessionsOn(database(), { nowMs: () => now })
  const { session, cookie } = start(sessions, 'k1', false, 0)
  const end = ended(sessions)
  now = 12 * HOUR
  expect((await end).id).toBe(session.id)
  expect(sessions.findByCookieDigest(digestOf(cookie))).toBeUndefined()
})

test('it survives a restart with its last use, and its end in the meantime is noticed', () => {
  const path = file()
  let now = 0
  const before = createSessions(openServeDb(path), { nowMs: () => now })
  const { cookie, session } = start(before, 'k1', true, 0)
  now = HOUR
  before.touch(session.id, now)
  before.close()
  const after = sessionsOn(database(path), { nowMs: () => now })
  expect(after.findByCookieDigest(digestOf(cookie))).toMatchObject({ id: session.id, usedMs: HOUR, remember: true })
  now = 14 * HOUR
  expect(sessionsOn(database(path), { nowMs: () => now }).list()).toEqual([])
})

test('of more than a hundred sessions of a key the oldest ends, and no other key notices', () => {
  const sessions = sessionsOn(database())
  const other = start(sessions, 'k2')
  const gone: string[] = []
  sessions.onEnd((session) => gone.push(session.id))
  const mine = Array.from({ length: 102 }, (_, i) => start(sessions, 'k1', false, Date.now() + i).session.id)
  expect(gone).toEqual(mine.slice(0, 2))
  expect(sessions.list().filter((session) => session.keyId === 'k1')).toHaveLength(100)
  expect(sessions.findByCookieDigest(digestOf(other.cookie))).toBeDefined()
})

test('with its key all of a key’s sessions end, on disk too', async () => {
  const path = file()
  const sessions = sessionsOn(database(path))
  start(sessions, 'k1')
  start(sessions, 'k1')
  const kept = start(sessions, 'k2')
  expect(sessions.endByKey('k1')).toBe(2)
  expect(sessions.endByKey('k1')).toBe(0)
  await sessions.saved()
  expect(sessionsOn(database(path)).list()).toEqual([kept.session])
})

test('a session that another process ends is gone here within a moment', async () => {
  const path = file()
  const serve = sessionsOn(database(path))
  const { session } = start(serve)
  await serve.saved()
  const end = ended(serve)
  const command = sessionsOn(database(path))
  expect(command.list()).toEqual([session])
  expect(command.end(session.id)).toBe(true)
  expect((await end).id).toBe(session.id)
  expect(serve.end(session.id)).toBe(false)
})

test('logins and logouts of one moment share one commit, and stand on disk once they are saved', async () => {
  const path = file()
  const db = database(path)
  const commits: string[] = []
  const exec = db.exec.bind(db)
  db.exec = (sql) => {
    if (sql === 'COMMIT') commits.push(sql)
    exec(sql)
  }
  const serve = sessionsOn(db, { pollMs: 60_000 })
  const old = start(serve)
  await serve.saved()
  const started = Array.from({ length: 50 }, () => start(serve).session.id)
  serve.end(old.session.id)
  expect(commits).toHaveLength(1)
  await serve.saved()
  expect(commits).toHaveLength(2)
  const stored = database(path).prepare('SELECT id FROM sessions').all()
  expect(stored.map(({ id }) => id).toSorted()).toEqual(started.toSorted())
  await serve.saved()
  expect(commits).toHaveLength(2)
})

test('of a restart’s hundred the oldest ends first, as without one', () => {
  const path = file()
  const before = createSessions(openServeDb(path))
  const now = Date.now()
  const ids = Array.from({ length: 100 }, (_, i) => start(before, 'k1', false, now - 1_000 + i * 7).session.id)
  before.close()
  const after = sessionsOn(database(path))
  const gone = ended(after)
  start(after)
  return expect(gone).resolves.toMatchObject({ id: ids[0] })
})

test('use is written in batches, and never brings back a session that was ended meanwhile', async () => {
  const path = file()
  const db = database(path)
  const serve = sessionsOn(db, { pollMs: 60_000 })
  const { session } = start(serve)
  await serve.saved()
  const other = database(path)
  const version = () => other.prepare('PRAGMA data_version').get()
  const before = version()
  for (let i = 1; i <= 1_000; i++) serve.touch(session.id, session.usedMs + i * 2_000)
  expect(version()).toEqual(before)
  other.exec('DELETE FROM sessions')
  serve.close()
  expect(other.prepare('SELECT count(*) AS n FROM sessions').get()).toEqual({ n: 0 })
})

test('while the database cannot be written people still log in and out, and it is made up for later', async () => {
  const path = file()
  let failed: () => void = () => {}
  const firstFailure = new Promise<void>((resolve) => {
    failed = resolve
  })
  const db = database(path)
  const serve = sessionsOn(db, { onError: () => failed() })
  const old = start(serve)
  const blocker = database(path)
  blocker.exec('BEGIN IMMEDIATE')
  const { session, cookie } = start(serve)
  serve.end(old.session.id)
  await serve.saved()
  await firstFailure
  expect(serve.findByCookieDigest(digestOf(cookie))?.id).toBe(session.id)
  expect(serve.findByCookieDigest(digestOf(old.cookie))).toBeUndefined()
  blocker.exec('COMMIT')
  serve.close()
  expect(
    sessionsOn(blocker)
      .list()
      .map(({ id }) => id),
  ).toEqual([session.id])
})

test('a database that cannot be read or written is told of once while it lasts, and again when it comes again', async () => {
  const path = file()
  const told: string[] = []
  let looks = 0
  const serve = sessionsOn(database(path), {
    nowMs: () => {
      looks++
      return Date.now()
    },
    onError: (error, undone) => told.push(`${undone}: ${error instanceof Error ? error.message : error}`),
  })
  const other = database(path)
  const move = (from: string, to: string) => other.exec(`ALTER TABLE ${from} RENAME TO ${to}`)
  for (let times = 1; times <= 2; times++) {
    move('sessions', 'elsewhere')
    const { session } = start(serve)
    await serve.saved()
    await expect.poll(() => told.length).toBe(2 * times)
    const before = looks
    await expect.poll(() => looks).toBeGreaterThan(before + 5)
    move('elsewhere', 'sessions')
    const stored = () => other.prepare('SELECT id FROM sessions').all()
    await expect.poll(stored).toContainEqual({ id: session.id })
  }
  const once = ['read: no such table: sessions', 'written: no such table: sessions']
  expect(told.map((line) => line.replace('main.', '')).toSorted()).toEqual([...once, ...once].toSorted())
})

test('a full disk is told of as such, once while it lasts', async () => {
  const told: unknown[] = []
  const db = database()
  const serve = sessionsOn(db, { onError: (error) => told.push(error) })
  db.exec('PRAGMA max_page_count = 1') // no fewer than there are
  for (let i = 0; i < 100; i++) start(serve)
  await serve.saved()
  serve.close()
  expect(told).toMatchObject([{ message: 'database or disk is full' }])
  expect(serve.list()).toHaveLength(100)
})
