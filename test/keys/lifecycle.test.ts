import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { digestOf } from '../../src/keys/digest.ts'
import { makeKey, parseKey } from '../../src/keys/format.ts'
import { readKeyring } from '../../src/keys/keyring.ts'
import {
  createKey,
  findRecord,
  importKeys,
  makeId,
  pruneKeys,
  revokeKey,
  rotateKey,
  stateOf,
  verifyKey,
} from '../../src/keys/lifecycle.ts'
import { temporaryFolder } from '../support/cli.ts'
import { interceptFs, systemError } from '../support/fs-calls.ts'

const NOON = new Date('2026-11-24T12:00:00Z')
const at = (date: Date) => ({ now: () => date })
const later = (ms: number) => new Date(NOON.getTime() + ms)
const HOUR = 3_600_000

const ring = () => join(temporaryFolder(), 'keyring.json')
const records = (keyring: string) => readKeyring(keyring).keys

test('the keyring gets the digest of a new key and never the key', async () => {
  const keyring = ring()
  const made = await createKey({ keyring, label: 'ci', role: 'viewer', expires: later(HOUR) }, at(NOON))
  expect(parseKey(made.key)).toEqual({ kind: 'ok' })
  expect(records(keyring)).toEqual([
    {
      id: made.id,
      label: 'ci',
      role: 'viewer',
      created: NOON,
      expires: later(HOUR),
      revoked: undefined,
      replacedBy: undefined,
      digest: digestOf(made.key),
    },
  ])
  expect(readFileSync(keyring, 'utf8')).not.toContain(made.key.slice(6, 30))
})

test('the first key is an admin, later ones are users, and an admin again when no live one is left', async () => {
  const keyring = ring()
  const first = await createKey({ keyring })
  expect(first.role).toBe('admin')
  expect((await createKey({ keyring })).role).toBe('user')
  await revokeKey(keyring, first.id!)
  expect((await createKey({ keyring })).role).toBe('admin')
})

test('ids never begin with a dash and do not repeat', () => {
  const ids = Array.from({ length: 2_000 }, () => makeId())
  expect(ids.every((id) => /^[0-9A-Za-z]{12}$/.test(id))).toBe(true)
  expect(new Set(ids).size).toBe(ids.length)
})

test('a label is unique among live keys, and free again when its key is dead', async () => {
  const keyring = ring()
  await createKey({ keyring, label: 'ci' })
  await expect(createKey({ keyring, label: 'ci' })).rejects.toThrow('A live key has this label already.')
  await revokeKey(keyring, 'ci')
  await createKey({ keyring, label: 'ci' })
  expect(records(keyring)).toHaveLength(2)
})

test.each(['', ' ci', 'two\nlines', '\u001b[31mred', 'x'.repeat(65), 'rtl\u202e'])(
  'the label %j is refused',
  async (label) => {
    await expect(createKey({ keyring: ring(), label })).rejects.toThrow('The label is not a text of 1 to 64 characters')
  },
)

test('an expiry in the past makes no key', async () => {
  const keyring = ring()
  await expect(createKey({ keyring, expires: NOON }, at(NOON))).rejects.toThrow('The expiry lies in the past')
  expect(existsSync(keyring)).toBe(false)
})

test('the output file is the key and a newline, 0600; one that is there leaves the keyring as it was', async () => {
  const keyring = ring()
  const out = join(temporaryFolder(), 'ci.key')
  const made = await createKey({ keyring, out })
  expect(readFileSync(out, 'utf8')).toBe(`${made.key}\n`)
  expect(statSync(out).mode & 0o777).toBe(0o600)
  await expect(createKey({ keyring, out })).rejects.toThrow('The output file exists already.')
  expect(records(keyring)).toHaveLength(1)
  expect(readFileSync(out, 'utf8')).toBe(`${made.key}\n`)
  await createKey({ keyring, out, overwrite: true })
  expect(records(keyring)).toHaveLength(2)
})

test('a folder of the output file that others can write is warned about', async () => {
  const folder = temporaryFolder()
  chmodSync(folder, 0o777)
  const made = await createKey({ keyring: undefined, out: join(folder, 'ci.key') })
  expect(made.warnings).toEqual([expect.stringContaining('Other users may write the folder')])
})

