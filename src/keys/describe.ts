import type { KeyRecord } from './keyring.ts'
import { type KeyState, stateOf } from './lifecycle.ts'
import type { Role } from './roles.ts'

/** A record as `--json` prints it: dates in ISO 8601, null where there is nothing. Never the digest: a weak key's could be guessed from it. */
export interface KeyDescription {
  readonly id: string
  readonly label: string | null
  readonly role: Role
  readonly state: KeyState
  readonly created: string
  readonly expires: string | null
  readonly revoked: string | null
  readonly replacedBy: string | null
  readonly lastUsed: string | null
}

export function describeKey(record: KeyRecord, now: Date, lastUsedMs?: number): KeyDescription {
  return {
    id: record.id,
    label: record.label ?? null,
    role: record.role,
    state: stateOf(record, now),
    created: record.created.toISOString(),
    expires: record.expires?.toISOString() ?? null,
    revoked: record.revoked?.toISOString() ?? null,
    replacedBy: record.replacedBy ?? null,
    lastUsed: lastUsedMs === undefined ? null : new Date(lastUsedMs).toISOString(),
  }
}
