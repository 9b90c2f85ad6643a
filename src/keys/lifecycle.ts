import { customAlphabet } from 'nanoid'
import { ComfyAuthError } from '../errors.ts'
import { type Digest, digestOf } from './digest.ts'
import { holdsKey, makeKey, parseKey } from './format.ts'
import { changeKeyring, isLabel, type KeyRecord, LAST_MS } from './keyring.ts'
import { outWarnings, recordKey, replace, stageOut } from './record-key.ts'
import type { Role } from './roles.ts'

/** Base62, so that no id begins with `-` and is read as a flag. */
export const makeId = customAlphabet('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz', 12)

export type KeyState = 'live' | 'expired' | 'revoked'

export function stateOf(record: Pick<KeyRecord, 'expires' | 'revoked'>, now: Date): KeyState {
  if (record.revoked) return 'revoked'
  return record.expires && record.expires <= now ? 'expired' : 'live'
}

function isLive(record: KeyRecord, now: Date): boolean {
  return stateOf(record, now) === 'live'
}

/** Somebody must be able to do everything; who comes after is given less unless told otherwise. */
function defaultRole(keys: readonly KeyRecord[], now: Date): Role {
  return keys.some((record) => record.role === 'admin' && isLive(record, now)) ? 'user' : 'admin'
}

export interface Clockwork {
  readonly now: () => Date
  readonly random?: (bytes: number) => Uint8Array
}

const CLOCK: Clockwork = { now: () => new Date() }

export interface CreatedKey {
  readonly id: string | undefined
  readonly label: string | undefined
  readonly role: Role
  readonly expires: Date | undefined
  /** The secret; the one time it is to be had. */
  readonly key: string
  /** The file it was written to. */
  readonly path: string | undefined
  readonly warnings: readonly string[]
}

export interface NewKey {
  readonly label?: string | undefined
  /** Left out: admin while the keyring holds no live admin, else user. */
  readonly role?: Role | undefined
  readonly expires?: Date | undefined
  /** Write the key there, 0600, besides returning it. */
  readonly out?: string | undefined
  readonly overwrite?: boolean | undefined
  /** Undefined: record it nowhere. */
  readonly keyring: string | undefined
}

function checkLabel(label: string | undefined): void {
  if (label === undefined) return
  if (holdsKey(label)) throw labelIsKey()
  if (isLabel(label)) return
  throw new ComfyAuthError(
    'usage',
    'The label is not a text of 1 to 64 characters in one line, without blanks around it.',
    {
      remedy: 'Give a short name, as in --label ci.',
    },
  )
}

function labelIsKey(): ComfyAuthError {
  return new ComfyAuthError('usage', 'The label holds a key.', {
    remedy: 'Logs and lists show labels: name who holds the key, as in --label ci.',
  })
}

/** Neither a key of the keyring, nor another live key's label. */
function checkLabelIsFree(label: string | undefined, keys: readonly KeyRecord[], now: Date): void {
  if (label === undefined) return
  const digest = digestOf(label)
  if (keys.some((record) => record.digest === digest)) throw labelIsKey()
  if (!keys.some((record) => record.label === label && isLive(record, now))) return
  throw new ComfyAuthError('usage', 'A live key has this label already.', {
    remedy: 'Choose another label, or revoke that key first: `comfy-auth keys revoke LABEL`.',
  })
}

function checkExpiry(expires: Date | undefined, now: Date): void {
  if (!expires || expires > now) return
  throw new ComfyAuthError('usage', 'The expiry lies in the past: the key would be dead at once.', {
    remedy: 'Give a duration such as --expires 90d, or a later date.',
  })
}

/** Makes a key, records its digest, and writes it to `out` where that is given. A keyring that cannot be written makes no key. */
export async function createKey(wanted: NewKey, clock: Clockwork = CLOCK): Promise<CreatedKey> {
  const { label, expires, out, keyring } = wanted
  checkLabel(label)
  checkExpiry(expires, clock.now())
  const key = makeKey(clock.random)
  if (keyring === undefined) {
    stageOut(wanted, key, undefined)?.place()
    const role = wanted.role ?? 'admin'
    return { id: undefined, label, role, expires, key, path: out, warnings: outWarnings(out) }
  }
  const made = await recordKey(keyring, wanted, key, (keys) => {
    const now = clock.now()
    checkLabelIsFree(label, keys, now)
    const role = wanted.role ?? defaultRole(keys, now)
    const id = makeId()
    const record: KeyRecord = {
      id,
      label,
      role,
      created: now,
      expires,
      revoked: undefined,
      replacedBy: undefined,
      digest: digestOf(key),
    }
    return { keys: [...keys, record], result: { id, label, role, expires, key, path: out } }
  })
  return { ...made, warnings: outWarnings(out) }
}