test('a record is found by id first, then by the label of a live key, then of the newest dead one', async () => {
  const keyring = ring()
  const dead = await createKey({ keyring, label: 'ci' })
  await revokeKey(keyring, 'ci')
  expect(findRecord(records(keyring), 'ci', NOON).id).toBe(dead.id)
  const live = await createKey({ keyring, label: 'ci' })
  expect(findRecord(records(keyring), 'ci', new Date()).id).toBe(live.id)
  expect(findRecord(records(keyring), dead.id!, NOON).id).toBe(dead.id)
  expect(() => findRecord(records(keyring), 'nobody', NOON)).toThrow('No key in the keyring has this id or label.')
})

test('a label of two live keys names neither', async () => {
  const keyring = ring()
  await createKey({ keyring, label: 'ci' })
  const other = await createKey({ keyring, label: 'lab' })
  writeFileSync(keyring, readFileSync(keyring, 'utf8').replace('"lab"', '"ci"'))
  const refusal = {
    kind: 'usage',
    message: 'Several live keys have this label.',
    remedy: expect.stringContaining('by its id'),
  }
  expect(() => findRecord(records(keyring), 'ci', new Date())).toThrow(expect.objectContaining(refusal))
  await expect(revokeKey(keyring, 'ci')).rejects.toMatchObject(refusal)
  await expect(rotateKey(keyring, { name: 'ci', graceMs: 0 })).rejects.toMatchObject(refusal)
  await revokeKey(keyring, other.id!)
  expect(findRecord(records(keyring), 'ci', new Date()).id).not.toBe(other.id)
})

test('revoking twice keeps the first date', async () => {
  const keyring = ring()
  const { id } = await createKey({ keyring }, at(NOON))
  expect(await revokeKey(keyring, id!, at(NOON))).toMatchObject({ already: false, adminsLeft: 0 })
  expect(await revokeKey(keyring, id!, at(later(HOUR)))).toMatchObject({ already: true })
  expect(records(keyring)[0]!.revoked).toEqual(NOON)
})

test('rotation: the new key takes the label, the old one has none, names its successor and lives for the grace time', async () => {
  const keyring = ring()
  const old = await createKey({ keyring, label: 'ci', role: 'viewer' }, at(NOON))
  const fresh = await rotateKey(keyring, { name: 'ci', graceMs: HOUR }, at(NOON))
  const [was, is] = records(keyring)
  expect(was).toMatchObject({ id: old.id, label: undefined, replacedBy: fresh.id, expires: later(HOUR) })
  expect(is).toMatchObject({ id: fresh.id, label: 'ci', role: 'viewer', expires: undefined, replacedBy: undefined })
  expect(fresh).toMatchObject({ replaces: old.id, oldExpires: later(HOUR) })
  expect(stateOf(was!, later(HOUR - 1))).toBe('live')
  expect(stateOf(was!, later(HOUR))).toBe('expired')
})

test('rotation keeps the lifetime a key was given, and never lengthens the old one', async () => {
  const keyring = ring()
  const old = await createKey({ keyring, label: 'ci', expires: later(2 * HOUR) }, at(NOON))
  const fresh = await rotateKey(keyring, { name: old.id!, graceMs: 24 * HOUR }, at(later(HOUR)))
  expect(fresh.oldExpires).toEqual(later(2 * HOUR))
  expect(fresh.expires).toEqual(later(3 * HOUR))
})

test('a dead key and one rotated before cannot be rotated; the successor is named', async () => {
  const keyring = ring()
  const old = await createKey({ keyring, label: 'ci' })
  const fresh = await rotateKey(keyring, { name: 'ci', graceMs: HOUR })
  await expect(rotateKey(keyring, { name: old.id!, graceMs: 0 })).rejects.toMatchObject({
    message: 'This key has been rotated already.',
    remedy: expect.stringContaining(fresh.id),
  })
  await revokeKey(keyring, 'ci')
  await expect(rotateKey(keyring, { name: 'ci', graceMs: 0 })).rejects.toThrow('This key is dead.')
})

