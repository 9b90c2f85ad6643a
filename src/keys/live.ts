import { setImmediate as nextTurn } from 'node:timers/promises'
import { ComfyAuthError } from '../errors.ts'
import { type Watch, type WatchOptions, watchFiles } from '../files/watch.ts'
import { type Digest, digestOf } from './digest.ts'
import { base62 } from './format.ts'
import { keyFault, readKeyFile } from './key-file.ts'
import { readKeyringInSteps } from './keyring.ts'
import { lesserRole, type Role } from './roles.ts'

/** A key as the proxy looks it up. */
export interface LiveKey {
  readonly id: string
  readonly label: string | undefined
  readonly role: Role
  readonly expiresMs: number | undefined
  readonly revoked: boolean
}

/** What messages call it instead of its path, as in `The key file`. */
export interface NamedFile {
  readonly path: string
  readonly name: string
}

export interface KeySources {
  readonly keyring: string | undefined
  readonly keyFiles: readonly NamedFile[]
  /** From --api-key and the environment. */
  readonly bareKeys: readonly string[]
}

export interface LiveHooks {
  /** Something the owner should read: a file that went bad, or that others may read. Each said once until it changes. */
  readonly warn?: (text: string) => void
  /** After each reload, with the number of live keys, and whether every source was read: one that is bad was not. */
  readonly reloaded?: (count: number, whole: boolean) => void
  readonly nowMs?: () => number
  readonly watch?: WatchOptions | false
}

/** All sources as one map from digest to key. Dead keys stay findable, so that they do not count as guesses (rule 4). */
export interface LiveKeys {
  find(digest: Digest): LiveKey | undefined
  findById(id: string): LiveKey | undefined
  /** Keys that open the door now. */
  readonly count: number
  /** Called once for each key that is revoked, expires or disappears. */
  onDeath(callback: (keyId: string) => void): void
  /** Reads all files again, now: what SIGHUP does. A file that has gone bad keeps its last good state. Never throws. */
  reload(): Promise<void>
  close(): void
}

interface Entry extends LiveKey {
  readonly digest: Digest
  /** `dropped`: named elsewhere still, once the keyring had dropped its record. */
  readonly from: 'keyring' | 'elsewhere' | 'dropped'
}

/** Keys gone from their file are remembered as dead: as many as this, the oldest go first. */
const MAX_GONE = 10_000
/** A clock that jumps is noticed within this. */
const TICK_MS = 1_000

/** A key without a record is known by its digest: the same id over restarts, and nothing of the key in it. */
export function idOfBareKey(digest: Digest): string {
  return base62(BigInt(`0x${digest}`) % 62n ** 12n, 12)
}

/** Not there at the start is an empty keyring; gone later is damage, and takes nobody's key away. */
function ringReader(path: string): Source['read'] {
  let wasThere = false
  return async () => {
    const { keys, exists, warnings } = await readKeyringInSteps(path, nextTurn)
    if (wasThere && !exists) {
      throw new ComfyAuthError('usage', 'The keyring is gone.', {
        remedy: 'Put it back, or revoke its keys by a restart.',
      })
    }
    wasThere = exists
    const entries = keys.map(({ id, label, role, expires, revoked, digest }) => ({
      id,
      label,
      role,
      expiresMs: expires?.getTime(),
      revoked: revoked !== undefined,
      digest,
      from: 'keyring' as const,
    }))
    return { entries, warnings }
  }
}

function bareEntries(keys: readonly string[]): Entry[] {
  return keys.map((key) => {
    const digest = digestOf(key)
    return {
      id: idOfBareKey(digest),
      label: undefined,
      role: 'admin',
      expiresMs: undefined,
      revoked: false,
      digest,
      from: 'elsewhere',
    }
  })
}

function fileEntries({ path, name }: NamedFile): Found {
  const { keys, exposed } = readKeyFile(path, name)
  return {
    entries: bareEntries(keys),
    warnings: exposed ? [`${name} can be read by other users: run \`chmod 600\` on it.`] : [],
  }
}

