import { inTransaction } from '../../files/transaction.ts'
import type { ServeDb, Undone } from './db.ts'

export interface Prompts {
  /**
   * ComfyUI answered this prompt_id to this key's POST /prompt. Where it has answered it to another key too, or where whose
   * it is cannot be told (undefined, or the database cannot be read), it is nobody's from then on. Never throws, nor do the others.
   */
  record(keyId: string | undefined, promptId: string): void
  owns(keyId: string, promptId: string): boolean
  /** It was recorded before, as a key's or as nobody's, or that cannot be read. */
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
  /** Told of the first read that fails, and of the first write that does after one that did not. */
  readonly onError?: (error: unknown, undone: Undone) => void
}

/** In the place of a key's id: no key has it. */
const NOBODY = ''
const UNREADABLE = Symbol('whose it is cannot be read')

/**
 * Rule 8's ledger of who may stop what. An owner is written behind, as a lost line only means that a user asks an admin to
 * stop that prompt. That an id is no longer its owner's is written at once: else that key could stop another's prompt.
 */
export function createPrompts(db: ServeDb, options: PromptsOptions = {}): Prompts {
  const { nowMs = Date.now, flushMs = 250, maxPerKey = 10_000, maxAgeMs = 90 * 86_400_000 } = options
  const { onError = () => {} } = options
  const waiting = new Map<string, { keyId: string; atMs: number }>()
  let timer: NodeJS.Timeout | undefined
  let unreadable = false // for good: a page that can be read says nothing of the one that cannot
  let unwritable = false

  const select = db.prepare('SELECT key_id FROM prompt_owners WHERE prompt_id = ?')
  // Another serve with the same database may have written it meanwhile.
  const insert = db.prepare(
    `INSERT INTO prompt_owners (prompt_id, key_id, at_ms) VALUES (?, ?, ?)
       ON CONFLICT (prompt_id) DO UPDATE SET key_id = '${NOBODY}' WHERE key_id <> excluded.key_id`,
  )
  const trim = db.prepare(
    `DELETE FROM prompt_owners WHERE key_id = ?1 AND seq <=
       (SELECT seq FROM prompt_owners WHERE key_id = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)`,
  )
  db.prepare('DELETE FROM prompt_owners WHERE at_ms < ?').run(nowMs() - maxAgeMs)

  function ownerOf(promptId: string): string | typeof UNREADABLE | undefined {
    const inMemory = waiting.get(promptId)?.keyId
    if (inMemory !== undefined) return inMemory
    try {
      const row = select.get(promptId)
      return typeof row?.key_id === 'string' ? row.key_id : undefined
    } catch (error) {
      if (!unreadable) onError(error, 'read')
      unreadable = true
      return UNREADABLE
    }
  }

  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    if (waiting.size === 0) return
    try {
      inTransaction(db, () => {
        for (const [promptId, { keyId, atMs }] of waiting) insert.run(promptId, keyId, atMs)
        for (const keyId of new Set([...waiting.values()].map((owner) => owner.keyId))) trim.run(keyId, maxPerKey)
      })
      waiting.clear()
      unwritable = false
    } catch (error) {
      if (!unwritable) onError(error, 'written')
      unwritable = true
      // A disk that stays full must not fill the memory instead: then the oldest are forgotten, owners before doubts.
      const isDoubt = ({ keyId }: { keyId: string }) => Number(keyId === NOBODY)
      for (const [promptId] of [...waiting].sort(([, a], [, b]) => isDoubt(a) - isDoubt(b))) {
        if (waiting.size <= maxPerKey) break
        waiting.delete(promptId)
      }
    }
  }

  return {
    record(keyId, promptId) {
      const before = ownerOf(promptId)
      const owner = keyId !== undefined && (before ?? keyId) === keyId ? keyId : NOBODY
      if (owner === before) return
      waiting.set(promptId, { keyId: owner, atMs: nowMs() })
      if (before !== undefined && !unwritable) {
        flush()
        return
      }
      timer ??= setTimeout(flush, flushMs)
      timer.unref()
    },
    owns: (keyId, promptId) => keyId !== NOBODY && ownerOf(promptId) === keyId,
    known: (promptId) => ownerOf(promptId) !== undefined,
    close: flush,
  }
}