test('import takes what is new, numbers the labels of several, and leaves dead keys dead', async () => {
  const keyring = ring()
  expect((await importKeys(keyring, { found: ['first-secret'], label: 'lab' })).added).toMatchObject([
    { label: 'lab', role: 'admin' },
  ])
  await revokeKey(keyring, 'lab')
  const found = ['first-secret', 'second-secret', 'third-secret']
  const { added, known } = await importKeys(keyring, { found, role: 'viewer', label: 'guest' })
  expect(added.map((record) => [record.label, record.role])).toEqual([
    ['guest-1', 'viewer'],
    ['guest-2', 'viewer'],
  ])
  expect(known).toMatchObject([{ label: 'lab', role: 'admin' }])
  expect(verifyKey('first-secret', records(keyring), new Date())).toMatchObject({ kind: 'dead', state: 'revoked' })
})

test('import makes one admin where no live one is, and the rest users', async () => {
  const keyring = ring()
  const { added } = await importKeys(keyring, { found: ['first-secret', 'second-secret', 'third-secret'] })
  expect(added.map(({ role }) => role)).toEqual(['admin', 'user', 'user'])
  expect((await importKeys(keyring, { found: ['fourth-secret'] })).added).toMatchObject([{ role: 'user' }])
})

test('a label that holds a key is refused without it, and nothing is recorded', async () => {
  const keyring = ring()
  const key = makeKey()
  const refused = async (made: Promise<unknown>) => {
    const error = await made.then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toMatchObject({ kind: 'usage', message: 'The label holds a key.' })
    expect(String(error)).not.toMatch(/secret|comfy_/)
  }
  await refused(createKey({ keyring, label: key }))
  await refused(createKey({ keyring, label: `my ${key.slice(0, -3)}` }))
  await refused(createKey({ keyring: undefined, label: key }))
  await refused(importKeys(keyring, { found: ['first-secret'], label: 'first-secret' }))
  await refused(importKeys(keyring, { found: ['first-secret', 'second-secret'], label: 'a second-secret' }))
  expect(existsSync(keyring)).toBe(false)
  await importKeys(keyring, { found: ['first-secret'] })
  await refused(createKey({ keyring, label: 'first-secret' }))
  await refused(importKeys(keyring, { found: ['second-secret'], label: 'first-secret' }))
  expect(records(keyring)).toHaveLength(1)
  await createKey({ keyring, label: 'comfy_box' })
})

test('prune drops the dead alone, and a dry run nothing', async () => {
  const keyring = ring()
  const live = await createKey({ keyring }, at(NOON))
  const expired = await createKey({ keyring, expires: later(1) }, at(NOON))
  const revoked = await createKey({ keyring }, at(NOON))
  await revokeKey(keyring, revoked.id!)
  const dead = await pruneKeys(keyring, { dryRun: true }, at(later(2)))
  expect(dead.map((record) => record.id)).toEqual([expired.id, revoked.id])
  expect(records(keyring)).toHaveLength(3)
  await pruneKeys(keyring, { dryRun: false }, at(later(2)))
  expect(records(keyring).map((record) => record.id)).toEqual([live.id])
})

test('verify tells live, expired, revoked, mistyped and unknown apart', async () => {
  const keyring = ring()
  const made = await createKey({ keyring, expires: later(HOUR) }, at(NOON))
  await importKeys(keyring, { found: ['comfy_of_my_own'] })
  const verify = (key: string, now = NOON) => verifyKey(key, records(keyring), now)
  expect(verify(made.key)).toMatchObject({ kind: 'live', record: { id: made.id } })
  expect(verify(made.key, later(HOUR))).toMatchObject({ kind: 'dead', state: 'expired' })
  expect(verify(made.key.slice(0, -1))).toEqual({ kind: 'bad-checksum' })
  expect(verify(made.key.slice(0, 20))).toEqual({ kind: 'bad-checksum' })
  expect(verify(makeKey())).toEqual({ kind: 'unknown' })
  expect(verify('something-else')).toEqual({ kind: 'unknown' })
  expect(verify('comfy_of_my_own')).toMatchObject({ kind: 'live' })
})