/** A fault of ours must not end a running serve either. */
const UNREADABLE = { message: 'A file of keys could not be read.', remedy: 'Look at its mode and owner.' }

interface Found {
  readonly entries: readonly Entry[]
  readonly warnings: readonly string[]
}

interface Source {
  readonly read: () => Found | Promise<Found>
  entries: readonly Entry[]
  /** Said already, until the file is good again or bad in another way. */
  said: string
}

interface Merged {
  readonly byDigest: Map<Digest, Entry>
  readonly byId: Map<string, Entry>
}

const DROPPED =
  'A key whose record has left the keyring still stands in a key file or among the bare keys. It stays dead until serve is started again, and would live again then, as admin: take it out there.'

/** Entries merged between two turns of the event loop: about 2 ms of work. */
const ENTRIES_A_TURN = 5_000

/** The keyring comes first: it may call a key dead that stands in a key file too, and holds its true id and label. */
async function merge(sources: readonly Source[]): Promise<Merged> {
  const byDigest = new Map<Digest, Entry>()
  const byId = new Map<string, Entry>()
  let merged = 0
  for (const { entries } of sources) {
    for (const entry of entries) {
      const known = byDigest.get(entry.digest)
      const one = known ? { ...known, role: lesserRole(known.role, entry.role) } : entry
      byDigest.set(one.digest, one)
      byId.set(one.id, one)
      if (++merged % ENTRIES_A_TURN === 0) await nextTurn()
    }
  }
  return { byDigest, byId }
}

function isDead(key: LiveKey, nowMs: number): boolean {
  return key.revoked || (key.expiresMs !== undefined && key.expiresMs <= nowMs)
}

