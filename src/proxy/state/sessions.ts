import { randomBytes } from 'node:crypto'
import { customAlphabet } from 'nanoid'
import { inTransaction } from '../../files/transaction.ts'
import { type Digest, digestOf } from '../../keys/digest.ts'
import { base62 } from '../../keys/format.ts'
import type { KnownSession } from '../decide/facts.ts'
import type { ServeDb, Undone } from './db.ts'

const HOUR_MS = 3_600_000

/** Rule 14: unused for this long, a session ends. */
export const IDLE_MS = 12 * HOUR_MS
/** However much it is used, it ends after this, with and without Remember me. */
export const ABSOLUTE_MS = { remember: 30 * 24 * HOUR_MS, session: 12 * HOUR_MS } as const
const MAX_SESSIONS_PER_KEY = 100

/** The cookie's value and the token in browser storage: two secrets, told apart by these. */
export const COOKIE_PREFIX = 'comfys_'
export const TOKEN_PREFIX = 'comfyt_'

const sessionId = customAlphabet('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz', 12)

export interface Session extends KnownSession {
  readonly cookieDigest: Digest
  readonly remember: boolean
  /** Client address at login. */
  readonly client: string
  readonly createdMs: number
  readonly usedMs: number
}

export interface StartedSession {
  /** The cookie's value: shown to nobody but this browser, once. */
  readonly cookie: string
  /** The token for browser storage, likewise. */
  readonly token: string
  readonly session: Session
}

export interface Sessions {
  /** A new session with secrets of its own; where the key has 100 already, its oldest ends. On disk once `saved`. */
  start(of: { keyId: string; remember: boolean; client: string; nowMs: number }): StartedSession
  findByCookieDigest(digest: Digest): Session | undefined
  /** Whose storage token it is: a token alone opens nothing (rule 14), but it can belie the cookie beside it. */
  findByTokenDigest(digest: Digest): Session | undefined
  /** The session was used. Kept in memory, on disk at most once a minute. */
  touch(id: string, nowMs: number): void
  /** False where no such session lives. Ended for good, over a kill -9 too, once `saved`. */
  end(id: string): boolean
  endByKey(keyId: string): number
  /**
   * Resolves within `saveMs` and one commit, when all that began and ended until now stands on disk: what is answered
   * after it outlives a kill -9 and a power cut. Logins of the same moment share that commit, or a flood of them would
   * stop everybody. Resolves too where the database cannot be written: people log in and out, and it is made up for.
   */
  saved(): Promise<void>
  /** Newest first. */
  list(): readonly Session[]
  /** Told of every session that ends: logged out, ended by another process, too old, or gone with its key. */
  onEnd(callback: (session: Session) => void): void
  /** Writes what is batched, and stops the clock; the database is the opener's to close. */
  close(): void
}

export interface SessionsOptions {
  readonly nowMs?: () => number
  readonly random?: (bytes: number) => Uint8Array
  /** How often other processes' changes (`sessions end`) and ends by time are looked for. */
  readonly pollMs?: number
  readonly flushMs?: number
  /** How long what began or ended waits for others to be written with. */
  readonly saveMs?: number
  /** Told once while it lasts; it is tried again with the next poll. */
  readonly onError?: (error: unknown, undone: Undone) => void
}

type Row = {
  id: string
  cookie_digest: string
  token_digest: string
  key_id: string
  remember: number
  client: string
  created_ms: number
  used_ms: number
}

/**
 * Rule 14. All sessions live in maps by the digests of their secrets, so that a request costs a look-up and
 * no query; the database follows. What another process deletes from it ends here within `pollMs`.
 */
