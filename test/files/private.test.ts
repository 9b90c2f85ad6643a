import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  fstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { isLeftover, othersCanWrite, readPrivate, writePrivate } from '../../src/files/private.ts'
import { temporaryFolder } from '../support/cli.ts'
import { interceptFs, type Step, systemError } from '../support/fs-calls.ts'

const REPLACE = { overwrite: true, name: 'The file' }
const KEEP = { overwrite: false, name: 'The file' }
const READ = { name: 'The file', maxBytes: 2 ** 20 }

test('a file is 0600 before its first byte, under any umask', () => {
  const path = join(temporaryFolder(), 'secret')
  const modes: number[] = []
  interceptFs((step, [descriptor]) => {
    if (step === 'writeSync') modes.push(fstatSync(descriptor as number).mode & 0o777)
  })
  const before = process.umask(0)
  try {
    writePrivate(path, 'secret\n', KEEP)
  } finally {
    process.umask(before)
  }
  expect(modes).toEqual([0o600])
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(readFileSync(path, 'utf8')).toBe('secret\n')
})

test('on Windows it is closed to others by icacls while it is still empty', () => {
  const calls: unknown[] = []
  vi.stubEnv('USERNAME', 'me')
  vi.stubEnv('USERDOMAIN', 'LAB')
  const { platform, getBuiltinModule } = process
  const execFileSync = (file: string, [path, ...args]: string[]) =>
    calls.push([file, isLeftover(basename(path!), 'secret'), statSync(path!).size, ...args])
  Object.defineProperty(process, 'platform', { value: 'win32' })
  process.getBuiltinModule = (() => ({ execFileSync })) as unknown as typeof getBuiltinModule
  try {
    writePrivate(join(temporaryFolder(), 'secret'), 'secret', KEEP)
  } finally {
    Object.defineProperty(process, 'platform', { value: platform })
    process.getBuiltinModule = getBuiltinModule
    vi.unstubAllEnvs()
  }
  expect(calls).toEqual([['icacls', true, 0, '/inheritance:r', '/grant:r', 'LAB\\me:F', '/q']])
})

