import type { ServeDb } from './db.ts'

export interface Prompts {
  /** ComfyUI answered this prompt_id to this key's POST /prompt. Where the id has an owner already, nothing changes. */
  record(keyId: string, promptId: string): void
  owns(keyId: string, promptId: string): boolean
  /** Some key owns it. */
  known(promptId: string): boolean
  /** Writes what is batched; the database is the opener's to close. */
  close(): void
}

export interface PromptsOptions {
  readonly nowMs?: () => number
  /** How long a new owner may wait in memory for its place on disk. */
  readonly flushMs?: number
  readonly maxPerKey?: number
  readonly maxAgeMs?: number
  readonly onError?: (error: unknown) => void
}

/**
 * Rule 8's ledger of who may stop what. Written behind, as a lost line only means that a user asks an admin
 * to stop that prompt; a wrong one would let it stop another's, so the first owner of an id is its only one.
 */
export function createPrompts(db: ServeDb, options: PromptsOptions = {}): Prompts {
  const { nowMs = Date.now, flushMs = 250, maxPerKey = 10_000, maxAgeMs = 90 * 86_400_000 } = options
  const { onError = () => {} } = options
  const waiting = new Map<string, { keyId: string; atMs: number }>()
  let timer: NodeJS.Timeout | undefined

  const select = db.prepare('SELECT key_id FROM prompt_owners WHERE prompt_id = ?')
  const insert = db.prepare('INSERT OR IGNORE INTO prompt_owners (prompt_id, key_id, at_ms) VALUES (?, ?, ?)')
  const trim = db.prepare(
    `DELETE FROM prompt_owners WHERE key_id = ?1 AND seq <=
       (SELECT seq FROM prompt_owners WHERE key_id = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)`,
  )
  db.prepare('DELETE FROM prompt_owners WHERE at_ms < ?').run(nowMs() - maxAgeMs)

  function ownerOf(promptId: string): string | undefined {
    const inMemory = waiting.get(promptId)?.keyId
    if (inMemory !== undefined) return inMemory
    const row = select.get(promptId)
    return typeof row?.key_id === 'string' ? row.key_id : undefined
  }

  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    if (waiting.size === 0) return
    try {
      db.exec('BEGIN IMMEDIATE')
      try {
        for (const [promptId, { keyId, atMs }] of waiting) insert.run(promptId, keyId, atMs)
        for (const keyId of new Set([...waiting.values()].map((owner) => owner.keyId))) trim.run(keyId, maxPerKey)
        db.exec('COMMIT')
        waiting.clear()
      } catch (error) {
        db.exec('ROLLBACK')
        throw error
      }
    } catch (error) {
      onError(error)
      // A disk that stays full must not fill the memory instead: then the oldest are forgotten.
      for (const promptId of waiting.keys()) {
        if (waiting.size <= maxPerKey) break
        waiting.delete(promptId)
      }
    }
  }

  return {
    record(keyId, promptId) {
      if (ownerOf(promptId) !== undefined) return
      waiting.set(promptId, { keyId, atMs: nowMs() })
      timer ??= setTimeout(flush, flushMs)
      timer.unref()
    },
    owns: (keyId, promptId) => ownerOf(promptId) === keyId,
    known: (promptId) => ownerOf(promptId) !== undefined,
    close: flush,
  }
}