/** The one record with this id, or else the live one with this label; where only dead ones have the label, the newest. Throws `usage` where several live ones have it. */
export function findRecord(keys: readonly KeyRecord[], name: string, now: Date): KeyRecord {
  const byId = keys.find((record) => record.id === name)
  if (byId) return byId
  const labelled = keys.filter((record) => record.label === name)
  const [live, another] = labelled.filter((record) => isLive(record, now))
  if (another) {
    throw new ComfyAuthError('usage', 'Several live keys have this label.', {
      remedy: 'Name the key by its id: `comfy-auth keys list` shows it.',
    })
  }
  const found = live ?? labelled.at(-1)
  if (found) return found
  throw new ComfyAuthError('usage', 'No key in the keyring has this id or label.', {
    remedy: 'See them all: `comfy-auth keys list`.',
  })
}

export interface RevokedKey {
  readonly record: KeyRecord
  /** It was revoked before, and nothing was changed. */
  readonly already: boolean
  /** Live admin keys that remain. */
  readonly adminsLeft: number
  /** The keys that rotations replaced by this one, and that are still live. */
  readonly predecessors: readonly KeyRecord[]
}

/** Those that `id` took the place of, and those that these did. */
function livePredecessors(keys: readonly KeyRecord[], id: string, now: Date): KeyRecord[] {
  const before = new Map(keys.map((record) => [record.id, record.replacedBy]))
  return keys.filter((record) => {
    if (!isLive(record, now)) return false
    const seen = new Set<string>() // a keyring that a person edited may have a circle
    let next = record.replacedBy
    for (; next !== undefined && next !== id && !seen.has(next); next = before.get(next)) seen.add(next)
    return next === id && record.id !== id
  })
}

/** Revokes for good. A second time changes nothing. */
export async function revokeKey(keyring: string, name: string, clock: Clockwork = CLOCK): Promise<RevokedKey> {
  return await changeKeyring(keyring, (keys) => {
    const now = clock.now()
    const record = findRecord(keys, name, now)
    const already = record.revoked !== undefined
    const revoked = already ? record : { ...record, revoked: now }
    const after = already ? keys : replace(keys, revoked)
    const adminsLeft = after.filter((each) => each.role === 'admin' && isLive(each, now)).length
    const predecessors = livePredecessors(after, record.id, now)
    return { keys: after, result: { record: revoked, already, adminsLeft, predecessors } }
  })
}

export interface Rotation {
  readonly name: string
  /** How long the old key lives on; 0 ends it at once. */
  readonly graceMs: number
  /** Left out: the new key lives as long as the old one was given. */
  readonly expires?: Date | undefined
  readonly out?: string | undefined
  readonly overwrite?: boolean | undefined
}

export interface RotatedKey extends CreatedKey {
  readonly id: string
  readonly replaces: string
  /** Its record as it was. */
  readonly replaced: KeyRecord
  readonly oldExpires: Date
}

/**
 * A new key of the same role takes the label over; the old one keeps none, names its successor and dies after the grace
 * time, or at its own expiry where that is nearer. A dead key cannot be rotated.
 */
