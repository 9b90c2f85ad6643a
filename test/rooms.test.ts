import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

const repository = resolve(import.meta.dirname, '..')

/** One import a room must not make, and one that it may: a fence that stops everything or nothing is none. */
const rooms = [
  { room: 'src/errors.ts', forbidden: 'node:fs', allowed: undefined },
  { room: 'src/cli/x.ts', forbidden: '../keys/keyring.ts', allowed: '../keys/format.ts' },
  { room: 'src/files/x.ts', forbidden: '../keys/digest.ts', allowed: '../errors.ts' },
  { room: 'src/keys/x.ts', forbidden: '../cli/table.ts', allowed: '../files/home.ts' },
  { room: 'src/proxy/x.ts', forbidden: '../sim/sim.ts', allowed: './wire/server.ts' },
  { room: 'src/proxy/decide/x.ts', forbidden: '../../keys/keyring.ts', allowed: '../../keys/digest.ts' },
  { room: 'src/proxy/decide/x.ts', forbidden: 'node:net', allowed: './facts.ts' },
  { room: 'src/proxy/state/x.ts', forbidden: '../wire/server.ts', allowed: '../decide/facts.ts' },
  { room: 'src/proxy/pages/x.ts', forbidden: '../wire/respond.ts', allowed: '../state/sessions.ts' },
  { room: 'src/proxy/wire/x.ts', forbidden: '../../keys/live.ts', allowed: '../decide/decide.ts' },
  { room: 'src/gpu/x.ts', forbidden: '../health/checks.ts', allowed: '../errors.ts' },
  { room: 'src/comfy/x.ts', forbidden: '../profiles/profiles.ts', allowed: '../files/private.ts' },
  { room: 'src/health/x.ts', forbidden: '../proxy/proxy.ts', allowed: '../gpu/gpu.ts' },
  { room: 'src/queue/x.ts', forbidden: '../profiles/profiles.ts', allowed: '../comfy/client.ts' },
  { room: 'src/sim/x.ts', forbidden: '../comfy/events.ts', allowed: './frames.ts' },
  { room: 'src/sim/nodes/x.ts', forbidden: '../../comfy/events.ts', allowed: '../png.ts' },
  { room: 'src/profiles/x.ts', forbidden: '../comfy/client.ts', allowed: '../files/home.ts' },
  { room: 'src/demo/x.ts', forbidden: '../proxy/wire/server.ts', allowed: '../proxy/proxy.ts' },
  { room: 'src/commands/x.ts', forbidden: '../proxy/decide/decide.ts', allowed: '../proxy/proxy.ts' },
]

let house: string

beforeAll(async () => {
  house = await mkdtemp(join(tmpdir(), 'comfy-auth-rooms-'))
  await cp(join(repository, 'biome.json'), join(house, 'biome.json'))
  await symlink(join(repository, 'node_modules'), join(house, 'node_modules'))
  await mkdir(join(house, '.git')) // biome.json asks for the ignore file of a repository
  await writeFile(join(house, '.gitignore'), 'node_modules\n')
})

afterAll(() => rm(house, { recursive: true, force: true }))

/** Whether Biome refuses a file at `path` that imports `specifier`. */
async function refuses(path: string, specifier: string): Promise<boolean> {
  const file = join(house, path)
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, `import { thing } from '${specifier}'\n\nexport const other = thing\n`)
  const biome = join(repository, 'node_modules/.bin/biome')
  const args = ['lint', '--only=style/noRestrictedImports', path]
  const result = await promisify(execFile)(biome, args, { cwd: house }).catch((error: { stderr: string }) => error)
  await rm(file)
  if (!('code' in result)) return false
  expect(result.stderr).toContain('lint/style/noRestrictedImports')
  return true
}

test.each(rooms)('$room may not import $forbidden', async ({ room, forbidden }) => {
  expect(await refuses(room, forbidden)).toBe(true)
})

test.each(rooms.filter(({ allowed }) => allowed))('$room may import $allowed', async ({ room, allowed }) => {
  expect(await refuses(room, allowed!)).toBe(false)
})

test('decide/ may not read the clock', async () => {
  const file = join(house, 'src/proxy/decide/x.ts')
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, 'export const now = Date.now()\n')
  const biome = join(repository, 'node_modules/.bin/biome')
  const run = promisify(execFile)(biome, ['lint', '--only=style/noRestrictedGlobals', file], { cwd: house })
  await expect(run).rejects.toMatchObject({ stderr: expect.stringContaining('facts.nowMs') })
  await rm(file)
})