test('replacing a file that others could read leaves one that they cannot', () => {
  const path = join(temporaryFolder(), 'secret')
  writeFileSync(path, 'old', { mode: 0o644 })
  writePrivate(path, 'new', REPLACE)
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test('the file and then its folder are synced, the file before it gets its name', () => {
  const steps: Step[] = []
  interceptFs((step) => steps.push(step))
  writePrivate(join(temporaryFolder(), 'secret'), 'secret', REPLACE)
  expect(steps).toEqual([
    'openSync',
    'writeSync',
    'fsyncSync',
    'closeSync',
    'renameSync',
    'openSync',
    'fsyncSync',
    'closeSync',
  ])
})

test.each([{ overwrite: true }, { overwrite: false }])(
  'a fault at any step leaves the old file or the new one, and nothing beside it (%o)',
  ({ overwrite }) => {
    const tried = new Set<Step>()
    for (let fails = 0; ; fails++) {
      const folder = temporaryFolder()
      const path = join(folder, 'keyring.json')
      if (overwrite) writeFileSync(path, 'old')
      let count = 0
      let failed: Step | undefined
      interceptFs((step) => {
        if (failed === undefined && count++ === fails) {
          failed = step
          throw systemError('EIO')
        }
      })
      let threw = false
      try {
        writePrivate(path, 'new', { overwrite, name: 'The file' })
      } catch {
        threw = true
      }
      const left = existsSync(path) ? readFileSync(path, 'utf8') : 'none'
      expect(overwrite ? ['old', 'new'] : ['none', 'new']).toContain(left)
      if (!threw) expect(left).toBe('new')
      if (failed !== 'unlinkSync') expect(readdirSync(folder).filter((entry) => entry !== 'keyring.json')).toEqual([])
      if (failed === undefined) break
      tried.add(failed)
    }
    expect(tried.size).toBeGreaterThanOrEqual(5)
  },
)

test('a full disk is one line, and what stood there is unharmed', () => {
  const path = join(temporaryFolder(), 'keyring.json')
  writeFileSync(path, 'old')
  interceptFs((step) => {
    if (step === 'writeSync') throw systemError('ENOSPC')
  })
  expect(() => writePrivate(path, 'new', REPLACE)).toThrow('The file cannot be written: no space left on the device.')
  expect(readFileSync(path, 'utf8')).toBe('old')
})

test('an existing file is kept unless it is to be replaced', () => {
  const path = join(temporaryFolder(), 'secret')
  writeFileSync(path, 'old')
  expect(() => writePrivate(path, 'new', KEEP)).toThrow('exists already')
  expect(readFileSync(path, 'utf8')).toBe('old')
})

test('a file that appears while ours is written is kept', () => {
  const path = join(temporaryFolder(), 'secret')
  interceptFs((step) => {
    if (step === 'linkSync') writeFileSync(path, 'theirs')
  })
  expect(() => writePrivate(path, 'ours', KEEP)).toThrow('exists already')
  expect(readFileSync(path, 'utf8')).toBe('theirs')
})

test('a file system without hard links gets the file all the same', () => {
  const path = join(temporaryFolder(), 'secret')
  interceptFs((step) => {
    if (step === 'linkSync') throw systemError('EPERM')
  })
  writePrivate(path, 'new', KEEP)
  expect(readFileSync(path, 'utf8')).toBe('new')
})

test.each([REPLACE, KEEP])('symbolic links, folders and pipes are not written to (%o)', (options) => {
  const folder = temporaryFolder()
  symlinkSync(join(folder, 'elsewhere'), join(folder, 'link'))
  mkdirSync(join(folder, 'folder'))
  execFileSync('mkfifo', [join(folder, 'pipe')])
  expect(() => writePrivate(join(folder, 'link'), 'x', options)).toThrow('is a symbolic link')
  expect(() => writePrivate(join(folder, 'folder'), 'x', options)).toThrow('is a folder')
  expect(() => writePrivate(join(folder, 'pipe'), 'x', options)).toThrow('is not a regular file')
  expect(existsSync(join(folder, 'elsewhere'))).toBe(false)
})

test('a folder that is not there is named as the trouble, without its path', () => {
  const path = join(temporaryFolder(), 'missing', 'secret')
  expect(() => writePrivate(path, 'x', KEEP)).toThrow(/^The file cannot be written: no such file or folder\.$/)
})

test('what a killed writer left is known by its name', () => {
  expect(isLeftover('.keyring.json.0123456789ab.tmp', '/x/keyring.json')).toBe(true)
  expect(isLeftover('.keyring.json.0123456789ab.tmp', '/x/other.json')).toBe(false)
  expect(isLeftover('keyring.json', '/x/keyring.json')).toBe(false)
})

test('reading gives the text and the mode, and undefined where there is no file', () => {
  const path = join(temporaryFolder(), 'file')
  writeFileSync(path, 'text', { mode: 0o640 })
  chmodSync(path, 0o640)
  expect(readPrivate(path, READ)).toEqual({ text: 'text', mode: 0o640 })
  expect(readPrivate(`${path}.none`, READ)).toBeUndefined()
})

test('folders, pipes, devices and huge files are refused at once', () => {
  const folder = temporaryFolder()
  const pipe = join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  const huge = join(folder, 'huge')
  writeFileSync(huge, '')
  truncateSync(huge, 100 * 2 ** 20)
  expect(() => readPrivate(folder, READ)).toThrow('The file is a folder')
  expect(() => readPrivate(pipe, READ)).toThrow('The file is a pipe')
  expect(() => readPrivate('/dev/zero', READ)).toThrow('The file is a device or socket')
  expect(() => readPrivate(huge, READ)).toThrow('is 100 MiB long, more than the 1 MiB')
})

test('a folder that others can write is told, a sticky one such as /tmp is not', () => {
  const folder = temporaryFolder()
  expect(othersCanWrite(folder)).toBe(false)
  chmodSync(folder, 0o777)
  expect(othersCanWrite(folder)).toBe(true)
  chmodSync(folder, 0o1777)
  expect(othersCanWrite(folder)).toBe(false)
})

const ROOT = process.getuid?.() === 0

test.runIf(ROOT)("what root replaces stays its owner's, and what root adds is the folder owner's", () => {
  const folder = temporaryFolder()
  const [old, fresh] = [join(folder, 'old'), join(folder, 'fresh')]
  writeFileSync(old, 'old', { mode: 0o600 })
  chownSync(old, 65534, 65533)
  writePrivate(old, 'new', REPLACE)
  expect(statSync(old)).toMatchObject({ uid: 65534, gid: 65533, mode: 0o100600 })
  chownSync(folder, 65532, 65531)
  writePrivate(old, 'newer', REPLACE)
  writePrivate(fresh, 'new', KEEP)
  expect(statSync(old)).toMatchObject({ uid: 65534, gid: 65533 })
  expect(statSync(fresh)).toMatchObject({ uid: 65532, gid: 65531, mode: 0o100600 })
})