test('a keyring that cannot be written makes no output file either', async () => {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'keyring.json'), 'damaged', { mode: 0o600 })
  const out = join(folder, 'ci.key')
  await expect(createKey({ keyring: join(folder, 'keyring.json'), out })).rejects.toThrow('The keyring')
  expect(existsSync(out)).toBe(false)
})

/** Lets the `fails`th rename from now on fail. */
function failRename(fails: number): void {
  let count = 0
  interceptFs((step) => {
    if (step === 'renameSync' && count++ === fails) throw systemError('ENOSPC')
  })
}

test.each([
  [0, 'The keyring cannot be written'],
  [1, 'The output file cannot be written'],
])('a rotation that fails half-way (at rename %i) leaves keyring and key file as they were', async (step, message) => {
  const keyring = ring()
  const folder = temporaryFolder()
  const out = join(folder, 'ci.key')
  const { key } = await createKey({ keyring, label: 'ci', out })
  const before = records(keyring)
  failRename(step)
  await expect(rotateKey(keyring, { name: 'ci', graceMs: 0, out, overwrite: true })).rejects.toThrow(message)
  expect(readFileSync(out, 'utf8')).toBe(`${key}\n`)
  expect(records(keyring)).toEqual(before)
  expect(readdirSync(folder)).toEqual(['ci.key'])
})

test('a keyring that cannot be written leaves the output file that was to be replaced', async () => {
  const out = join(temporaryFolder(), 'ci.key')
  writeFileSync(out, 'old')
  failRename(0)
  const keyring = ring()
  await expect(createKey({ keyring, out, overwrite: true })).rejects.toThrow('The keyring cannot be written')
  expect(readFileSync(out, 'utf8')).toBe('old')
  expect(existsSync(keyring)).toBe(false)
})

test('an output file that is one of our own is refused, by whatever path', async () => {
  const home = temporaryFolder()
  vi.stubEnv('COMFY_AUTH_HOME', home)
  onTestFinished(() => void vi.unstubAllEnvs())
  const keyring = ring()
  const link = join(temporaryFolder(), 'link')
  symlinkSync(home, link)
  mkdirSync(join(home, 'folder'))
  const own = [
    ...['keyring.json', 'keyring.lock', 'profiles.json', 'serve.db', 'serve.db-wal', 'queue.db'].map((name) =>
      join(home, name),
    ),
    join(home, 'folder', '..', 'serve.db'),
    join(link, 'profiles.json'),
    keyring,
    keyring.replace('.json', '.lock'),
  ]
  const refusal = { kind: 'usage', message: "The output file is one of comfy-auth's own files." }
  for (const out of own) {
    await expect(createKey({ keyring, out, overwrite: true })).rejects.toMatchObject(refusal)
  }
  const out = join(home, 'profiles.json')
  await expect(createKey({ keyring: undefined, out, overwrite: true })).rejects.toMatchObject(refusal)
  expect(readdirSync(home)).toEqual(['folder'])
})

test('a key that was to live for ever nearly is rotated to the last date there is', async () => {
  const keyring = ring()
  const expires = new Date('9999-12-31T23:59:59.999Z')
  await createKey({ keyring, label: 'ci', expires }, at(NOON))
  expect(await rotateKey(keyring, { name: 'ci', graceMs: HOUR }, at(later(HOUR)))).toMatchObject({ expires })
})

test('revoking tells of the live keys that it replaced', async () => {
  const keyring = ring()
  const first = await createKey({ keyring, label: 'ci' }, at(NOON))
  const second = await rotateKey(keyring, { name: 'ci', graceMs: 3 * HOUR }, at(NOON))
  const third = await rotateKey(keyring, { name: 'ci', graceMs: HOUR }, at(NOON))
  await createKey({ keyring, label: 'other' }, at(NOON))
  const told = async (ms: number) =>
    (await revokeKey(keyring, 'ci', at(later(ms)))).predecessors.map((record) => record.id)
  expect(await told(0)).toEqual([first.id, second.id])
  expect(await told(2 * HOUR)).toEqual([first.id])
  expect(await told(4 * HOUR)).toEqual([])
  expect(third.id).not.toBe(second.id)
})
