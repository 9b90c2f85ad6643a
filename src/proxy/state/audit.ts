import { redact } from '../../keys/format.ts'
import type { Principal, Reason } from '../decide/facts.ts'
import type { LineFile } from './line-file.ts'

export interface AuditEntry {
  readonly nowMs: number
  readonly event: 'request' | 'refusal' | 'login' | 'login-failed' | 'logout' | 'revocation' | 'session-end'
  readonly client?: string | undefined
  readonly key?: Pick<Principal, 'keyId' | 'label'> | undefined
  readonly method?: string
  /** The raw request-target: its query never reaches the log. */
  readonly target?: string
  readonly status?: number
  /** Sent to the client. */
  readonly bytes?: number
  readonly durationMs?: number
  readonly reason?: Reason | string
}

export interface Audit {
  /** Never blocks and never throws. */
  record(entry: AuditEntry): void
  reopen(): void
  readonly lost: number
  close(): Promise<void>
}

export interface AuditOptions {
  readonly file: LineFile
  /** The access log: reads too, not only what rule 16 names. */
  readonly reads?: boolean
}

const MAX_PATH = 256
const ANONYMOUS_REFUSALS_PER_SECOND = 10
const READS: readonly string[] = ['GET', 'HEAD', 'OPTIONS']

/**
 * Rule 16: a JSON line for each login, logout, refusal, revocation and write request. Refusals without a
 * principal cost nothing to send, so ten a second are written and the rest is counted in one line.
 */
export function createAudit({ file, reads = false }: AuditOptions): Audit {
  let second = 0
  let inSecond = 0
  let suppressed = 0

  function isOneTooMany(entry: AuditEntry): boolean {
    const now = Math.floor(entry.nowMs / 1_000)
    if (now !== second) {
      tellSuppressed(entry.nowMs)
      second = now
      inSecond = 0
    }
    if (entry.event !== 'refusal' || entry.key?.keyId !== undefined) return false
    inSecond++
    if (inSecond <= ANONYMOUS_REFUSALS_PER_SECOND) return false
    suppressed++
    return true
  }

  function tellSuppressed(nowMs: number): void {
    if (suppressed === 0) return
    file.write(JSON.stringify({ time: timeOf(nowMs), event: 'refusals-not-shown', count: suppressed }))
    suppressed = 0
  }

  return {
    record(entry) {
      if (entry.event === 'request' && !reads && READS.includes(entry.method ?? '')) return
      if (!isOneTooMany(entry)) file.write(lineOf(entry))
    },
    reopen: () => file.reopen(),
    get lost() {
      return file.lost
    },
    async close() {
      tellSuppressed(second * 1_000)
      await file.close()
    },
  }
}

function lineOf(entry: AuditEntry): string {
  return JSON.stringify({
    time: timeOf(entry.nowMs),
    event: entry.event,
    client: entry.client,
    key: entry.key?.keyId,
    label: entry.key?.label,
    method: entry.method?.slice(0, 32),
    path: entry.target === undefined ? undefined : pathOf(entry.target),
    status: entry.status,
    bytes: entry.bytes,
    ms: entry.durationMs === undefined ? undefined : Math.round(entry.durationMs * 10) / 10,
    reason: entry.reason,
  })
}

/** Less the query, where a key may stand, and whatever looks like one in the path; `user:password@` stands in no path. */
function pathOf(target: string): string {
  if (!target.startsWith('/')) return '(no path)'
  return redact(target.split(/[?#]/, 1)[0]!).slice(0, MAX_PATH)
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString()
}