/** Reads all sources once, throwing `usage` where one is bad, then follows them. */
export async function openLiveKeys(from: KeySources, hooks: LiveHooks = {}): Promise<LiveKeys> {
  const nowMs = hooks.nowMs ?? Date.now
  for (const key of from.bareKeys) {
    const fault = keyFault(key)
    if (fault) {
      throw new ComfyAuthError('usage', `A key from --api-key or the environment ${fault}.`, {
        remedy: 'Make one with `comfy-auth keygen`.',
      })
    }
  }

  const { keyring, keyFiles } = from
  const sources: Source[] = []
  const add = (read: Source['read']) => sources.push({ read, entries: [], said: '' })
  if (keyring !== undefined) add(ringReader(keyring))
  for (const file of keyFiles) add(() => fileEntries(file))
  add(() => ({ entries: bareEntries(from.bareKeys), warnings: [] }))

  let { byDigest, byId }: Merged = { byDigest: new Map(), byId: new Map() }
  const gone = new Map<Digest, Entry>()
  const goneById = new Map<string, Entry>()
  /** Deaths told, by id. */
  const told = new Set<string>()
  const listeners: ((keyId: string) => void)[] = []
  let running: Promise<unknown> = Promise.resolve()
  let waiting: Promise<void> | undefined
  let closed = false
  let watch: Watch | undefined
  let timer: NodeJS.Timeout | undefined
  let nextExpiryMs = Number.POSITIVE_INFINITY

  const readSource = async (source: Source, first: boolean): Promise<boolean> => {
    let said = ''
    let good = true
    try {
      const { entries, warnings } = await source.read()
      source.entries = entries
      said = warnings.join(' ')
    } catch (error) {
      if (first) throw error
      good = false
      const { message, remedy } = error instanceof ComfyAuthError ? error : UNREADABLE
      said = `${message} Its last good state stays in force. ${remedy}`
    }
    if (said !== '' && said !== source.said) hooks.warn?.(said)
    source.said = said
    return good
  }

  const bury = (entry: Entry) => {
    const dead = { ...entry, revoked: true }
    gone.set(entry.digest, dead)
    goneById.set(entry.id, dead)
    const [oldest] = gone
    if (gone.size > MAX_GONE && oldest) {
      gone.delete(oldest[0])
      goneById.delete(oldest[1].id)
    }
  }

  const tell = (keyId: string) => {
    if (told.has(keyId)) return
    told.add(keyId)
    for (const listener of listeners) listener(keyId)
  }

  /** Tells of each death since the last look, and when the next key expires. */
  const lookForDeaths = () => {
    const now = nowMs()
    nextExpiryMs = Number.POSITIVE_INFINITY
    for (const entry of byDigest.values()) {
      if (isDead(entry, now)) tell(entry.id)
      else {
        told.delete(entry.id) // its expiry was put off, or the clock went back
        if (entry.expiresMs !== undefined) nextExpiryMs = Math.min(nextExpiryMs, entry.expiresMs)
      }
    }
  }

  const arm = () => {
    clearTimeout(timer)
    if (nextExpiryMs === Number.POSITIVE_INFINITY) return
    const delayMs = Math.max(1, Math.min(TICK_MS, nextExpiryMs - nowMs()))
    timer = setTimeout(() => {
      if (nowMs() >= nextExpiryMs) lookForDeaths()
      arm()
    }, delayMs).unref()
  }

  /** Once dead, always dead: a record that leaves the keyring does not give its key back to another source that names it. */
  const keepDead = (merged: Merged) => {
    let isNew = false
    for (const { entries } of sources) {
      for (const { id, digest, from } of entries) {
        if (from === 'keyring' || merged.byDigest.get(digest)?.from !== 'elsewhere') continue
        const old = byDigest.get(digest) ?? gone.get(digest)
        if (!old || old.from === 'elsewhere') continue
        if (byDigest.get(digest)?.from !== 'dropped') isNew = true
        merged.byId.delete(id)
        const dead: Entry = { ...old, revoked: true, from: 'dropped' }
        merged.byDigest.set(digest, dead)
        merged.byId.set(dead.id, dead)
      }
    }
    if (isNew) hooks.warn?.(DROPPED)
  }

  const adopt = (merged: Merged, first: boolean) => {
    const before = byDigest
    keepDead(merged)
    ;({ byDigest, byId } = merged)
    for (const [digest, { id }] of gone) {
      if (!byDigest.has(digest)) continue
      gone.delete(digest) // it came back
      if (byId.has(id)) goneById.delete(id)
    }
    for (const entry of before.values()) {
      if (byId.has(entry.id)) continue // a key that moved from a file into the keyring has another id now
      bury(entry)
      tell(entry.id)
    }
    if (first) for (const entry of byDigest.values()) if (isDead(entry, nowMs())) told.add(entry.id)
    lookForDeaths()
    arm()
  }

  const readAll = async (first: boolean): Promise<boolean> => {
    let whole = true
    for (const source of sources) if (!(await readSource(source, first))) whole = false
    const merged = await merge(sources)
    if (!closed) adopt(merged, first)
    return whole
  }

  const live: LiveKeys = {
    find: (digest) => byDigest.get(digest) ?? gone.get(digest),
    findById: (id) => byId.get(id) ?? goneById.get(id),
    get count() {
      const now = nowMs()
      let count = 0
      for (const entry of byDigest.values()) if (!isDead(entry, now)) count++
      return count
    },
    onDeath: (callback) => listeners.push(callback),
    reload() {
      // A change that comes during a reading is seen by the next one; more than one need not wait.
      waiting ??= running.then(async () => {
        waiting = undefined
        const reading = readAll(false)
        running = reading.catch(() => {})
        const whole = await reading
        if (!closed) hooks.reloaded?.(live.count, whole)
      })
      return waiting
    },
    close() {
      closed = true
      watch?.close()
      clearTimeout(timer)
    },
  }

  const files = [...(keyring === undefined ? [] : [keyring]), ...keyFiles.map(({ path }) => path)]
  if (hooks.watch !== false && files.length > 0) watch = watchFiles(files, () => live.reload(), hooks.watch)
  try {
    const first = readAll(true) // after the watch began: no change falls between
    running = first.catch(() => {})
    await first
  } catch (error) {
    live.close()
    throw error
  }
  return live
}
