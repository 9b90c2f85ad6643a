import { chmodSync, closeSync, constants, fsyncSync, lstatSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { ComfyAuthError } from '../errors.ts'
import { errorCode, errorText } from '../files/errno.ts'
import { ensureDir } from '../files/home.ts'
import { inTransaction } from '../files/transaction.ts'
import { isInFlight, JOB_STATES, type Job, type JobState, type JobStatus, mayMove, type NewJob } from './job.ts'
import { LEASE_MS } from './lease.ts'
import { readJob } from './row.ts'
import type { Move, Store } from './store.ts'

const SCHEMA_VERSION = 1

/** `CAQU`: tells our queue from any other SQLite file. */
const APPLICATION_ID = 0x43415155

const SCHEMA = `
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL CHECK (state IN (${JOB_STATES.map((state) => `'${state}'`).join(', ')})),
  priority INTEGER NOT NULL,
  not_before INTEGER,
  added INTEGER NOT NULL,
  changed INTEGER NOT NULL,
  label TEXT NOT NULL,
  output TEXT NOT NULL,
  workflow TEXT NOT NULL,
  extra_data TEXT,
  server TEXT,
  reason TEXT,
  outputs TEXT,
  retry_of TEXT,
  retried_as TEXT,
  cancel_requested INTEGER NOT NULL DEFAULT 0,
  lease_owner TEXT,
  lease_until INTEGER
) STRICT;
CREATE INDEX jobs_next ON jobs (state, priority DESC, seq);
CREATE INDEX jobs_leased ON jobs (lease_owner) WHERE lease_owner IS NOT NULL;
PRAGMA application_id = ${APPLICATION_ID};
PRAGMA user_version = ${SCHEMA_VERSION};
`

/** The path may come from argv and is not repeated. */
function unusable(what: string, cause?: unknown, remedy = 'Move it away, or name another file with --queue.') {
  return new ComfyAuthError('usage', `The queue's file ${what}.`, { remedy, cause })
}

/**
 * Makes the file with mode 0600 before SQLite sees it; its -wal and -shm take that mode. An existing one is never
 * opened here: closing it would drop the locks that SQLite holds on it in this process.
 */
function makeFile(path: string): void {
  const folder = dirname(path)
  try {
    ensureDir(folder)
    const found = lstatSync(path, { throwIfNoEntry: false })
    if (found) {
      if (!found.isFile()) throw unusable('is not a regular file')
      if (process.platform !== 'win32' && (found.mode & 0o077) !== 0) chmodSync(path, 0o600)
      return
    }
    closeSync(openSync(path, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR, 0o600))
    if (process.platform === 'win32') return
    const handle = openSync(folder, constants.O_RDONLY)
    fsyncSync(handle) // the name must outlive a power cut as the rows do
    closeSync(handle)
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return // another process was quicker
    if (error instanceof ComfyAuthError) throw error
    const remedy = 'Make its folder writable for you, or name another file with --queue.'
    throw unusable(`cannot be made: ${errorText(error)}`, error, remedy)
  }
}

function version(db: DatabaseSync): number {
  return db.prepare('PRAGMA user_version').get()!.user_version as number
}

function open(path: string): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: 60_000 })
  try {
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
    if (version(db) === 0) {
      inTransaction(db, () => {
        if (version(db) !== 0) return // another process was quicker
        const tables = db.prepare('SELECT count(*) AS n FROM sqlite_schema').get()!.n
        if (tables !== 0) throw unusable('is a database, but not a queue of comfy-auth')
        db.exec(SCHEMA)
      })
    }
    if (db.prepare('PRAGMA application_id').get()!.application_id !== APPLICATION_ID) {
      throw unusable('is a database, but not a queue of comfy-auth')
    }
    if (version(db) > SCHEMA_VERSION) {
      const remedy = `Update comfy-auth: this one knows schema ${SCHEMA_VERSION}. The file is as it was.`
      throw unusable(`was written by a newer comfy-auth (schema ${version(db)})`, undefined, remedy)
    }
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

/** A new state as columns; what the state does not have is emptied. */
function columns(to: JobStatus): Record<string, SQLInputValue> {
  return {
    state: to.state,
    server: 'server' in to ? (to.server ?? null) : null,
    reason: 'reason' in to ? (to.reason ?? null) : null,
    outputs: 'outputs' in to ? JSON.stringify(to.outputs) : null,
    retriedAs: 'retriedAs' in to ? (to.retriedAs ?? null) : null,
  }
}

/** The queue in one SQLite file: WAL, each commit synced to disk before it is reported. */
export function openSqlite(where: string): Store {
  const path = where.startsWith('file:') ? fileURLToPath(where) : where
  makeFile(path)
  let db: DatabaseSync
  try {
    db = open(path)
  } catch (error) {
    if (error instanceof ComfyAuthError) throw error
    throw unusable(`cannot be read as a queue (${(error as Error).message})`, error)
  }
  const sql = {
    add: db.prepare(
      `INSERT INTO jobs (id, state, priority, not_before, added, changed, label, output, workflow, extra_data, retry_of)
       VALUES (?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    get: db.prepare('SELECT * FROM jobs WHERE id = ?'),
    find: db.prepare('SELECT * FROM jobs WHERE id >= ? AND id < ? ORDER BY seq LIMIT ?'),
    counts: db.prepare('SELECT state, count(*) AS n FROM jobs GROUP BY state'),
    owners: db.prepare(
      'SELECT lease_owner AS id, max(lease_until) AS until FROM jobs WHERE lease_owner IS NOT NULL GROUP BY 1',
    ),
    free: db.prepare('UPDATE jobs SET lease_owner = NULL, lease_until = NULL WHERE lease_owner = ?'),
    one: db.prepare(
      'SELECT * FROM jobs WHERE id = :id AND lease_owner IS NULL AND coalesce(server, :server) = :server',
    ),
    orphan: db.prepare(
      `SELECT * FROM jobs WHERE state IN ('sending', 'submitted', 'running') AND lease_owner IS NULL AND server = :server
       ORDER BY changed, seq LIMIT 1`,
    ),
    next: db.prepare(
      `SELECT * FROM jobs WHERE state = 'queued' AND lease_owner IS NULL AND coalesce(not_before, 0) <= :nowMs
       ORDER BY priority DESC, seq LIMIT 1`,
    ),
    lease: db.prepare('UPDATE jobs SET lease_owner = :owner, lease_until = :until WHERE id = :id'),
    renew: db.prepare('UPDATE jobs SET lease_until = :until WHERE lease_owner = :owner'),
    release: db.prepare('UPDATE jobs SET lease_owner = NULL, lease_until = NULL WHERE id = ? AND lease_owner = ?'),
    move: db.prepare(
      `UPDATE jobs SET state = :state, server = :server, reason = :reason, outputs = :outputs, retried_as = :retriedAs,
         changed = :nowMs,
         lease_owner = iif(:final, NULL, lease_owner), lease_until = iif(:final, NULL, lease_until)
       WHERE id = :id AND state = :from AND (:owner IS NULL OR lease_owner = :owner)`,
    ),
    cancel: db.prepare(
      `UPDATE jobs SET cancel_requested = 1, changed = :nowMs
       WHERE id = :id AND state IN ('queued', 'sending', 'submitted', 'running', 'unknown')`,
    ),
  }

  const insert = (job: NewJob): void => {
    try {
      sql.add.run(
        job.id,
        job.priority,
        job.notBeforeMs ?? null,
        job.addedMs,
        job.addedMs,
        job.label,
        job.output,
        job.workflow,
        job.extraData ?? null,
        job.retryOf ?? null,
      )
    } catch (error) {
      if (!(error as Error).message.startsWith('UNIQUE')) throw error
      throw new ComfyAuthError('usage', `A job ${job.id} is in the queue already; nothing was added.`, {
        remedy: 'Give each job an id of its own, or none.',
        cause: error,
      })
    }
  }

  const move = ({ id, from, to, nowMs, worker }: Move): boolean => {
    if (!mayMove(from, to.state)) throw new Error(`a job cannot go from ${from} to ${to.state}`)
    const final = isInFlight(to.state) ? 0 : 1
    return sql.move.run({ ...columns(to), id, from, nowMs, final, owner: worker?.id ?? null }).changes === 1
  }

  return {
    add: async (jobs) => inTransaction(db, () => jobs.forEach(insert)),
    get: async (id) => {
      const row = sql.get.get(id)
      return row && readJob(row)
    },
    // No UUID has a character above f, so that this bound closes the range of the prefix.
    find: async (prefix, limit) => sql.find.all(prefix, `${prefix}g`, limit).map(readJob),
    list: async ({ states = JOB_STATES, limit = -1 }) => {
      const marks = states.map(() => '?').join(', ')
      const statement = db.prepare(`SELECT * FROM jobs WHERE state IN (${marks}) ORDER BY seq DESC LIMIT ?`)
      return statement
        .all(...states, limit)
        .map(readJob)
        .reverse()
    },
    counts: async () => {
      const counts = Object.fromEntries(JOB_STATES.map((state) => [state, 0])) as Record<JobState, number>
      for (const row of sql.counts.all()) counts[row.state as JobState] = row.n as number
      return counts
    },
    claim: async (worker, { nowMs, server, id }) =>
      inTransaction(db, () => {
        for (const owner of sql.owners.all() as { id: string; until: number }[]) {
          if (owner.until <= nowMs || !worker.isAlive(owner.id)) sql.free.run(owner.id)
        }
        const row = id ? sql.one.get({ id, server }) : (sql.orphan.get({ server }) ?? sql.next.get({ nowMs }))
        if (!row) return undefined
        const job: Job = readJob(row)
        sql.lease.run({ id: job.id, owner: worker.id, until: nowMs + LEASE_MS })
        return job
      }),
    renew: async (worker, nowMs) => {
      sql.renew.run({ owner: worker.id, until: nowMs + LEASE_MS })
    },
    release: async (worker, id) => {
      sql.release.run(id, worker.id)
    },
    move: async (change) => move(change),
    requestCancel: async (id, nowMs) => sql.cancel.run({ id, nowMs }).changes === 1,
    retry: async (change, job) =>
      inTransaction(db, () => {
        if (!move(change)) return false
        insert(job)
        return true
      }),
    close: () => db.close(),
  }
}
