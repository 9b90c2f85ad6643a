/** What is needed of node:sqlite's DatabaseSync. */
export interface Transactional {
  exec(sql: string): void
  readonly isTransaction: boolean
}

/** All of `work` or nothing. Throws what went wrong: a full disk, say, on which SQLite has rolled back already. */
export function inTransaction(db: Transactional, work: () => void): void {
  db.exec('BEGIN IMMEDIATE')
  try {
    work()
    db.exec('COMMIT')
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}
