/** What is needed of node:sqlite's DatabaseSync. */
export interface Transactional {
  exec(sql: string): void
  readonly isTransaction: boolean
}

/**
 * All of `work` or nothing, under the write lock, which is taken at the start: what is read is what is changed. Throws what went
 * wrong: a full disk, say, on which SQLite has rolled back already.
 */
export function inTransaction<T>(db: Transactional, work: () => T): T {
  db.exec('BEGIN IMMEDIATE')
  try {
    const result = work()
    db.exec('COMMIT')
    return result
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}
