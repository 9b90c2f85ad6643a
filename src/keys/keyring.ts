import { readdirSync, unlinkSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { ComfyAuthError } from '../errors.ts'
import { ensureDir } from '../files/home.ts'
import { withLock } from '../files/lock.ts'
import { isLeftover, readPrivate, writePrivate } from '../files/private.ts'
import type { Digest } from './digest.ts'
import { ROLES, type Role } from './roles.ts'

export const KEYRING_VERSION = 1
/** 100,000 records are 25 MiB. */
const MAX_BYTES = 64 * 2 ** 20
/** The part of it that is kept free of new records, so that those of a full keyring can still be revoked. */
const ROOM = 1 / 64
const NAME = 'The keyring'

/** All that is kept of a key; the key itself never is. */
export interface KeyRecord {
  /** 12 characters of base62. */
  readonly id: string
  readonly label: string | undefined
  readonly role: Role
  readonly created: Date
  readonly expires: Date | undefined
  readonly revoked: Date | undefined
  /** The id of the key that a rotation made in its place. */
  readonly replacedBy: string | undefined
  readonly digest: Digest
}

export interface Keyring {
  readonly keys: readonly KeyRecord[]
  readonly exists: boolean
  /** What the owner should be told: modes that let others in. */
  readonly warnings: readonly string[]
}

/** A field that is wrong. */
function broken(what: string): ComfyAuthError {
  const remedy = 'Mend that field or restore the file from a copy; nothing was changed.'
  return new ComfyAuthError('usage', `${NAME}: ${what}`, { remedy })
}

/** Text that is no keyring at all: there is no field to mend. */
function unreadable(what: string, cause?: unknown): ComfyAuthError {
  const remedy = 'Restore the file from a copy, or name another keyring; nothing was changed.'
  return new ComfyAuthError('usage', `${NAME} ${what}`, cause === undefined ? { remedy } : { remedy, cause })
}

type Fields = Readonly<Record<string, unknown>>

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The last moment that a record can hold: later years have more than four digits. */
export const LAST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999)

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$/

function date(value: unknown, where: string): Date {
  const read = typeof value === 'string' && ISO.test(value) ? new Date(value) : undefined
  if (!read || Number.isNaN(read.getTime())) throw broken(`${where} is not a date such as 2027-01-31T00:00:00.000Z.`)
  return read
}

function optional<T>(value: unknown, where: string, read: (value: unknown, where: string) => T): T | undefined {
  return value === undefined || value === null ? undefined : read(value, where)
}

const ID = /^[0-9A-Za-z]{12}$/

function id(value: unknown, where: string): string {
  if (typeof value !== 'string' || !ID.test(value)) throw broken(`${where} is not 12 letters and digits.`)
  return value
}

/** A label is shown in tables and logs: one line, nothing that moves a cursor, not too long to read. */
export function isLabel(text: string): boolean {
  return text.length > 0 && text.length <= 64 && text === text.trim() && !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(text)
}

function label(value: unknown, where: string): string {
  if (typeof value !== 'string' || !isLabel(value))
    throw broken(`${where} is not a text of 1 to 64 characters in one line.`)
  return value
}

function role(value: unknown, where: string): Role {
  const found = ROLES.find((known) => known === value)
  if (!found) throw broken(`${where} is not one of ${ROLES.join(', ')}.`)
  return found
}

function digest(value: unknown, where: string): Digest {
  if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value))
    throw broken(`${where} is not a SHA-256 in lower-case hex.`)
  return value as Digest
}

const KNOWN = new Set(['id', 'label', 'role', 'created', 'expires', 'revoked', 'replacedBy', 'sha256'])

function record(value: unknown, where: string): KeyRecord {
  if (!isObject(value)) throw broken(`${where} is not an object.`)
  // Not named in the message: a key written there by hand would be repeated.
  if (Object.keys(value).some((name) => !KNOWN.has(name)))
    throw broken(`${where} has a field that this version does not know.`)
  return {
    id: id(value.id, `${where}.id`),
    label: optional(value.label, `${where}.label`, label),
    role: role(value.role, `${where}.role`),
    created: date(value.created, `${where}.created`),
    expires: optional(value.expires, `${where}.expires`, date),
    revoked: optional(value.revoked, `${where}.revoked`, date),
    replacedBy: optional(value.replacedBy, `${where}.replacedBy`, id),
    digest: digest(value.sha256, `${where}.sha256`),
  }
}

/** Checks one value after another of the list. */
function recordReader(): (value: unknown, index: number) => KeyRecord {
  const ids = new Set<string>()
  const digests = new Set<string>()
  return (value, index) => {
    const read = record(value, `keys[${index}]`)
    if (ids.has(read.id)) throw broken(`keys[${index}].id stands twice.`)
    if (digests.has(read.digest)) throw broken(`keys[${index}].sha256 stands twice.`)
    ids.add(read.id)
    digests.add(read.digest)
    return read
  }
}

function listOf(text: string): readonly unknown[] {
  if (text.trim() === '') throw unreadable('is an empty file.')
  let json: unknown
  try {
    json = JSON.parse(text.replace(/^\ufeff/, ''))
  } catch (error) {
    throw unreadable('is not JSON, or was cut short.', error)
  }
  if (!isObject(json)) throw unreadable('is not a JSON object.')
  const { version, keys } = json
  if (typeof version !== 'number' || !Number.isInteger(version) || version < 1)
    throw broken('version is not a whole number.')
  if (version > KEYRING_VERSION) {
    throw new ComfyAuthError('usage', `${NAME} has version ${version}; this comfy-auth knows ${KEYRING_VERSION}.`, {
      remedy: 'Update comfy-auth: a newer one wrote this file, which was left as it is.',
    })
  }
  if (!Array.isArray(keys)) throw broken('keys is not a list.')
  return keys
}

