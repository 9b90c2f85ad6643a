import { existsSync } from 'node:fs'
import { inTransaction, type Transactional } from '../files/transaction.ts'

/** Where the uses go; serve.db behind sqliteSink. May throw: the uses are kept and tried again. */
export interface LastUsedSink {
  /** Key ids and when each was last used, in milliseconds since 1970. */
  write(uses: ReadonlyMap<string, number>): void
}

/** What sqliteSink needs of node:sqlite's DatabaseSync. */
export interface Database extends Transactional {
  prepare(sql: string): { run(...values: (string | number)[]): unknown }
}

const TABLE = 'CREATE TABLE IF NOT EXISTS key_uses (key_id TEXT PRIMARY KEY, used_ms INTEGER NOT NULL) STRICT'

/** Keeps uses in a table of its own in `db`, which may hold others. */
export function sqliteSink(db: Database): LastUsedSink {
  db.exec(TABLE)
  const put = db.prepare(
    `INSERT INTO key_uses (key_id, used_ms) VALUES (?, ?)
     ON CONFLICT (key_id) DO UPDATE SET used_ms = max(used_ms, excluded.used_ms)`,
  )
  return {
    write(uses) {
      inTransaction(db, () => {
        for (const [keyId, usedMs] of uses) put.run(keyId, usedMs)
      })
    },
  }
}

/** When keys were last used, by id, from a serve.db that a running serve may be writing. Empty where it cannot be read: this is only told. */
export async function readLastUsed(serveDb: string): Promise<ReadonlyMap<string, number>> {
  const uses = new Map<string, number>()
  if (!existsSync(serveDb)) return uses
  const { DatabaseSync } = await import('node:sqlite')
  try {
    const db = new DatabaseSync(serveDb, { readOnly: true })
    try {
      for (const row of db.prepare('SELECT key_id, used_ms FROM key_uses').iterate()) {
        uses.set(String(row.key_id), Number(row.used_ms))
      }
    } finally {
      db.close()
    }
  } catch {} // no such table yet, or no database
  return uses
}

export interface LastUsed {
  /** On every request: a map entry, nothing more. */
  touch(keyId: string, nowMs: number): void
  /** Writes what is waiting. */
  flush(): void
  /** Writes what is waiting and stops. */
  close(): void
}

/**
 * Batches uses: the first is written a second later, so that `keys list` soon shows it, after that at most one write in
 * `everyMs`. Never on a request's path, and never touches the keyring.
 */
export function createLastUsed(
  sink: LastUsedSink,
  { everyMs = 60_000, firstMs = 1_000 }: { readonly everyMs?: number; readonly firstMs?: number } = {},
): LastUsed {
  const waiting = new Map<string, number>()
  let timer: NodeJS.Timeout | undefined
  let nextMs = 0

  const flush = () => {
    clearTimeout(timer)
    timer = undefined
    if (waiting.size === 0) return
    nextMs = performance.now() + everyMs
    try {
      sink.write(waiting)
      waiting.clear()
    } catch {
      arm() // locked or full: the uses wait for the next turn
    }
  }

  const arm = () => {
    timer ??= setTimeout(flush, Math.max(firstMs, nextMs - performance.now())).unref()
  }

  return {
    touch(keyId, nowMs) {
      waiting.set(keyId, nowMs)
      arm()
    },
    flush,
    close() {
      flush()
      clearTimeout(timer)
    },
  }
}
