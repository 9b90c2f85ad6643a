import { existsSync } from 'node:fs'
import { ComfyAuthError } from '../errors.ts'
import { openServeDb } from './state/db.ts'
import { endStored, latestEndOf, type Session, storedSessions } from './state/sessions.ts'

/** A browser that is logged in, as `sessions list` shows it: no secret, nor the digest of one. */
export interface SessionDescription {
  readonly id: string
  readonly keyId: string
  readonly remember: boolean
  /** The client's address at login. */
  readonly client: string
  readonly created: string
  /** serve writes it down once a minute. */
  readonly lastUsed: string
  /** Unless it is used before: the nearer of its idle and its absolute end. */
  readonly ends: string
  /** However much it is used. */
  readonly endsLatest: string
}

/** The sessions in serve's database, newest first, whether serve runs or not. */
export function listSessions(serveDb: string, nowMs: number): readonly SessionDescription[] {
  return read(serveDb, nowMs).map(describe)
}

export type Which = { readonly all: true } | { readonly id: string } | { readonly keyId: string }

/** Ends them; a running serve refuses them and closes their sockets within a second. Throws `usage` for an id that is none. */
export function endSessions(serveDb: string, which: Which, nowMs: number): readonly SessionDescription[] {
  const chosen = read(serveDb, nowMs).filter(
    (session) =>
      'all' in which ||
      ('id' in which && session.id === which.id) ||
      ('keyId' in which && session.keyId === which.keyId),
  )
  if ('id' in which && chosen.length === 0) {
    throw new ComfyAuthError('usage', 'No session that lives has this id.', {
      remedy: 'See them all: `comfy-auth sessions list`.',
    })
  }
  if (chosen.length > 0) {
    withDb(serveDb, (db) =>
      endStored(
        db,
        chosen.map(({ id }) => id),
      ),
    )
  }
  return chosen.map(describe)
}

/** Why there is nobody to list or to end, where a serve with another folder, or whose file was deleted, may know better. */
export function whyNone(serveDb: string): string {
  if (existsSync(serveDb)) return ''
  return `\nThere is no ${serveDb}: serve never ran with this folder, or the file was deleted. Who is logged in at a serve that runs all the same ends with it.`
}

function read(serveDb: string, nowMs: number): readonly Session[] {
  return existsSync(serveDb) ? withDb(serveDb, (db) => storedSessions(db, nowMs)) : []
}

function withDb<T>(path: string, use: (db: ReturnType<typeof openServeDb>) => T): T {
  const db = openServeDb(path)
  try {
    db.exec('PRAGMA busy_timeout = 5000')
    return use(db)
  } finally {
    db.close()
  }
}

function describe(session: Session): SessionDescription {
  const { id, keyId, remember, client } = session
  const iso = (ms: number) => new Date(ms).toISOString()
  return {
    id,
    keyId,
    remember,
    client,
    created: iso(session.createdMs),
    lastUsed: iso(session.usedMs),
    ends: iso(session.endsMs),
    endsLatest: iso(latestEndOf(session)),
  }
}
