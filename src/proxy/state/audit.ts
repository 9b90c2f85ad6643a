import { hidesSecret, redact } from '../../keys/format.ts'
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
  /** What rule 16 names: logins, refusals, revocations, writes. */
  readonly audit?: LineFile | undefined
  /** Every request, reads too. The same one as `audit` gets each line once. */
  readonly access?: LineFile | undefined
}

const MAX_PATH = 256
const ANONYMOUS_REFUSALS_PER_SECOND = 10
const READS: readonly string[] = ['GET', 'HEAD', 'OPTIONS']

/**
 * Rule 16, and the access log. Refusals without a principal cost nothing to send, so ten a second are written and
 * the rest is counted in one line.
 */
export function createAudit({ audit, access }: AuditOptions): Audit {
  const files = [...new Set([audit, access])].filter((file) => file !== undefined)
  let second = 0
  let inSecond = 0
  let suppressed = 0
  let timer: NodeJS.Timeout | undefined

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
    timer ??= setTimeout(() => tellSuppressed((second + 1) * 1_000), 1_000).unref() // a flood that stops is told of too
    return true
  }

  function tellSuppressed(nowMs: number): void {
    clearTimeout(timer)
    timer = undefined
    if (suppressed === 0) return
    const line = JSON.stringify({ time: timeOf(nowMs), event: 'refusals-not-shown', count: suppressed })
    for (const file of files) file.write(line)
    suppressed = 0
  }

  return {
    record(entry) {
      const written = files.filter(
        (file) => (file === audit && isAudited(entry)) || (file === access && isAsked(entry)),
      )
      if (written.length === 0 || isOneTooMany(entry)) return
      const line = lineOf(entry)
      for (const file of written) file.write(line)
    },
    reopen() {
      for (const file of files) file.reopen()
    },
    get lost() {
      return files.reduce((sum, file) => sum + file.lost, 0)
    },
    async close() {
      tellSuppressed(second * 1_000)
      await Promise.all(files.map((file) => file.close()))
    },
  }
}

function isAudited({ event, method = '' }: AuditEntry): boolean {
  return event !== 'request' || !READS.includes(method)
}

/** A key that dies and a session that ends are no requests. */
function isAsked({ event }: AuditEntry): boolean {
  return event !== 'revocation' && event !== 'session-end'
}

function lineOf(entry: AuditEntry): string {
  return JSON.stringify({
    time: timeOf(entry.nowMs),
    event: entry.event,
    client: entry.client,
    key: entry.key?.keyId,
    label: entry.key?.label,
    method: entry.method === undefined ? undefined : methodOf(entry.method),
    path: entry.target === undefined ? undefined : pathOf(entry.target),
    status: entry.status,
    bytes: entry.bytes,
    ms: entry.durationMs === undefined ? undefined : Math.round(entry.durationMs * 10) / 10,
    reason: entry.reason,
  })
}

/** Over HTTP/2 a client writes what it likes. */
function methodOf(method: string): string {
  return /^[A-Z-]{1,32}$/.test(method) ? method : '(no method)'
}

/** Less the query, where a key may stand, and whatever looks like one in the path, encoded too; `user:password@` stands in no path. */
function pathOf(target: string): string {
  if (!target.startsWith('/')) return '(no path)'
  const path = target.split(/[?#]/, 1)[0]!.slice(0, 4 * MAX_PATH)
  return hidesSecret(path) ? '(a key)' : redact(path).slice(0, MAX_PATH)
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString()
}