const HEAD = `{\n  "version": ${KEYRING_VERSION},\n  "keys": [\n`
const BETWEEN = ',\n'
const TAIL = '\n  ]\n}\n'
/** About 2 ms of work. */
const RECORDS_A_STEP = 500

function* parseEach(pieces: readonly string[]): Generator<unknown> {
  for (const piece of pieces) yield JSON.parse(piece)
}

/** Pauses every RECORDS_A_STEP records. */
function* checkEach(values: Iterable<unknown>): Generator<undefined, KeyRecord[]> {
  const read = recordReader()
  const keys: KeyRecord[] = []
  for (const value of values) {
    keys.push(read(value, keys.length))
    if (keys.length % RECORDS_A_STEP === 0) yield
  }
  return keys
}

/**
 * What formatKeyring wrote is parsed a record at a time, so that no step is long: where the text between HEAD and TAIL, cut
 * at each BETWEEN, is JSON in every piece, the pieces are the list. Any other text is parsed in one step.
 */
function* parseSteps(text: string): Generator<undefined, KeyRecord[]> {
  if (text.startsWith(HEAD) && text.endsWith(TAIL)) {
    try {
      return yield* checkEach(parseEach(text.slice(HEAD.length, -TAIL.length).split(BETWEEN)))
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
    }
  }
  return yield* checkEach(listOf(text))
}

function finish<T>(steps: Generator<undefined, T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

/** Reads a keyring's text, field by field; throws `usage` that names the first field which is wrong, never its value. */
export function parseKeyring(text: string): KeyRecord[] {
  return finish(parseSteps(text))
}

/** The text parseKeyring reads: a record a line, so that a person can read it and a diff is short. */
export function formatKeyring(keys: readonly KeyRecord[]): string {
  const lines = keys.map(({ id, label, role, created, expires, revoked, replacedBy, digest: sha256 }) => {
    return `    ${JSON.stringify({ id, label, role, created, expires, revoked, replacedBy, sha256 })}`
  })
  const list = lines.length === 0 ? '[]' : `[\n${lines.join(',\n')}\n  ]`
  return `{\n  "version": ${KEYRING_VERSION},\n  "keys": ${list}\n}\n`
}

function* readSteps(path: string): Generator<undefined, Keyring> {
  const file = readPrivate(path, { name: NAME, maxBytes: MAX_BYTES, ownOnly: true })
  if (!file) return { keys: [], exists: false, warnings: [] }
  const keys = yield* parseSteps(file.text)
  const others = (file.mode & 0o022) !== 0 ? 'write' : (file.mode & 0o044) !== 0 ? 'read' : undefined
  const warnings = others ? [`Other users may ${others} the keyring: run \`chmod 600\` on it.`] : []
  return { keys, exists: true, warnings }
}

/** A keyring that does not exist holds no key. Any other trouble throws `usage`. */
export function readKeyring(path: string): Keyring {
  return finish(readSteps(path))
}

/** As readKeyring, with a `pause` every few milliseconds: 100,000 records must not hold up the requests of a running serve. */
export async function readKeyringInSteps(path: string, pause: () => Promise<unknown>): Promise<Keyring> {
  const steps = readSteps(path)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    await pause()
  }
}

/** The file that whoever changes this keyring locks. */
export function lockOf(path: string): string {
  return `${path.replace(/\.json$/, '')}.lock`
}

/** What a killed writer left; nobody else writes while we hold the lock. */
function sweep(path: string): void {
  for (const entry of readdirSync(dirname(path))) {
    if (isLeftover(entry, path)) unlinkSync(join(dirname(path), entry))
  }
}

/** The text of `keys` in place of `before`. Throws `usage` where readKeyring would refuse it or read something else. */
export function readableText(keys: readonly KeyRecord[], before: readonly KeyRecord[], maxBytes = MAX_BYTES): string {
  const text = formatKeyring(keys)
  if (Buffer.byteLength(text) > (keys.length > before.length ? maxBytes * (1 - ROOM) : maxBytes)) {
    throw new ComfyAuthError('usage', `${NAME} would be longer than the ${maxBytes / 2 ** 20} MiB it may be.`, {
      remedy: 'Nothing was changed. Drop dead keys (`comfy-auth keys prune`), or use another keyring.',
    })
  }
  let cause: unknown
  try {
    if (formatKeyring(parseKeyring(text)) === text) return text
  } catch (error) {
    cause = error
  }
  throw new ComfyAuthError('usage', `${NAME} would hold what cannot be read again, such as a date after 9999.`, {
    remedy: 'Nothing was changed. Choose nearer dates.',
    cause,
  })
}

/**
 * Changes the keyring under its lock: `change` gets what stands in the file now and returns what shall, or the same list
 * for no change. Concurrent writers in any number of processes lose no record; a file that cannot be read is never written,
 * neither over nor anew.
 */
export async function changeKeyring<T>(
  path: string,
  change: (keys: readonly KeyRecord[]) => { readonly keys: readonly KeyRecord[]; readonly result: T },
): Promise<T> {
  const file = resolve(path)
  if (basename(file) === '') throw new ComfyAuthError('usage', `${NAME} is a folder.`, { remedy: 'Name a file in it.' })
  ensureDir(dirname(file))
  return await withLock(lockOf(file), () => {
    sweep(file)
    const before = readKeyring(file).keys
    const { keys, result } = change(before)
    if (keys !== before) writePrivate(file, readableText(keys, before), { overwrite: true, name: NAME })
    return result
  })
}
