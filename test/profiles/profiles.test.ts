import { execFile } from 'node:child_process'
import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeEach, describe, expect, test } from 'vitest'
import { isExposed, openProfiles } from '../../src/profiles/profiles.ts'
import { temporaryFolder } from '../support/cli.ts'

let root: string
let path: string

beforeEach(() => {
  root = temporaryFolder()
  path = join(root, 'config', 'profiles.json')
})

const studio = { url: 'https://gpu.example.com', key: 'a secret key', savedAt: '2026-11-24T00:00:00.000Z' }

test('what is saved is there, current, in a 0600 file of a 0700 folder', async () => {
  await openProfiles(path).save('studio', studio)
  const again = openProfiles(path)
  expect([again.names(), again.current(), again.get('studio')]).toEqual([['studio'], 'studio', studio])
  expect(((await stat(path)).mode & 0o777).toString(8)).toBe('600')
  expect(((await stat(join(root, 'config'))).mode & 0o777).toString(8)).toBe('700')
  expect(isExposed(path)).toBe(false)
})

test('a file that others could read is 0600 after the next save', async () => {
  await openProfiles(path).save('studio', studio)
  await chmod(path, 0o644)
  expect(isExposed(path)).toBe(true)
  await openProfiles(path).save('home', { ...studio, url: 'http://127.0.0.1:8189' })
  expect(isExposed(path)).toBe(false)
})

test('looking makes no file', async () => {
  const store = openProfiles(path)
  expect([store.names(), store.current(), store.get('x')]).toEqual([[], undefined, undefined])
  await expect(stat(join(root, 'config'))).rejects.toMatchObject({ code: 'ENOENT' })
})

test('two stores over one file keep what both save', async () => {
  const [one, other] = [openProfiles(path), openProfiles(path)]
  await one.save('a', studio)
  await other.save('b', studio)
  await one.use('a')
  expect([other.names(), other.current()]).toEqual([['a', 'b'], 'a'])
})

test('logins in processes side by side keep every profile', async () => {
  const module = join(import.meta.dirname, '../../src/profiles/profiles.ts')
  const names = ['a', 'b', 'c', 'd']
  const script = `import { openProfiles } from ${JSON.stringify(module)}
    const store = openProfiles(${JSON.stringify(path)})
    for (let round = 0; round < 10; round += 1) await store.save(process.argv[1] + round, ${JSON.stringify(studio)})`
  const run = promisify(execFile)
  const args = ['--no-warnings', '--input-type=module-typescript', '-e', script]
  await Promise.all(names.map((name) => run(process.execPath, [...args, name])))
  const kept = openProfiles(path).names()
  const saved = names.flatMap((name) => Array.from({ length: 10 }, (_, round) => name + round))
  expect(kept.sort()).toEqual(saved)
})

test('the current one that is removed leaves no current one', async () => {
  const store = openProfiles(path)
  await store.save('a', studio)
  await store.save('b', studio)
  await store.remove('b')
  expect([store.names(), store.current()]).toEqual([['a'], undefined])
})

test('an unknown name is answered with those there are, and not repeated', async () => {
  const store = openProfiles(path)
  await store.save('a', studio)
  await expect(store.use('s3cret')).rejects.toEqual(
    expect.objectContaining({ kind: 'usage', message: expect.not.stringContaining('s3cret'), remedy: 'There are: a.' }),
  )
  await expect(store.remove('constructor')).rejects.toThrow('There is no profile of that name')
})

test.each(['', '-x', 'a/b', '__proto__', 'x'.repeat(65), 'a b'])('%j is no name', async (name) => {
  await expect(openProfiles(path).save(name, studio)).rejects.toThrow('That is no name for a profile')
})

describe('a damaged file is named with the field, and not overwritten', () => {
  test.each([
    ['{', 'is not JSON'],
    ['[]', 'not an object'],
    ['{"version": 2, "profiles": {}}', 'newer comfy-auth'],
    ['{"profiles": {"a": {"key": "k"}}}', 'profiles.a.url is missing'],
    ['{"profiles": {"a": {"url": "http://h", "key": 5}}}', 'profiles.a.key is not text'],
    ['{"current": 3}', 'current is not a name'],
    ['{"profiles": {"a b": {}}}', 'profiles[0] has a name that is none'],
  ])('%s', async (text, expected) => {
    await openProfiles(path).save('a', studio)
    await writeFile(path, text)
    for (const act of [async () => openProfiles(path).names(), () => openProfiles(path).save('b', studio)]) {
      await expect(act()).rejects.toMatchObject({ kind: 'usage', message: expect.stringContaining(expected) })
    }
    expect(await readFile(path, 'utf8')).toBe(text)
  })
})