export function createSessions(db: ServeDb, options: SessionsOptions = {}): Sessions {
  const { nowMs = Date.now, random = randomBytes, pollMs = 400, flushMs = 60_000 } = options
  const { saveMs = 10, onError = () => {} } = options
  const byId = new Map<string, Session>()
  const byCookie = new Map<Digest, Session>()
  const byToken = new Map<Digest, Session>()
  const byKey = new Map<string, Set<string>>() // ids, oldest first
  const listeners: ((session: Session) => void)[] = []
  const unsaved = { added: new Set<string>(), touched: new Set<string>(), removed: new Set<string>() }
  let earliestEndMs = Number.POSITIVE_INFINITY // a lower bound: use only moves ends later
  let lastFlushMs = nowMs()
  let saving: { readonly done: Promise<void>; readonly resolve: () => void; readonly timer: NodeJS.Timeout } | undefined
  let unwritable = false // tried again with each poll, not with each login
  let unreadable = false

  const selectAll = db.prepare('SELECT * FROM sessions ORDER BY created_ms')
  const insert = db.prepare('INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
  const update = db.prepare('UPDATE sessions SET used_ms = ? WHERE id = ?')
  const remove = db.prepare('DELETE FROM sessions WHERE id = ?')
  const dataVersion = db.prepare('PRAGMA data_version')

  function keep(session: Session): void {
    byId.set(session.id, session)
    byCookie.set(session.cookieDigest, session)
    byToken.set(session.tokenDigest, session)
    const own = byKey.get(session.keyId)
    if (own) own.add(session.id)
    else byKey.set(session.keyId, new Set([session.id]))
    earliestEndMs = Math.min(earliestEndMs, session.endsMs)
  }

  function drop(session: Session): void {
    byId.delete(session.id)
    byCookie.delete(session.cookieDigest)
    byToken.delete(session.tokenDigest)
    const own = byKey.get(session.keyId)
    own?.delete(session.id)
    if (own?.size === 0) byKey.delete(session.keyId)
    unsaved.added.delete(session.id)
    unsaved.touched.delete(session.id)
    for (const listener of listeners) listener(session)
  }

  function endNow(session: Session): void {
    unsaved.removed.add(session.id)
    drop(session)
  }

  /** One transaction for all that is unsaved; where it fails, everything stays unsaved and is tried again. */
  function flush(): void {
    lastFlushMs = nowMs()
    write()
    clearTimeout(saving?.timer)
    saving?.resolve()
    saving = undefined
  }

  function save(): void {
    if (saving || unwritable) return
    const { promise: done, resolve } = Promise.withResolvers<void>()
    saving = { done, resolve, timer: setTimeout(flush, saveMs) }
  }

  function write(): void {
    if (unsaved.added.size + unsaved.touched.size + unsaved.removed.size === 0) return
    try {
      inTransaction(db, () => {
        for (const id of unsaved.removed) remove.run(id)
        for (const id of unsaved.added) insert.run(...columns(byId.get(id)!))
        // Never an insert: another process may have ended it since.
        for (const id of unsaved.touched) update.run(byId.get(id)!.usedMs, id)
      })
    } catch (error) {
      if (!unwritable) onError(error, 'written')
      unwritable = true
      return
    }
    unwritable = false
    for (const ids of Object.values(unsaved)) ids.clear()
  }

  function load(): void {
    const rows = selectAll.all() as Row[]
    const stored = new Set(rows.map((row) => row.id))
    for (const session of byId.values()) {
      if (!stored.has(session.id) && !unsaved.added.has(session.id)) drop(session)
    }
    for (const row of rows) {
      if (!byId.has(row.id) && !unsaved.removed.has(row.id)) keep(fromRow(row))
    }
  }

  function endOverdue(): void {
    const now = nowMs()
    if (now < earliestEndMs) return
    earliestEndMs = Number.POSITIVE_INFINITY
    for (const session of byId.values()) {
      if (session.endsMs <= now) endNow(session)
      else earliestEndMs = Math.min(earliestEndMs, session.endsMs)
    }
    flush()
  }

  let seenVersion = dataVersion.get()?.data_version
  load()
  endOverdue()

  function poll(): void {
    try {
      const version = dataVersion.get()?.data_version
      if (version !== seenVersion) {
        load()
        seenVersion = version
      }
      unreadable = false
    } catch (error) {
      if (!unreadable) onError(error, 'read')
      unreadable = true
    }
    endOverdue()
    const retry = unsaved.added.size + unsaved.removed.size > 0
    if (retry || nowMs() - lastFlushMs >= flushMs) flush()
  }
  const timer = setInterval(poll, pollMs)
  timer.unref()

  return {
    start({ keyId, remember, client, nowMs: now }) {
      const own = byKey.get(keyId) ?? new Set()
      let surplus = own.size + 1 - MAX_SESSIONS_PER_KEY
      for (const id of own) {
        if (surplus-- <= 0) break
        endNow(byId.get(id)!)
      }
      const cookie = COOKIE_PREFIX + secret(random)
      const token = TOKEN_PREFIX + secret(random)
      const times = { remember, createdMs: now, usedMs: now }
      const session: Session = {
        id: sessionId(),
        keyId,
        cookieDigest: digestOf(cookie),
        tokenDigest: digestOf(token),
        client,
        ...times,
        endsMs: endOf(times),
      }
      keep(session)
      unsaved.added.add(session.id)
      save()
      return { cookie, token, session }
    },
    findByCookieDigest: (digest) => byCookie.get(digest),
    findByTokenDigest: (digest) => byToken.get(digest),
    touch(id, now) {
      const session = byId.get(id)
      // A second's grain is enough, and keeps a page load of 250 requests from making 250 objects.
      if (session === undefined || now - session.usedMs < 1_000) return
      const used = { ...session, usedMs: now }
      keep({ ...used, endsMs: endOf(used) })
      unsaved.touched.add(id)
    },
    end(id) {
      const session = byId.get(id)
      if (session === undefined) return false
      endNow(session)
      save()
      return true
    },
    endByKey(keyId) {
      const own = [...(byKey.get(keyId) ?? [])]
      for (const id of own) endNow(byId.get(id)!)
      save()
      return own.length
    },
    saved: () => saving?.done ?? Promise.resolve(),
    list: () => [...byId.values()].sort((a, b) => b.createdMs - a.createdMs),
    onEnd: (callback) => void listeners.push(callback),
    close() {
      clearInterval(timer)
      flush()
    },
  }
}

/** What stands in the database, for another process than serve's: those that have not ended, newest first. */
export function storedSessions(db: ServeDb, nowMs: number): readonly Session[] {
  const rows = db.prepare('SELECT * FROM sessions ORDER BY created_ms DESC').all() as Row[]
  return rows.map(fromRow).filter((session) => nowMs < session.endsMs)
}

/** Ends them for a serve that runs too: it looks every `pollMs`. */
export function endStored(db: ServeDb, ids: readonly string[]): void {
  const remove = db.prepare('DELETE FROM sessions WHERE id = ?')
  inTransaction(db, () => {
    for (const id of ids) remove.run(id)
  })
}

function endOf(of: { remember: boolean; createdMs: number; usedMs: number }): number {
  return Math.min(of.usedMs + IDLE_MS, latestEndOf(of))
}

/** However much it is used. */
export function latestEndOf(of: { readonly remember: boolean; readonly createdMs: number }): number {
  return of.createdMs + ABSOLUTE_MS[of.remember ? 'remember' : 'session']
}

/** 256 bits as 43 characters of base62. */
function secret(random: (bytes: number) => Uint8Array): string {
  return base62(BigInt(`0x${Buffer.from(random(32)).toString('hex')}`), 43)
}

function columns(session: Session): (string | number)[] {
  return [
    session.id,
    session.cookieDigest,
    session.tokenDigest,
    session.keyId,
    session.remember ? 1 : 0,
    session.client,
    session.createdMs,
    session.usedMs,
  ]
}

function fromRow(row: Row): Session {
  const times = { remember: row.remember === 1, createdMs: row.created_ms, usedMs: row.used_ms }
  return {
    id: row.id,
    keyId: row.key_id,
    cookieDigest: row.cookie_digest as Digest,
    tokenDigest: row.token_digest as Digest,
    client: row.client,
    ...times,
    endsMs: endOf(times),
  }
}
