import { chmodSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { digestOf } from '../../src/keys/digest.ts'
import { base62, makeKey } from '../../src/keys/format.ts'
import { formatKeyring } from '../../src/keys/keyring.ts'
import { createKey, importKeys, pruneKeys, revokeKey, rotateKey } from '../../src/keys/lifecycle.ts'
import { idOfBareKey, type KeySources, type LiveHooks, openLiveKeys } from '../../src/keys/live.ts'
import { temporaryFolder } from '../support/cli.ts'

const FAST = { quietMs: 15, maxMs: 60, pollMs: 1_000 }
const NONE: KeySources = { keyring: undefined, keyFiles: [], bareKeys: [] }

async function open(from: Partial<KeySources>, hooks: LiveHooks = {}) {
  let wake = () => {}
  const warnings: string[] = []
  const deaths: string[] = []
  const live = await openLiveKeys(
    { ...NONE, ...from },
    { watch: FAST, warn: (text) => warnings.push(text), reloaded: () => wake(), ...hooks },
  )
  onTestFinished(() => live.close())
  live.onDeath((id) => deaths.push(id))
  /** Until the files have been read again because of what `act` does. */
  const after = async <T>(act: () => T | Promise<T>): Promise<T> => {
    const reloaded = new Promise<void>((resolve) => (wake = resolve))
    const result = await act()
    await reloaded
    return result
  }
  return { live, warnings, deaths, after }
}

/** A key file and a keyring that are not there yet. */
function files() {
  const folder = temporaryFolder()
  return { keyring: join(folder, 'keyring.json'), keyFile: join(folder, 'api_key.txt') }
}

function writeKeys(path: string, ...keys: string[]): void {
  writeFileSync(path, `${keys.join('\n')}\n`, { mode: 0o600 })
}

test('all sources are one map: generated and free-form keys go the same way', async () => {
  const { keyring, keyFile } = files()
  const ours = await createKey({ keyring, label: 'ci', role: 'user' })
  writeKeys(keyFile, 'my-secret-key')
  const bare = makeKey()
  const { live } = await open({ keyring, keyFiles: [{ path: keyFile, name: 'The key file' }], bareKeys: [bare] })
  expect(live.find(digestOf(ours.key))).toMatchObject({ id: ours.id, label: 'ci', role: 'user', revoked: false })
  const free = live.find(digestOf('my-secret-key'))
  expect(free).toMatchObject({ id: idOfBareKey(digestOf('my-secret-key')), role: 'admin', revoked: false })
  expect(free?.id).toMatch(/^[0-9A-Za-z]{12}$/)
  expect(live.find(digestOf(bare))).toMatchObject({ role: 'admin' })
  expect(live.findById(free!.id)).toEqual(free)
  expect(live.find(digestOf('unknown'))).toBeUndefined()
  expect(live.count).toBe(3)
})

test('of two roles the lesser holds, and what the keyring calls dead is dead from every source', async () => {
  const { keyring, keyFile } = files()
  const viewer = await createKey({ keyring, role: 'viewer' })
  const revoked = await createKey({ keyring })
  await revokeKey(keyring, revoked.id!)
  writeKeys(keyFile, viewer.key, revoked.key)
  const { live } = await open({ keyring, keyFiles: [{ path: keyFile, name: 'The key file' }], bareKeys: [revoked.key] })
  expect(live.find(digestOf(viewer.key))).toMatchObject({ id: viewer.id, role: 'viewer' })
  expect(live.find(digestOf(revoked.key))).toMatchObject({ id: revoked.id, revoked: true })
  expect(live.count).toBe(1)
})

test('a key made, revoked or rotated out beside a running serve counts without a restart', async () => {
  const { keyring } = files()
  const { live, deaths, after } = await open({ keyring })
  expect(live.count).toBe(0)
  const made = await after(() => createKey({ keyring, label: 'ci' }))
  expect(live.find(digestOf(made.key))).toMatchObject({ id: made.id, revoked: false })
  const next = await after(() => rotateKey(keyring, { name: 'ci', graceMs: 0 }))
  expect(deaths).toEqual([made.id])
  expect(live.find(digestOf(next.key))).toMatchObject({ label: 'ci', revoked: false })
  await after(() => revokeKey(keyring, 'ci'))
  expect(deaths).toEqual([made.id, next.id])
  expect(live.find(digestOf(next.key))).toMatchObject({ revoked: true })
  expect(live.count).toBe(0)
})

test('a revoked key is refused within a second of the command, with the settings serve runs with', async () => {
  const { keyring } = files()
  const made = await createKey({ keyring })
  const { live, after } = await open({ keyring }, { watch: {} })
  let start = 0
  await after(async () => {
    await revokeKey(keyring, made.id!)
    start = performance.now()
  })
  expect(live.find(digestOf(made.key))?.revoked).toBe(true)
  expect(performance.now() - start).toBeLessThan(1_000)
})

test('a key gone from its file stays findable as dead, so that it does not count as a guess', async () => {
  const { keyring, keyFile } = files()
  writeKeys(keyFile, 'first-secret', 'second-secret')
  const pruned = await createKey({ keyring })
  await revokeKey(keyring, pruned.id!)
  const { live, deaths, after } = await open({ keyring, keyFiles: [{ path: keyFile, name: 'The key file' }] })
  const first = live.find(digestOf('first-secret'))!
  await after(() => writeKeys(keyFile, 'second-secret'))
  await after(() => pruneKeys(keyring, { dryRun: false }))
  expect(deaths).toEqual([first.id]) // the other was dead from the start
  expect(live.find(digestOf('first-secret'))).toMatchObject({ id: first.id, revoked: true })
  expect(live.findById(first.id)).toMatchObject({ revoked: true })
  expect(live.find(digestOf(pruned.key))).toMatchObject({ revoked: true })
  await after(() => writeKeys(keyFile, 'first-secret', 'second-secret'))
  expect(live.find(digestOf('first-secret'))).toMatchObject({ id: first.id, revoked: false })
})

test.each([
  ['seen dead, then pruned', true],
  ['revoked and pruned between two readings', false],
])('a key that the keyring has dropped stays dead where a key file or --api-key names it: %s', async (_name, seen) => {
  const { keyring, keyFile } = files()
  const [inFile, bare, later] = ['a', 'b', 'c'].map((name) => `a-free-form-key-${name}`) as [string, string, string]
  await importKeys(keyring, { found: [inFile, bare, later], label: 'old', role: 'user' })
  await createKey({ keyring, label: 'stays' })
  writeKeys(keyFile, inFile, 'another-key')
  const { live, deaths, warnings } = await open(
    { keyring, keyFiles: [{ path: keyFile, name: 'The key file' }], bareKeys: [bare] },
    { watch: false },
  )
  const ids = [inFile, bare, later].map((key) => live.find(digestOf(key))!.id)
  for (const label of ['old-1', 'old-2', 'old-3']) await revokeKey(keyring, label)
  if (seen) await live.reload()
  await pruneKeys(keyring, { dryRun: false })
  await live.reload()
  writeKeys(keyFile, inFile, later, 'another-key')
  await live.reload()
  await live.reload()
  for (const [i, key] of [inFile, bare, later].entries()) {
    expect(live.find(digestOf(key))).toMatchObject({ id: ids[i], revoked: true })
    expect(live.findById(ids[i]!)).toMatchObject({ revoked: true })
    expect(live.findById(idOfBareKey(digestOf(key)))).toBeUndefined()
  }
  expect(live.find(digestOf('another-key'))).toMatchObject({ role: 'admin', revoked: false })
  expect(live.count).toBe(2)
  expect(deaths.toSorted()).toEqual(ids.toSorted())
  expect(warnings.filter((text) => text.includes('stays dead'))).toHaveLength(2) // one a reading that found one
  await importKeys(keyring, { found: [inFile], role: 'viewer' }) // its owner says so, in the keyring
  await live.reload()
  expect(live.find(digestOf(inFile))).toMatchObject({ role: 'viewer', revoked: false })
})

test('a key that moves from a file into the keyring has a new id, and what hung on the old one is told', async () => {
  const { keyring, keyFile } = files()
  writeKeys(keyFile, 'first-secret')
  const { live, deaths, after } = await open({ keyring, keyFiles: [{ path: keyFile, name: 'The key file' }] })
  const bareId = live.find(digestOf('first-secret'))!.id
  await after(() => importKeys(keyring, { found: ['first-secret'], role: 'viewer', label: 'lab' }))
  expect(live.find(digestOf('first-secret'))).toMatchObject({ label: 'lab', role: 'viewer', revoked: false })
  expect(deaths).toEqual([bareId])
  expect(live.findById(bareId)?.revoked).toBe(true)
})

test('an atomic replace, an edit in place and a deletion with a new file are each followed', async () => {
  const { keyFile } = files()
  writeKeys(keyFile, 'first-secret')
  const { live, after } = await open({ keyFiles: [{ path: keyFile, name: 'The key file' }] })
  await after(() => {
    writeKeys(`${keyFile}.new`, 'second-secret')
    renameSync(`${keyFile}.new`, keyFile)
  })
  expect(live.find(digestOf('second-secret'))?.revoked).toBe(false)
  expect(live.find(digestOf('first-secret'))?.revoked).toBe(true)
  await after(() => writeKeys(keyFile, 'third-secret'))
  expect(live.find(digestOf('third-secret'))?.revoked).toBe(false)
  await after(() => {
    unlinkSync(keyFile)
    writeKeys(keyFile, 'fourth-secret')
  })
  expect(live.find(digestOf('fourth-secret'))?.revoked).toBe(false)
})

test.each([
  ['cut short', '{"version":1,"keys":[', /cut short/],
  ['empty', '', /is an empty file/],
  ['gone', undefined, /The keyring is gone/],
])('a keyring that becomes %s keeps its last good state and is told once', async (_name, text, says) => {
  const { keyring } = files()
  const made = await createKey({ keyring })
  const { live, warnings, deaths, after } = await open({ keyring })
  const good = readFileSync(keyring)
  await after(() => (text === undefined ? unlinkSync(keyring) : writeFileSync(keyring, text)))
  await live.reload()
  await live.reload()
  expect(live.find(digestOf(made.key))?.revoked).toBe(false)
  expect(deaths).toEqual([])
  expect(warnings).toEqual([expect.stringMatching(says)])
  expect(warnings[0]).toContain('last good state')
  await after(() => writeFileSync(keyring, good, { mode: 0o600 }))
  await after(() => (text === undefined ? unlinkSync(keyring) : writeFileSync(keyring, text)))
  expect(warnings).toHaveLength(2) // it was good in between
})

test('a key file that becomes empty or unreadable keeps its keys; one with comments alone has none', async () => {
  const { keyFile } = files()
  writeKeys(keyFile, 'first-secret')
  const { live, warnings, after } = await open({ keyFiles: [{ path: keyFile, name: 'The key file' }] })
  await after(() => writeFileSync(keyFile, ''))
  await after(() => writeFileSync(keyFile, 'short'))
  expect(live.count).toBe(1)
  expect(warnings).toHaveLength(2)
  await after(() => writeFileSync(keyFile, '# nobody any more\n'))
  expect(live.count).toBe(0) // no key left: nobody gets in, and the door is not open
})

test('of several key files the one that went bad is named, and the reading is not called whole', async () => {
  const { keyFile } = files()
  const other = `${keyFile}.2`
  writeKeys(keyFile, 'first-secret')
  writeKeys(other, 'second-secret')
  const keyFiles = [
    { path: keyFile, name: 'Key file 1 of 2' },
    { path: other, name: 'Key file 2 of 2' },
  ]
  const reloads: [number, boolean][] = []
  const { live, warnings } = await open(
    { keyFiles },
    { watch: false, reloaded: (count, whole) => reloads.push([count, whole]) },
  )
  writeKeys(other, 'short')
  await live.reload()
  await live.reload()
  writeKeys(other, 'third-secret')
  await live.reload()
  expect(reloads).toEqual([
    [2, false],
    [2, false],
    [2, true],
  ])
  expect(warnings).toEqual([expect.stringMatching(/^Key file 2 of 2: the key in line 1 .*last good state/)])
})

test('what is wrong at the start is an error, without the key or its path', async () => {
  const { keyring, keyFile } = files()
  await expect(openLiveKeys({ ...NONE, keyFiles: [{ path: keyFile, name: 'The key file' }] })).rejects.toMatchObject({
    kind: 'usage',
    message: 'The key file does not exist.',
  })
  writeFileSync(keyring, '{}', { mode: 0o600 })
  await expect(openLiveKeys({ ...NONE, keyring })).rejects.toMatchObject({ kind: 'usage' })
  await expect(openLiveKeys({ ...NONE, bareKeys: ['short'] })).rejects.toMatchObject({
    kind: 'usage',
    message: 'A key from --api-key or the environment has fewer than 8 characters.',
  })
})

test('a key file that others may read is told once, with the chmod', async () => {
  const { keyFile } = files()
  writeKeys(keyFile, 'first-secret')
  chmodSync(keyFile, 0o644)
  const { live, warnings } = await open({ keyFiles: [{ path: keyFile, name: 'The key file' }] })
  await live.reload()
  expect(warnings).toEqual(['The key file can be read by other users: run `chmod 600` on it.'])
})

test('a large keyring is read again between requests, which see the old keys or the new ones and never a part', async () => {
  const { keyring } = files()
  const records = (count: number, revoked?: Date) =>
    Array.from({ length: count }, (_, index) => ({
      id: base62(BigInt(index), 12),
      label: undefined,
      role: 'user' as const,
      created: new Date(0),
      expires: undefined,
      revoked: index === 0 ? revoked : undefined,
      replacedBy: undefined,
      digest: digestOf(String(index)),
    }))
  writeFileSync(keyring, formatKeyring(records(20_000)), { mode: 0o600 })
  const { live, deaths } = await open({ keyring }, { watch: false })
  writeFileSync(keyring, formatKeyring(records(20_001, new Date(1))))
  let reading = true
  const done = Promise.all([live.reload(), live.reload()]).then(() => (reading = false))
  const seen = new Map<string, number>()
  while (reading) {
    const state = `${live.find(digestOf('0'))?.revoked} ${live.find(digestOf('20000'))?.revoked}`
    seen.set(state, (seen.get(state) ?? 0) + 1)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await done
  expect(live.find(digestOf('0'))?.revoked).toBe(true)
  expect(live.count).toBe(20_000)
  expect(deaths).toEqual([base62(0n, 12)])
  expect([...seen.keys()].filter((state) => state !== 'true false')).toEqual(['false undefined'])
  expect(seen.get('false undefined')).toBeGreaterThan(40) // turns for others while 20,001 records are read
})

test('an expiry takes effect by itself, without a change of any file', async () => {
  const { keyring } = files()
  const made = await createKey({ keyring, expires: new Date(Date.now() + 120) })
  const { live } = await open({ keyring })
  expect(live.count).toBe(1)
  const died = await new Promise<string>((resolve) => live.onDeath(resolve))
  expect(died).toBe(made.id)
  expect(live.count).toBe(0)
  expect(live.find(digestOf(made.key))?.expiresMs).toBeLessThanOrEqual(Date.now())
})

test('a clock that jumps ahead is noticed, and each death is told once', async () => {
  const { keyring } = files()
  const made = await createKey({ keyring, expires: new Date(Date.now() + 3_600_000) })
  let ahead = 0
  const { live, deaths } = await open({ keyring }, { nowMs: () => Date.now() + ahead })
  const died = new Promise<string>((resolve) => live.onDeath(resolve))
  ahead = 7_200_000
  expect(await died).toBe(made.id)
  await live.reload()
  expect(deaths).toEqual([made.id])
})

test('keys dead from the start are not told as deaths', async () => {
  const { keyring } = files()
  const made = await createKey({ keyring })
  await revokeKey(keyring, made.id!)
  const { live, deaths } = await open({ keyring })
  await live.reload()
  expect(deaths).toEqual([])
  expect(live.find(digestOf(made.key))?.revoked).toBe(true)
})