export async function rotateKey(keyring: string, wanted: Rotation, clock: Clockwork = CLOCK): Promise<RotatedKey> {
  checkExpiry(wanted.expires, clock.now())
  const key = makeKey(clock.random)
  const rotated = await recordKey(keyring, wanted, key, (keys) => {
    const now = clock.now()
    const old = findRecord(keys, wanted.name, now)
    if (!isLive(old, now) || old.replacedBy !== undefined) {
      throw new ComfyAuthError('usage', old.replacedBy ? 'This key has been rotated already.' : 'This key is dead.', {
        remedy: old.replacedBy
          ? `Rotate its successor: \`comfy-auth keys rotate ${old.replacedBy}\`.`
          : 'Make a new one: `comfy-auth keygen`.',
      })
    }
    const graceEnd = new Date(now.getTime() + wanted.graceMs)
    const oldExpires = old.expires && old.expires < graceEnd ? old.expires : graceEnd
    const id = makeId()
    const { label, role } = old
    const sameLifetime =
      old.expires && new Date(Math.min(LAST_MS, now.getTime() + old.expires.getTime() - old.created.getTime()))
    const expires = wanted.expires ?? sameLifetime
    const fresh: KeyRecord = { ...old, id, created: now, expires, digest: digestOf(key) }
    const retired: KeyRecord = { ...old, label: undefined, expires: oldExpires, replacedBy: id }
    const result = {
      id,
      label,
      role,
      expires,
      key,
      path: wanted.out,
      replaces: old.id,
      replaced: old,
      oldExpires,
    }
    return { keys: [...replace(keys, retired), fresh], result }
  })
  return { ...rotated, warnings: outWarnings(wanted.out) }
}

export interface ImportedKeys {
  readonly added: readonly KeyRecord[]
  /** What the keyring held already of the file's keys, as it was and is. */
  readonly known: readonly KeyRecord[]
}

export interface Import {
  /** What parseKeyFile or readKeyFile found. */
  readonly found: readonly string[]
  /** As for createKey, key by key: admin while the keyring holds no live admin, else user. */
  readonly role?: Role | undefined
  /** Of one key; several get it with a number behind. */
  readonly label?: string | undefined
  readonly expires?: Date | undefined
}

/** Records the keys of a guide-style file. Those that the keyring knows stay as they are, dead ones too. */
export async function importKeys(keyring: string, wanted: Import, clock: Clockwork = CLOCK): Promise<ImportedKeys> {
  checkLabel(wanted.label)
  if (wanted.found.some((key) => wanted.label?.includes(key))) throw labelIsKey()
  checkExpiry(wanted.expires, clock.now())
  return await changeKeyring(keyring, (keys) => {
    const now = clock.now()
    const { found, expires } = wanted
    const first = wanted.role ?? defaultRole(keys, now)
    const byDigest = new Map<Digest, KeyRecord>(keys.map((record) => [record.digest, record]))
    const digests = found.map(digestOf)
    const known = digests.map((digest) => byDigest.get(digest)).filter((record) => record !== undefined)
    const fresh = digests.filter((digest) => !byDigest.has(digest))
    const added = fresh.map((digest, index): KeyRecord => {
      const label = wanted.label === undefined || fresh.length === 1 ? wanted.label : `${wanted.label}-${index + 1}`
      const role = index === 0 ? first : (wanted.role ?? 'user')
      checkLabel(label)
      checkLabelIsFree(label, keys, now)
      return { id: makeId(), label, role, created: now, expires, revoked: undefined, replacedBy: undefined, digest }
    })
    const result = { added, known }
    return { keys: added.length === 0 ? keys : [...keys, ...added], result }
  })
}

/** Drops the records of expired and revoked keys, and tells which; `dryRun` only tells. */
export async function pruneKeys(
  keyring: string,
  { dryRun }: { readonly dryRun: boolean },
  clock: Clockwork = CLOCK,
): Promise<readonly KeyRecord[]> {
  return await changeKeyring(keyring, (keys) => {
    const now = clock.now()
    const dead = keys.filter((record) => !isLive(record, now))
    return { keys: dryRun || dead.length === 0 ? keys : keys.filter((record) => isLive(record, now)), result: dead }
  })
}

export type Verified =
  | { readonly kind: 'live'; readonly record: KeyRecord }
  | { readonly kind: 'dead'; readonly record: KeyRecord; readonly state: 'expired' | 'revoked' }
  | { readonly kind: 'bad-checksum' }
  | { readonly kind: 'unknown' }

/** A typo is told from a key that is not known here by its checksum. Free-form keys have none. */
export function verifyKey(key: string, keys: readonly KeyRecord[], now: Date): Verified {
  const digest = digestOf(key)
  const record = keys.find((each) => each.digest === digest)
  if (!record) return parseKey(key).kind === 'bad-checksum' ? { kind: 'bad-checksum' } : { kind: 'unknown' }
  const state = stateOf(record, now)
  return state === 'live' ? { kind: 'live', record } : { kind: 'dead', record, state }
}
