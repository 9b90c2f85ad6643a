import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { configDir, dataDir, ensureDir, paths, type Surroundings } from '../../src/files/home.ts'
import { icaclsArguments, restrictToOwner } from '../../src/files/windows-acl.ts'
import { temporaryFolder } from '../support/cli.ts'

const on = (platform: NodeJS.Platform, env: Surroundings['env'] = {}): Surroundings => ({
  platform,
  env,
  home: '/home/me',
})

test('COMFY_AUTH_HOME holds everything, on every platform', () => {
  for (const platform of ['linux', 'darwin', 'win32'] as const) {
    const around = on(platform, { COMFY_AUTH_HOME: '/box', XDG_CONFIG_HOME: '/x', APPDATA: '/a' })
    expect([configDir(around), dataDir(around)]).toEqual(['/box', '/box'])
  }
})

test('Linux follows XDG, and passes over relative folders in it', () => {
  expect(configDir(on('linux'))).toBe('/home/me/.config/comfy-auth')
  expect(dataDir(on('linux'))).toBe('/home/me/.local/share/comfy-auth')
  expect(configDir(on('linux', { XDG_CONFIG_HOME: '/xc' }))).toBe('/xc/comfy-auth')
  expect(dataDir(on('linux', { XDG_DATA_HOME: 'relative' }))).toBe('/home/me/.local/share/comfy-auth')
})

test('macOS and Windows have their own folders', () => {
  expect(configDir(on('darwin'))).toBe('/home/me/Library/Application Support/comfy-auth')
  expect(configDir(on('win32', { APPDATA: '/roaming' }))).toBe(join('/roaming', 'comfy-auth'))
  expect(dataDir(on('win32', { LOCALAPPDATA: '/local' }))).toBe(join('/local', 'comfy-auth'))
})

test('every file has a place of its own', () => {
  const all = Object.values(paths(on('linux')))
  expect(new Set(all).size).toBe(all.length)
})

test('folders are made 0700, and one that exists keeps its mode', () => {
  const folder = temporaryFolder()
  const before = process.umask(0)
  try {
    ensureDir(join(folder, 'a', 'b'))
    mkdirSync(join(folder, 'theirs'), { mode: 0o755 })
    ensureDir(join(folder, 'theirs'))
  } finally {
    process.umask(before)
  }
  expect(statSync(join(folder, 'a')).mode & 0o777).toBe(0o700)
  expect(statSync(join(folder, 'a', 'b')).mode & 0o777).toBe(0o700)
  expect(statSync(join(folder, 'theirs')).mode & 0o777).toBe(0o755)
})

test('a file in the way of a folder is one line with a remedy', () => {
  const file = join(temporaryFolder(), 'file')
  writeFileSync(file, '')
  expect(() => ensureDir(file)).toThrow('A folder for our files cannot be made: it exists already.')
  expect(() => ensureDir(join(file, 'x'))).toThrow(
    'A folder for our files cannot be made: a part of its path is not a folder.',
  )
})

test('on Windows a new folder is closed to all but its owner, elsewhere icacls is not called', () => {
  const calls: unknown[] = []
  const run = (file: string, args: string[]) => calls.push([file, args])
  process.env.USERNAME ??= 'me'
  restrictToOwner('C:\\x', 'linux', run)
  expect(calls).toEqual([])
  restrictToOwner('C:\\x', 'win32', run)
  expect(calls).toEqual([['icacls', icaclsArguments('C:\\x', process.env)]])
  expect(icaclsArguments('C:\\x', { USERNAME: 'me', USERDOMAIN: 'LAB' })).toEqual([
    'C:\\x',
    '/inheritance:r',
    '/grant:r',
    'LAB\\me:(OI)(CI)F',
    '/q',
  ])
  restrictToOwner('C:\\x', 'win32', () => {
    throw new Error('no icacls here')
  })
})

test('a folder where none can be made is one line, and not tried for ever', () => {
  expect(() => ensureDir('/proc/none/x')).toThrow('A folder for our files cannot be made: no such file or folder.')
})
