import { chmodSync, closeSync, constants, fstatSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ComfyAuthError } from '../../errors.ts'
import { ensureDir } from '../../files/home.ts'

/** serve's memory over a restart: sessions, who owns which prompt. Secrets stand in it as digests only. */
export type ServeDb = DatabaseSync

/** What of it cannot be. */
export type Undone = 'read' | 'written'

const SCHEMA_VERSION = 1

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    cookie_digest TEXT NOT NULL UNIQUE,
    token_digest TEXT NOT NULL,
    key_id TEXT NOT NULL,
    remember INTEGER NOT NULL,
    client TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    used_ms INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS prompt_owners (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    prompt_id TEXT NOT NULL UNIQUE,
    key_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS prompt_owners_by_key ON prompt_owners (key_id, seq);
`

/** Every column that is read or written: another table of the same name fails here, not half-way through a request. */
const COLUMNS = [
  'SELECT id, cookie_digest, token_digest, key_id, remember, client, created_ms, used_ms FROM sessions',
  'SELECT seq, prompt_id, key_id, at_ms FROM prompt_owners',
]

/** Of what no clock says (it ends before Date does, with room for a session's length): node:sqlite throws at the longest. */
const MAX_MS = 8_000_000_000_000_000
const DROP_SESSIONS = `DELETE FROM sessions WHERE created_ms NOT BETWEEN 0 AND ${MAX_MS} OR used_ms NOT BETWEEN 0 AND ${MAX_MS};`
const DROP_USES = `DELETE FROM key_uses WHERE used_ms NOT BETWEEN 0 AND ${MAX_MS};`

/** While serve runs, a lock held elsewhere may stall its event loop for this long at most; who fails tries again later. */
const RUNNING_BUSY_TIMEOUT_MS = 100

/**
 * Opens (or makes, 0600 in a 0700 folder) serve.db. `:memory:` keeps nothing. WAL, so that `sessions list`
 * reads beside a running serve, and synchronous FULL, so that an ended session stays ended over a power cut.
 * A database that a newer comfy-auth wrote is refused and left as it is, one that is damaged is refused, and rows with
 * times that cannot be are dropped: whose session that was logs in once more.
 */
export function openServeDb(path: string): ServeDb {
  if (path !== ':memory:') makePrivate(path)
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(path)
    db.exec('PRAGMA busy_timeout = 5000')
    const version = Number(db.prepare('PRAGMA user_version').get()?.user_version ?? 0)
    if (version > SCHEMA_VERSION) throw newer(path, version)
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF')
    const check = db.prepare('PRAGMA quick_check(1)').get()?.quick_check
    if (check !== 'ok') throw new Error('it is damaged')
    const uses = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'key_uses'").get() ? DROP_USES : ''
    db.exec(`BEGIN IMMEDIATE; ${SCHEMA} ${DROP_SESSIONS} ${uses} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`)
    for (const columns of COLUMNS) db.prepare(columns)
    db.exec(`PRAGMA busy_timeout = ${RUNNING_BUSY_TIMEOUT_MS}`)
    return db
  } catch (error) {
    db?.close()
    if (error instanceof ComfyAuthError) throw error
    throw unusable(path, error)
  }
}

/** Of SQLite's result codes, SQLITE_IOERR_SHMSIZE too: a full disk has no room for the file beside it. */
const FULL: readonly number[] = [13, 10 | (19 << 8)]
const IO_ERROR = 10

/** Only a file that is at fault itself is to be moved away. */
function unusable(path: string, error: unknown): ComfyAuthError {
  const code = error instanceof Error && 'errcode' in error && typeof error.errcode === 'number' ? error.errcode : 0
  const isFull = FULL.includes(code)
  const why = isFull ? 'no space left on the device' : reason(error)
  let remedy =
    'Move the file away: everyone logs in once more, whose prompt is whose and when keys were last used is forgotten.'
  if (isFull) remedy = 'Free some space there, and leave the file where it is: it is unharmed.'
  else if ((code & 0xff) === IO_ERROR)
    remedy = 'See whether its disk is full or broken, and leave the file where it is.'
  return new ComfyAuthError('usage', `${path} cannot be used as serve's database (${why}).`, { remedy, cause: error })
}

/** SQLite makes a new file with 0644, and gives its -wal and -shm the mode of the database: so the file is made first. */
function makePrivate(path: string): void {
  ensureDir(dirname(path))
  try {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0), 0o600)
    try {
      const { mode } = fstatSync(fd)
      // Only digests stand in it: an older file that others can read is closed to them and used.
      if (process.platform !== 'win32' && (mode & 0o077) !== 0) chmodSync(path, 0o600)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    throw new ComfyAuthError('usage', `${path} cannot be opened (${reason(error)}).`, {
      remedy: 'Give serve a folder it may write, with COMFY_AUTH_HOME, or mend the mode and owner of this one.',
      cause: error,
    })
  }
}

function newer(path: string, version: number): ComfyAuthError {
  return new ComfyAuthError('usage', `${path} was written by a newer comfy-auth (schema ${version}).`, {
    remedy: `This one knows schema ${SCHEMA_VERSION}: update comfy-auth, or set COMFY_AUTH_HOME to another folder.`,
  })
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error'
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return code === '' || code === 'ERR_SQLITE_ERROR' ? error.message : code
}
