import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, linkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test, vi } from 'vitest'
import { withLock } from '../../src/files/lock.ts'
import { temporaryFolder } from '../support/cli.ts'

test('two callers in one process take turns, even while the first awaits', async () => {
  const path = join(temporaryFolder(), 'a.lock')
  const steps: string[] = []
  const turn = (name: string) =>
    withLock(path, async () => {
      steps.push(`${name} in`)
      await new Promise((resolve) => setTimeout(resolve, 30))
      steps.push(`${name} out`)
    })
  await Promise.all([turn('a'), turn('b'), turn('c')])
  expect(steps.map((step) => step.slice(2))).toEqual(['in', 'out', 'in', 'out', 'in', 'out'])
  for (let index = 0; index < 6; index += 2) expect(steps[index]![0]).toBe(steps[index + 1]![0])
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test('the lock is given back when the change throws', async () => {
  const path = join(temporaryFolder(), 'a.lock')
  await expect(withLock(path, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await withLock(path, () => 'mine')).toBe('mine')
})

test('a holder that is killed frees the lock; a living one is not waited for beyond patience', async () => {
  const path = join(temporaryFolder(), 'a.lock')
  const lock = join(import.meta.dirname, '../../src/files/lock.ts')
  const script = `import { withLock } from ${JSON.stringify(lock)}
    await withLock(${JSON.stringify(path)}, () => { console.log('held'); return new Promise((r) => setTimeout(r, 60_000)) })`
  const holder = spawn(process.execPath, ['--no-warnings', '--input-type=module-typescript', '-e', script])
  await once(holder.stdout, 'data')
  await expect(withLock(path, () => 'mine', { patienceMs: 60 })).rejects.toThrow(
    'Another process has held the keyring for too long.',
  )
  holder.kill('SIGKILL')
  await once(holder, 'exit')
  expect(await withLock(path, () => 'mine')).toBe('mine')
})

test('a lock file that is no database is one line, and stays', async () => {
  const path = join(temporaryFolder(), 'a.lock')
  writeFileSync(path, 'x'.repeat(5000))
  await expect(withLock(path, () => 'mine')).rejects.toThrow('The lock file of the keyring is damaged.')
})

test('a lock file that is a pipe is one line, and is not waited for', async () => {
  const path = join(temporaryFolder(), 'a.lock')
  execFileSync('mkfifo', [path])
  await expect(withLock(path, () => 'mine')).rejects.toMatchObject({
    kind: 'usage',
    message: 'The lock file of the keyring is not a regular file.',
  })
})

test('a folder that cannot be written is one line', async () => {
  await expect(withLock(join(temporaryFolder(), 'none', 'a.lock'), () => 1)).rejects.toThrow(
    'The lock file of the keyring cannot be opened: no such file or folder.',
  )
})

test.each([
  [13, 'database or disk is full', 'no space left on the device', 'Free some space; nothing was changed.'],
  [
    778,
    'disk I/O error',
    'disk I/O error',
    'See to the disk and the folder that hold the keyring; nothing was changed.',
  ],
])('what SQLite says of the disk (%i) is told as it is, not as damage', async (errcode, errstr, text, remedy) => {
  const path = join(temporaryFolder(), 'a.lock')
  const exec = vi.spyOn(DatabaseSync.prototype, 'exec').mockImplementation(() => {
    throw Object.assign(new Error(errstr), { code: 'ERR_SQLITE_ERROR', errcode, errstr })
  })
  try {
    await expect(withLock(path, () => 'mine')).rejects.toMatchObject({
      kind: 'usage',
      message: `The lock of the keyring cannot be taken: ${text}.`,
      remedy,
    })
  } finally {
    exec.mockRestore()
  }
})

test.runIf(process.getuid?.() === 0)(
  "root's lock file is the folder owner's, but nothing that stood there",
  async () => {
    const folder = temporaryFolder()
    const [fresh, mine, linked] = [join(folder, 'a.lock'), join(folder, 'mine'), join(folder, 'linked.lock')]
    writeFileSync(mine, '', { mode: 0o600 })
    linkSync(mine, linked)
    chownSync(folder, 65534, 65533)
    await withLock(fresh, () => 1)
    await withLock(linked, () => 1)
    expect(statSync(fresh)).toMatchObject({ uid: 65534, gid: 65533, mode: 0o100600 })
    expect(statSync(mine).uid).toBe(0)
  },
)
